# SPDX-License-Identifier: Apache-2.0
"""Whose fault a message is that would be there without the change, too."""

from __future__ import annotations

from dataclasses import dataclass, replace

from worker import untrusted
from worker.artifacts import Artifacts
from worker.checkout import Checkout
from worker.limits import LIMITS
from worker.outcome import Fault, Message
from worker.problems import Control, Problem

_OVER = tuple(limit.code for limit in LIMITS)


@dataclass(frozen=True)
class Merged:
    """What is known of merged code: `controls` are those of the whole job, `problems` what the walks and stages say."""

    checkout: Checkout
    controls: tuple[Control, ...]
    problems: tuple[Problem, ...]

    @classmethod
    def of(cls, artifacts: Artifacts) -> Merged:
        """What a job's artifacts say of it."""
        walks = artifacts.walks.items()
        problems = [replace(problem, dataset=name) for name, walk in walks for problem in walk.problems]
        controls = [control for _, walk in walks for control in walk.controls]
        checkout = artifacts.checkout or Checkout()
        return cls(checkout, (*artifacts.controls, *controls), (*artifacts.problems, *problems))

    def whose(self, message: Message) -> Message:
        """What happens in a release or at the branch's tip happens without the change, too, and so does what a control
        has shown: then it is not the change's fault."""
        if message.fault is not Fault.CHANGE:
            return message
        if self.checkout.before_the_change(message.stage):
            about_data, alone = message.dataset and message.to, not self.checkout.tests_a_change
        elif control := self._control(message):
            about_data, alone = message.to, False
            same = f"the branch without the change fails the same way, at {control.commit[:12]}"
            room = untrusted.MAX_TEXT - len(same) - 2
            said = message.detail[:room].rstrip(" .;")
            message = replace(message, detail="; ".join(filter(None, (said, same))))
        else:
            return message
        blame = Fault.DATASET if about_data else Fault.OPERATOR
        return replace(message, blame=blame, alone=alone)

    def _control(self, message: Message) -> Control | None:
        """The control that has shown that a message's problem is there without the change."""
        if message.code in _OVER:
            return None
        place = (message.dataset, message.from_, message.to)
        about = [problem for problem in self.problems if (problem.dataset, problem.from_, problem.to) == place]
        return next((control for problem in about for control in self.controls if control.explains(problem)), None)
