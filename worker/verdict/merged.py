# SPDX-License-Identifier: Apache-2.0
"""Whose fault a message is that would appear without the change as well."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from worker.config.limits import AROUND, DATA
from worker.counters import MEASURED
from worker.inputs import untrusted
from worker.verdict.artifacts import Artifacts
from worker.verdict.checkout import CheckoutRecord
from worker.verdict.outcome import Fault, Message
from worker.verdict.problems import Control, Problem

_OF_FILES = ("migration_raised", "walk_failed", "import_failed")
_WORDS = re.compile(r"[\s'\"(),:;/\[\]]+")
_OVER = tuple(counter.code for counter in MEASURED)


@dataclass(frozen=True)
class MergedFindings:
    """What is known about merged code: all `controls` and all `problems` of the job."""

    checkout: CheckoutRecord
    controls: tuple[Control, ...]
    problems: tuple[Problem, ...]

    @classmethod
    def of(cls, artifacts: Artifacts) -> MergedFindings:
        """Collect it from a job's artifacts."""
        walks = artifacts.walks.items()
        problems = [replace(problem, dataset=name) for name, walk in walks for problem in walk.problems]
        controls = [control for _, walk in walks for control in walk.controls]
        checkout = artifacts.checkout or CheckoutRecord()
        return cls(checkout, (*artifacts.controls, *controls), (*artifacts.problems, *problems))

    def attributed(self, message: Message) -> Message:
        """The message, not blamed on the change where the problem is there without it: in a release, at the branch's
        tip, or as a control has shown."""
        if message.fault is not Fault.CHANGE:
            return message
        if self.checkout.before_the_change(message.stage):
            about_data, alone = message.dataset and message.to, not self.checkout.tests_a_change
        elif self._beyond_the_tip(message):
            about_data, alone = message.to, not self.checkout.tests_a_change
        elif control := self._control(message):
            about_data, alone = message.to, False
            same = f"the branch without the change fails the same way, at {control.commit[:12]}"
            room = untrusted.MAX_TEXT - len(same) - 2
            shortened = message.detail[:room].rstrip(" .;")
            message = replace(message, detail="; ".join(filter(None, (shortened, same))))
        else:
            return self._by_the_checkout(message)
        blame = Fault.DATASET if about_data else Fault.OPERATOR
        return replace(message, blame=blame, alone=alone)

    def _beyond_the_tip(self, message: Message) -> bool:
        """Whether the message is about a merged migration that runs in the change's stage because the change merges the
        branch's heads: without that the branch cannot be walked, so no control can show it."""
        checkout = self.checkout
        if not message.to or message.step in (DATA, AROUND):  # everything else in the change's stage is the change's
            return False
        if not checkout.touch_known or not checkout.tip_has_heads:
            return False
        return not checkout.alters_code and not checkout.brings(message.to)

    def _by_the_checkout(self, message: Message) -> Message:
        """The message, not blamed on the change for several heads of the branch, and for files in Git LFS, which are
        not fetched."""
        checkout = self.checkout
        alone = not checkout.tests_a_change
        if message.code == "several_heads" and checkout.touch_known and checkout.stages:
            brought = checkout.by_change or checkout.removed or checkout.alters_code
            return message if brought else replace(message, blame=Fault.OPERATOR, alone=alone)
        if message.code in _OF_FILES:
            names = {path.rpartition("/")[2]: path for path in checkout.pointers}
            words = {*_WORDS.split(message.detail), message.file.rpartition("/")[2]}
            if found := sorted(words & names.keys()):
                hint = f"{names[found[0]]} is a Git LFS pointer, which the worker does not fetch"
                message = replace(message, detail=f"{hint}: {message.detail}")
                if not checkout.pointers_brought.isdisjoint(names[name] for name in found):
                    return message
                return replace(message, blame=Fault.OPERATOR, alone=alone)
        return message

    def _control(self, message: Message) -> Control | None:
        """The control that failed with the same problem; None if there is none."""
        if message.code in _OVER:
            return None
        place = (message.dataset, message.from_, message.to)
        about = [problem for problem in self.problems if (problem.dataset, problem.from_, problem.to) == place]
        return next((control for problem in about for control in self.controls if control.explains(problem)), None)
