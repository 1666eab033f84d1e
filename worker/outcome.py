# SPDX-License-Identifier: Apache-2.0
"""What can come out of a job: one table of messages, whose fault each is, and which outcome is the worst.

The texts of the classic messages are what people search for; they stay as they are. docs/verdicts.md is tested
against this table.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


class Outcome(enum.Enum):
    """How a job, or a part of it, came out; the order is that of `worst`.

    INFRASTRUCTURE is trouble of ours, not the change's: Zuul may try again. A definite failure of the change
    outranks it, because trying again would not help.
    """

    SUCCESS = 0
    INFRASTRUCTURE = 1
    WARNING = 2
    FAILURE = 3
    CANCELED = 4

    @property
    def exit_code(self) -> int:
        """What a command ends with."""
        return {"SUCCESS": 0, "INFRASTRUCTURE": 3, "CANCELED": 130}.get(self.name, 1)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The worst of some outcomes; SUCCESS when there are none."""
    return max(outcomes, key=lambda outcome: outcome.value, default=Outcome.SUCCESS)


class Fault(enum.Enum):
    """Who can mend it."""

    NONE = "none"
    CHANGE = "change"
    DATASET = "dataset"
    OPERATOR = "operator"
    MACHINE = "machine"


@dataclass(frozen=True)
class Code:
    """A kind of message: `text` is a template of `%`, `outcome` what one such message makes of the job."""

    code: str
    outcome: Outcome
    text: str
    fault: Fault
    explanation: str
    remedy: str


@dataclass(frozen=True)
class Message:
    """One message of a verdict. `detail` comes from outside: text to show, never evidence.

    `blame` is who can mend it, where that is not as in the table.
    """

    code: str
    text: str
    dataset: str = ""
    detail: str = ""
    stage: str = ""
    from_: str = ""
    to: str = ""
    file: str = ""
    line: int = 0
    blame: Fault | None = None

    @classmethod
    def of(cls, code: str, *args: object, **fields: Any) -> Message:
        """A message of the table; `args` fill in its text."""
        return cls(code, CODES[code].text % args if args else CODES[code].text, **fields)

    @property
    def kind(self) -> Code:
        """What the table says of it."""
        return CODES[self.code]

    @property
    def level(self) -> str:
        """``WARNING``, ``FAILURE`` or ``CANCELED``, for a reader."""
        return "FAILURE" if self.kind.outcome is Outcome.INFRASTRUCTURE else self.kind.outcome.name

    @property
    def fault(self) -> Fault:
        """Who can mend it."""
        return self.blame or self.kind.fault

    @property
    def explanation(self) -> str:
        """What it means."""
        return f"{self.kind.explanation} {_NOT_BY_THE_CHANGE}" if self.blame else self.kind.explanation


_CHANGE, _DATASET, _OPERATOR, _MACHINE = Fault.CHANGE, Fault.DATASET, Fault.OPERATOR, Fault.MACHINE
_FAILURE, _WARNING, _OURS = Outcome.FAILURE, Outcome.WARNING, Outcome.INFRASTRUCTURE
_NOT_BY_THE_CHANGE = (
    "This happens before the change's own migrations are reached: it would happen without the change, too."
)
_AGAIN = "The job may be run again as it is."

_TABLE = (
    # the migrations
    Code(
        "migration_unfinished",
        _FAILURE,
        "FAILURE - Did not find the end of a migration after a start",
        _CHANGE,
        "A migration was begun on the dataset and did not come to its end. Later migrations were not run.",
        "Look at the message that names the migration, and at the end of the dataset's log.",
    ),
    Code(
        "migration_failed",
        _WARNING,
        "WARNING - Migration %s->%s failed to complete",
        _CHANGE,
        "The migration raised an error, or its process ended, on rows that the dataset holds.",
        "Make the migration cope with the rows that are there: duplicates, NULLs, long values. The detail says which.",
    ),
    Code(
        "migration_too_long",
        _WARNING,
        "WARNING - Migration %s->%s took too long",
        _CHANGE,
        "The migration took longer than the dataset's limit allows; in production it would lock out writers.",
        "Split the work, do it in batches outside of the schema migration, or have the limit raised with a reason.",
    ),
    Code(
        "migration_changed_rows",
        _WARNING,
        "WARNING - Migration %s->%s changed too many rows (%d)",
        _CHANGE,
        "The migration wrote more rows than the dataset's limit allows.",
        "Move the data in batches outside of the schema migration, or have the limit raised with a reason.",
    ),
    Code(
        "migration_read_rows",
        _WARNING,
        "WARNING - Migration %s->%s read too many rows (%d)",
        _CHANGE,
        "The migration read more rows than the dataset's limit allows.",
        "Narrow its queries or use an index, or have the limit raised with a reason.",
    ),
    Code(
        "limit_not_measurable",
        _WARNING,
        "WARNING - A limit of the dataset could not be measured",
        _OPERATOR,
        "The dataset sets a limit for something that this database server does not count.",
        "Use a server that counts it, or take the limit out of the dataset's file.",
    ),
    Code(
        "version_mismatch",
        _FAILURE,
        "FAILURE - Final schema version does not match expectation",
        _CHANGE,
        "The version that the database holds is not the one that the migrations should have led to.",
        "Check the migrations' revision and down_revision, and that they run on the database that they are given.",
    ),
    Code(
        "several_heads",
        _FAILURE,
        "FAILURE - The migrations have several heads",
        _CHANGE,
        "Two migrations build on the same one, so that it is not defined which comes last.",
        "Rebase: let the change's migration build on the other head, or add a merge migration.",
    ),
    Code(
        "change_not_run",
        _FAILURE,
        "FAILURE - A migration of the change was not run",
        _CHANGE,
        "The walk came to its end without a migration that the change adds or alters.",
        "Put a new migration on top of the released ones: databases that are past its place never run it. "
        "artifacts/checkout.json has what was found.",
    ),
    Code(
        "migration_unreadable",
        _FAILURE,
        "FAILURE - A migration cannot be read",
        _CHANGE,
        "A migration of the change does not say in plain words which revision it is and what it builds on.",
        "Write revision and down_revision as plain assignments of literal values.",
    ),
    Code(
        "no_migrations",
        _FAILURE,
        "FAILURE - The project has no migrations",
        _CHANGE,
        "The checkout holds no migration scripts in the folder that the project's profile names.",
        "If the change has moved them, the profile must follow; else the profile's script_location is wrong.",
    ),
    Code(
        "no_migrations_run",
        _FAILURE,
        "No migrations run",
        _DATASET,
        "The dataset is already at the version that the change ends with, so nothing was tested.",
        "Give the job a dataset of an older release.",
    ),
    Code(
        "import_failed",
        _FAILURE,
        "FAILURE - Could not import required module.",
        _CHANGE,
        "The migrations import a Python module that is not in the project's environment.",
        "Add the missing package to the project's requirements, or to `packages` of its profile.",
    ),
    Code(
        "walk_failed",
        _FAILURE,
        "FAILURE - The migration environment failed",
        _CHANGE,
        "The project's own code around the migrations (alembic's env.py, or the command) failed.",
        "Look at the dataset's log: it ends with the traceback.",
    ),
    Code(
        "environment_failed",
        _FAILURE,
        "FAILURE - Could not build the virtual environment",
        _CHANGE,
        "The project's requirements could not be installed, or the project itself could not be built.",
        "The detail names the requirement; environment.log has all that the installer has said.",
    ),
    Code(
        "checkout_ref_gone",
        _FAILURE,
        "FAILURE - Could not find the change",
        _CHANGE,
        "The git server answers, but the ref or commit to test is not there; another patchset may have replaced it.",
        "Recheck the current patchset.",
    ),
    Code(
        "checkout_failed",
        _FAILURE,
        "FAILURE - Could not check out the change",
        _CHANGE,
        "Git could not make a work tree of the change or of its submodules.",
        "git_prep.log shows every command of git and what it said.",
    ),
    Code(
        "job_timed_out",
        _FAILURE,
        "FAILURE - The job took longer than its time limit",
        _CHANGE,
        "The job as a whole was ended; the last step in the table is what it was at.",
        "Make the slow step faster, or have job_time_limit raised in the worker's configuration.",
    ),
    Code(
        "test_failed",
        _FAILURE,
        "FAILURE - The test failed",
        _CHANGE,
        "A task of the test's own playbook failed.",
        "The detail names the task; task_output.log has its output.",
    ),
    Code(
        "bad_request",
        _FAILURE,
        "FAILURE - Wrong job argument %s",
        _OPERATOR,
        "The job's arguments are not what a job of Zuul has; nothing was run.",
        "Correct the argument that is named.",
    ),
    # the datasets
    Code(
        "seed_missing",
        _OURS,
        "FAILURE - Could not find seed database.",
        _DATASET,
        "The dataset's dump is not where its file says.",
        "Put the dump there, or correct seed_data in the dataset's file.",
    ),
    Code(
        "seed_broken",
        _OURS,
        "FAILURE - Could not setup seed database.",
        _DATASET,
        "The dataset's dump cannot be loaded: it is cut off, not SQL, or of another kind of server.",
        "The detail is what the server said of it. Make the dump again.",
    ),
    Code(
        "no_dataset",
        _OURS,
        "FAILURE - Could not find seed database.",
        _OPERATOR,
        "No dataset is there for this project.",
        "Add one to the datasets_dir of the job, or do not run the job for this project.",
    ),
    Code(
        "version_unknown",
        _OURS,
        "FAILURE - The dataset's version is not known to the project",
        _DATASET,
        "The dataset holds a version that no release in the walk, nor the change, has a migration for.",
        "Take a dump of a release that the project still has, or name the release in its profile.",
    ),
    Code(
        "not_tested",
        _OURS,
        "FAILURE - The dataset was not tested",
        _MACHINE,
        "The walk of this dataset did not come to its end, and nothing says why.",
        "Look at task_output.log. " + _AGAIN,
    ),
    Code(
        "artifacts_damaged",
        _OURS,
        "FAILURE - What was measured could not be read",
        _MACHINE,
        "A file below artifacts/ has lines or limits that cannot be understood, so something may be missing.",
        "Check the worker's disk, and the limits in the dataset's file. " + _AGAIN,
    ),
    # what the operator has set up
    Code(
        "no_profile",
        _OURS,
        "FAILURE - There is no profile for the project",
        _OPERATOR,
        "Nothing tells how this project is installed and migrated.",
        "Write inventory/projects/<org>/<name>.yaml; docs/profiles.md says how.",
    ),
    Code(
        "profile_wrong",
        _OURS,
        "FAILURE - The project's profile cannot be used",
        _OPERATOR,
        "The project's profile is not valid, or names a release that is not there.",
        "Correct the key that the detail names.",
    ),
    Code(
        "playbook_failed",
        _OURS,
        "FAILURE - A step of the job failed",
        _OPERATOR,
        "A task of Ansible failed for a reason that the playbooks do not know.",
        "The detail names the task; task_output.log has its output.",
    ),
    # the machine
    Code(
        "git_unreachable",
        _OURS,
        "FAILURE - The git server does not answer",
        _MACHINE,
        "The repository could not be fetched in several tries.",
        "Check the server and the address in git_prep.log. " + _AGAIN,
    ),
    Code(
        "index_unreachable",
        _OURS,
        "FAILURE - The package index does not answer",
        _MACHINE,
        "Packages could not be fetched in several tries.",
        "Check the index and the network of the worker. " + _AGAIN,
    ),
    Code(
        "disk_full",
        _OURS,
        "FAILURE - No space is left on the worker's disk",
        _MACHINE,
        "The disk of the worker is full.",
        "Free some space below jobs_working_dir or snapshots_dir. " + _AGAIN,
    ),
    Code(
        "server_failed",
        _OURS,
        "FAILURE - The private database server could not be used",
        _MACHINE,
        "The database server of this job could not be started or asked.",
        "The detail is the end of its error log.",
    ),
    Code(
        "server_died",
        _OURS,
        "FAILURE - The private database server died",
        _MACHINE,
        "The database server ended in the middle of the walk: a crash, or no memory left.",
        "The detail is the end of its error log. If a migration does it every time, report a bug of the server.",
    ),
    Code(
        "job_folder",
        _OURS,
        "FAILURE - The job's folder could not be made",
        _MACHINE,
        "The worker could not make a folder for the job.",
        "Check jobs_working_dir: its permissions, and the space on its disk.",
    ),
    Code(
        "upload_failed",
        _OURS,
        "FAILURE - The results could not be published",
        _MACHINE,
        "The job ran, but its results could not be put where people read them.",
        "Check publish_logs.path: its permissions, and the space on its disk. " + _AGAIN,
    ),
    Code(
        "worker_failed",
        _OURS,
        "FAILURE - The worker failed",
        _MACHINE,
        "The worker came to a point that nobody has thought of.",
        "Report it, with the traceback in the worker's log. " + _AGAIN,
    ),
    Code(
        "worker_stopped",
        _OURS,
        "FAILURE - The worker was stopped",
        _MACHINE,
        "The worker was stopped while the job ran.",
        _AGAIN,
    ),
    Code(
        "canceled",
        Outcome.CANCELED,
        "CANCELED - The job was stopped",
        Fault.NONE,
        "The job was stopped from outside, as Zuul does when there is a newer patchset.",
        "Nothing has to be done.",
    ),
)

CODES: Mapping[str, Code] = {code.code: code for code in _TABLE}
"""All messages by their code."""
