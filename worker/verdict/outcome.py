# SPDX-License-Identifier: Apache-2.0
"""What can come out of a job: one table of messages, whose fault each is, and which outcome is the worst.

The texts of the classic messages are what people search for; they stay as they are. The table of docs/verdicts.md is
this one, and a test holds it to it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from worker.counters import MEASURED, Counter
from worker.verdict import advice
from worker.verdict.advice import Advice

AFTERWARDS = "the verdict was there before it"
"""The excuse of failures after the verdict: they never change it."""


class Outcome(enum.Enum):
    """How a job, or a part of it, came out; the order is that of `worst`.

    INFRASTRUCTURE is a failure of the machine or its setup, not of the change: Zuul may launch again. A definite
    failure of the change outranks it, because trying again would not help.
    """

    SUCCESS = 0
    INFRASTRUCTURE = 1
    WARNING = 2
    FAILURE = 3
    CANCELED = 4

    @property
    def exit_code(self) -> int:
        """The exit status of a command."""
        return {"SUCCESS": 0, "INFRASTRUCTURE": 3, "CANCELED": 130}.get(self.name, 1)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The worst of some outcomes; SUCCESS when there are none."""
    return max(outcomes, key=lambda outcome: outcome.value, default=Outcome.SUCCESS)


class Fault(enum.Enum):
    """Who can fix a problem."""

    NONE = "none"
    CHANGE = "change"
    DATASET = "dataset"
    OPERATOR = "operator"
    MACHINE = "machine"

    @property
    def infrastructure(self) -> bool:
        """Whether those who run the worker have to fix it, not the change's author."""
        return self in (Fault.DATASET, Fault.OPERATOR, Fault.MACHINE)


@dataclass(frozen=True)
class Code:
    """A kind of message: `text` is a template for `%`, `outcome` is the job's if there is no worse message.

    `explanation` says when it appears, `look` where to look, `remedy` what to do; `retry` is whether the same job may
    succeed when it is run again.
    """

    code: str
    outcome: Outcome
    text: str
    fault: Fault
    explanation: str
    look: str
    remedy: str
    retry: bool = False

    @property
    def level(self) -> str:
        """``WARNING``, ``FAILURE`` or ``CANCELED``, for a reader."""
        return "FAILURE" if self.outcome is Outcome.INFRASTRUCTURE else self.outcome.name


@dataclass(frozen=True)
class Message:
    """One message of a verdict. `detail` comes from outside: text to show, never evidence.

    `step` is the kind of the migration that it is about. `blame` and `cure` override the table on who can fix it and
    what to do. `excuse` is why it does not count: the limit only warns, it was waived, or it came `AFTERWARDS`. `rows`
    describes the rows in the database that caused it. `alone` is whether the job tests no change: then problems of
    merged code fail it as well.
    """

    code: str
    text: str
    dataset: str = ""
    detail: str = ""
    stage: str = ""
    from_: str = ""
    to: str = ""
    step: str = ""
    file: str = ""
    line: int = 0
    blame: Fault | None = None
    excuse: str = ""
    rows: str = ""
    cure: str = ""
    alone: bool = False

    @classmethod
    def of(cls, code: str, *args: object, **fields: Any) -> Message:
        """A message of the table; `args` are filled into its text."""
        return cls(code, CODES[code].text % args if args else CODES[code].text, **fields)

    @property
    def kind(self) -> Code:
        """Its entry in the table."""
        return CODES[self.code]

    @property
    def counts(self) -> bool:
        """Whether it affects the outcome; otherwise it is only reported."""
        return not self.excuse

    @property
    def outcome(self) -> Outcome:
        """Its effect on the job. A problem that is there without the change as well is no reason to refuse it."""
        if not self.counts:
            return Outcome.SUCCESS
        spared = self.blame is not None and self.blame.infrastructure and not self.alone
        return Outcome.INFRASTRUCTURE if spared else self.kind.outcome

    @property
    def level(self) -> str:
        """``WARNING``, ``FAILURE`` or ``CANCELED``, for a reader."""
        return self.kind.level

    @property
    def fault(self) -> Fault:
        """Who can fix it."""
        return self.blame or self.kind.fault

    @property
    def explanation(self) -> str:
        """When it appears, or what the database server's error means."""
        advised = self._advice
        meaning = advised.explanation if advised else self.kind.explanation
        return f"{meaning} {_NOT_BY_THE_CHANGE}" if self.blame else meaning

    @property
    def look(self) -> str:
        """Where to look."""
        return self.kind.look.replace("<dataset>", self.dataset) if self.dataset else self.kind.look

    @property
    def remedy(self) -> str:
        """What to do, by the database server's error number where there is one."""
        if self.cure:
            return self.cure
        if self.step == "downgrade" and self.code in _DOWNGRADE_CODES:
            return _FIX_DOWNGRADE
        if self.code == "several_heads" and self.fault.infrastructure:
            return _MERGE_HEADS
        advised = self._advice
        return advised.remedy if advised else self.kind.remedy

    @property
    def _advice(self) -> Advice | None:
        return advice.of(self.code, self.detail, self.rows)


_CHANGE, _DATASET, _OPERATOR, _MACHINE = Fault.CHANGE, Fault.DATASET, Fault.OPERATOR, Fault.MACHINE
_FAILURE, _WARNING, _INFRASTRUCTURE = Outcome.FAILURE, Outcome.WARNING, Outcome.INFRASTRUCTURE
_NOT_BY_THE_CHANGE = "This is not about what the change itself brings: it would happen without the change, too."
_FIX_DOWNGRADE = "Fix the migration's downgrade; where it has none, the project's profile must not ask for downgrades."
_MERGE_HEADS = (
    "The heads are merged already: add a merge migration to the branch by a change of its own (alembic: merge heads; "
    "Django: makemigrations --merge), and then test this change again."
)
_DOWNGRADE_CODES = ("migration_raised", "migration_ended", "version_unchanged", "version_mismatch")
_AGAIN = "The job may be run again as it is."
_DETAIL = "The detail below the message"
_LOG = "the dataset's log, <dataset>.log"
_SERVERS_LOG = "<dataset>-server.log"


def _of_limit(counter: Counter) -> Code:
    """The message for a migration that exceeds a limit."""
    text = f"WARNING - Migration %s->%s {counter.excess}"
    return Code(counter.code, _WARNING, text, _CHANGE, counter.explanation, counter.look, counter.remedy)


_TABLE = (
    # the migrations
    Code(
        "migration_unfinished",
        _FAILURE,
        "FAILURE - Did not find the end of a migration after a start",
        _CHANGE,
        "A migration was begun on the dataset and did not come to its end. Later migrations were not run.",
        "The message after it, which names the migration and what happened.",
        "Fix what that message says.",
    ),
    Code(
        "migration_raised",
        _WARNING,
        "WARNING - Migration %s->%s failed to complete",
        _CHANGE,
        "The migration raised an error on the rows that the dataset holds.",
        f"{_DETAIL} is the exception's last line; the file and line beside it are where. The traceback is in {_LOG}.",
        "Fix the migration at the line that is named: it has to cope with the rows that are there.",
    ),
    Code(
        "migration_killed",
        _WARNING,
        "WARNING - Migration %s->%s failed to complete",
        _CHANGE,
        "The migration's process was ended by a signal.",
        f"{_DETAIL} names the signal; the end of {_LOG} is what the migration had said.",
        "Look for what sends the signal: the migration itself, a program that it starts, or a crash in compiled code.",
    ),
    Code(
        "migration_ended",
        _WARNING,
        "WARNING - Migration %s->%s failed to complete",
        _CHANGE,
        advice.EXIT.explanation,
        f"{_DETAIL} has the exit status; the end of {_LOG} is what the migration had said.",
        advice.EXIT.remedy,
    ),
    Code(
        "migration_timed_out",
        _WARNING,
        "WARNING - Migration %s->%s took too long",
        _CHANGE,
        "The migration was ended by the time limit that holds for every migration, whatever the dataset allows.",
        f"{_DETAIL} is the statement that the database server was executing.",
        "Make that statement faster, or split the work; look whether it waits for a lock of its own. "
        "Or have the time limit raised that the detail names.",
    ),
    Code(
        "engines_disagree",
        _FAILURE,
        "FAILURE - Migration %s->%s passes on one engine and fails on another",
        _CHANGE,
        "The migration depends on the kind or the version of the database server.",
        "The table that compares the engines, and the message about the engine on which it fails.",
        "Write the migration so that it runs on each of these servers. Where production has only one of them, the "
        "dataset's file need not name the others (engines).",
    ),
    *map(_of_limit, MEASURED),
    Code(
        "limit_not_measurable",
        _WARNING,
        "WARNING - A limit of the dataset could not be measured",
        _OPERATOR,
        "The dataset sets a limit for something that this database server does not count, or could not count in this "
        "migration.",
        f"{_DETAIL} names the limit and the first migration.",
        "Use a server that counts it, set warn_only for it, or take the limit out of the dataset's file.",
    ),
    Code(
        "version_unchanged",
        _FAILURE,
        "FAILURE - Migration %s->%s left the version unchanged",
        _CHANGE,
        "The migration says that it has ended, and the database is at the version that it was at before.",
        f"{_DETAIL} is the version; look which database the migration's tool was really connected to.",
        "Let the tool migrate the database of its configuration, and write the version into its table.",
    ),
    Code(
        "version_not_in_tree",
        _FAILURE,
        "FAILURE - Migration %s->%s wrote a version that is not in the tree",
        _CHANGE,
        "After the migration the database holds a version that no migration of the checkout has.",
        f"{_DETAIL} is the version; look for what writes to the version table beside the tool.",
        "Leave the version table to the tool, and let the migration's revision be what its file says.",
    ),
    Code(
        "version_mismatch",
        _FAILURE,
        "FAILURE - Final schema version does not match expectation",
        _CHANGE,
        "The version that the database holds is not the one that the migrations should have led to.",
        f"{_DETAIL} has both versions.",
        "Check the migrations' revision and down_revision, and that they run on the database that they are given.",
    ),
    Code(
        "several_heads",
        _FAILURE,
        "FAILURE - The migrations have several heads",
        _CHANGE,
        "Two migrations build on the same one, so that it is not defined which comes last.",
        f"{_DETAIL} names the heads and their files.",
        "Rebase: let the change's migration build on the other head, or add a merge migration.",
    ),
    Code(
        "wrong_parent",
        _FAILURE,
        "FAILURE - A migration does not fit into the tree",
        _CHANGE,
        "A migration of the change names one to come after that does not exist, or that comes after itself.",
        f"{_DETAIL} names the migration's file and what it comes after.",
        "Correct its down_revision (Django: its dependencies), or add the migration that is missing to the change.",
    ),
    Code(
        "change_not_run",
        _FAILURE,
        "FAILURE - A migration of the change was not run",
        _CHANGE,
        "The walk came to its end without a migration that the change adds or alters.",
        f"{_DETAIL} names the migrations; artifacts/checkout.json has what was found of them.",
        "Put a new migration on top of the released ones: databases that are past its place never run it.",
    ),
    Code(
        "migration_unreadable",
        _FAILURE,
        "FAILURE - A migration cannot be read",
        _CHANGE,
        "A migration of the change does not say in plain words which revision it is and what it builds on, or cannot "
        "be parsed.",
        f"{_DETAIL} names the file.",
        "Write revision and down_revision as plain assignments of literal values; do what the detail says of a script "
        "that takes too much to parse.",
    ),
    Code(
        "no_migrations",
        _FAILURE,
        "FAILURE - The project has no migrations",
        _CHANGE,
        "The branch has migration scripts where the project's profile says, and the change has none there.",
        f"{_DETAIL} names the folder; where the change has its migrations now.",
        "Put the scripts back. If they are to move, the project's profile has to name the new folder.",
    ),
    Code(
        "no_migrations_run",
        _FAILURE,
        "No migrations run",
        _DATASET,
        "The dataset is already at the version that the change ends with, so nothing was tested.",
        "The dataset's version in the report.",
        "Give the job a dataset of an older release.",
    ),
    Code(
        "over_limit",
        _FAILURE,
        "FAILURE - The change used more than the sandbox allows",
        _CHANGE,
        "What the change brings was ended by a limit, or failed because of one.",
        f"{_DETAIL} is the limit, its value, and the variable of the playbooks that raises it.",
        "Use less of it, or have the variable raised in inventory/group_vars/all.",
    ),
    Code(
        "forbidden_here",
        _INFRASTRUCTURE,
        "FAILURE - The migration needs what the worker forbids",
        _OPERATOR,
        "The private server refused a statement of the migration on purpose, which production may well allow.",
        f"{_DETAIL} is the rule, and what the server said; the file and line beside it are where.",
        "Write the rows with INSERT, or walk this project on an external server that allows it (docs/datasets.md).",
    ),
    Code(
        "import_failed",
        _FAILURE,
        "FAILURE - Could not import required module.",
        _CHANGE,
        "The migrations import a Python module that is not in the project's environment.",
        f"{_DETAIL} names the module; artifacts/environment.json has the packages that are there.",
        "Add the missing package to the project's requirements, or to `packages` of its profile.",
    ),
    Code(
        "walk_failed",
        _FAILURE,
        "FAILURE - The migration environment failed",
        _CHANGE,
        "The project's own code around the migrations (alembic's env.py, or the command) failed.",
        f"The end of {_LOG}: the traceback.",
        "Fix that code; it is run as the project's profile says.",
    ),
    # the change itself
    Code(
        "environment_failed",
        _FAILURE,
        "FAILURE - Could not build the virtual environment",
        _CHANGE,
        "The project's requirements could not be installed, or the project itself could not be built.",
        f"{_DETAIL} is the line of the requirement that failed; environment.log has all that the installer said.",
        "Fix that requirement. The project's profile pins a version (install.constraints), takes packages as of a day "
        "(exclude_newer), or installs only what the project needs (install.project: none).",
    ),
    Code(
        "merge_conflict",
        _FAILURE,
        "FAILURE - The change does not merge with its branch",
        _CHANGE,
        "The change and the branch that it is proposed to have altered the same lines.",
        f"{_DETAIL} names the files; git_prep.log has what git said.",
        "Rebase the change.",
    ),
    Code(
        "checkout_ref_gone",
        _INFRASTRUCTURE,
        "FAILURE - Could not find the change",
        _MACHINE,
        "The git server answers, but it does not have the ref or the commit to test, or no longer.",
        f"{_DETAIL} names the ref; git_prep.log has what git said.",
        "Nothing in the change can help that. Zuul makes the ref again when it launches the job again.",
        retry=True,
    ),
    Code(
        "checkout_failed",
        _FAILURE,
        "FAILURE - Could not check out the change",
        _CHANGE,
        "Git could not make a work tree of the change or of its submodules.",
        "git_prep.log: every command of git, and what it said.",
        "Fix what git complains about: most often a submodule's address, or a name that no file can have.",
    ),
    Code(
        "job_timed_out",
        _FAILURE,
        "FAILURE - The job took longer than its time limit",
        _CHANGE,
        "The job as a whole was ended by job_time_limit.",
        "The last step in the report's table is what it was at.",
        "Make the slow step faster, or have job_time_limit raised in the worker's configuration.",
    ),
    Code(
        "test_failed",
        _FAILURE,
        "FAILURE - The test failed",
        _CHANGE,
        "A task of the test's own playbook failed.",
        f"{_DETAIL} names the task; task_output.log has its output.",
        "Fix what the task complains about.",
    ),
    Code(
        "script_failed",
        _FAILURE,
        "FAILURE - The script failed",
        _CHANGE,
        "The script that tests the change ended with an exit status other than 0, or took longer than it may.",
        f"{_DETAIL} is what the script has said, or its last line; shell_output.log has all that it has printed.",
        "Fix what the script complains about.",
    ),
    Code(
        "bad_request",
        _FAILURE,
        "FAILURE - Wrong job argument %s",
        _OPERATOR,
        "The job's arguments are not what a job of Zuul has; nothing was run.",
        "The message names the argument.",
        "Correct the argument that is named.",
    ),
    # the datasets
    Code(
        "seed_missing",
        _INFRASTRUCTURE,
        "FAILURE - Could not find seed database.",
        _DATASET,
        "The dataset's dump is not where its file says.",
        f"{_DETAIL} is the path.",
        "Put the dump there, or correct seed_data in the dataset's file.",
    ),
    Code(
        "seed_broken",
        _INFRASTRUCTURE,
        "FAILURE - Could not setup seed database.",
        _DATASET,
        "The dataset's dump is not whole, cannot be loaded, or does not say at which version it is.",
        f"{_DETAIL} is the reason, with the dump's line and the option or key that cures it.",
        "Do what the detail says: make the dump again with that option, or fix the dataset's file.",
    ),
    Code(
        "seed_changed",
        _INFRASTRUCTURE,
        "FAILURE - Could not prove that the preloaded database is the seed.",
        _DATASET,
        "A preloaded database could not be reset, is not the seed's again, or lends more rights than a job has.",
        f"{_DETAIL} names what differs, or whose rights they are.",
        "Load the seed into the external server again and let nobody else write to it, or change the definer's rights.",
    ),
    Code(
        "no_dataset",
        _INFRASTRUCTURE,
        "FAILURE - Could not find seed database.",
        _OPERATOR,
        "No dataset is there for this project.",
        f"{_DETAIL} names the folder that was looked through.",
        "Add one to the datasets_dir of the job, or do not run the job for this project.",
    ),
    Code(
        "version_removed",
        _FAILURE,
        "FAILURE - The change removes a migration that databases are at",
        _CHANGE,
        "The dataset is at a version that its branch has and the change removes: no such database could be migrated.",
        f"{_DETAIL} is the version; the change's diff of the migrations.",
        "Keep the migration, and undo what it does in a new one.",
    ),
    Code(
        "version_unknown",
        _INFRASTRUCTURE,
        "FAILURE - The dataset's version is not known to the project",
        _DATASET,
        "The dataset holds a version that no release in the walk, nor the change, has a migration for.",
        f"{_DETAIL} is the version; artifacts/checkout.json has those that are known.",
        "Take a dump of a release that the project still has, or name the release in its profile.",
    ),
    Code(
        "not_tested",
        _INFRASTRUCTURE,
        "FAILURE - The dataset was not tested",
        _MACHINE,
        "The walk of this dataset did not come to its end, and nothing says why.",
        "task_output.log: the last task.",
        _AGAIN,
        retry=True,
    ),
    Code(
        "artifacts_damaged",
        _INFRASTRUCTURE,
        "FAILURE - What was measured could not be read",
        _MACHINE,
        "A file below artifacts/ has lines or limits that cannot be understood, so something may be missing.",
        f"{_DETAIL} says of what kind; artifacts/ has the files.",
        "Check the worker's disk, and the limits and waivers in the dataset's file.",
    ),
    # what the operator has set up
    Code(
        "no_profile",
        _INFRASTRUCTURE,
        "FAILURE - There is no profile for the project",
        _OPERATOR,
        "Nothing says how this project is installed and migrated.",
        f"{_DETAIL} is the path of the profile that is missing.",
        "Write inventory/projects/<org>/<name>.yaml; docs/profiles.md says how.",
    ),
    Code(
        "profile_wrong",
        _INFRASTRUCTURE,
        "FAILURE - The project's profile cannot be used",
        _OPERATOR,
        "The project's profile is not valid, or names a release that is not there.",
        f"{_DETAIL} names the key.",
        "Correct the key that is named.",
    ),
    Code(
        "playbook_failed",
        _INFRASTRUCTURE,
        "FAILURE - A step of the job failed",
        _OPERATOR,
        "A task of Ansible failed for a reason that the playbooks do not know.",
        f"{_DETAIL} names the task; task_output.log has its output.",
        "Fix what the task complains about.",
    ),
    Code(
        "sandbox_unavailable",
        _INFRASTRUCTURE,
        "FAILURE - The sandbox cannot be used",
        _OPERATOR,
        "The code of a change runs in a sandbox, which cannot be made on the worker's machine.",
        f"{_DETAIL} is what is in the way. `th check` says the same.",
        "Do what the detail says; until then, nothing is tested.",
    ),
    # the machine
    Code(
        "branch_broken",
        _INFRASTRUCTURE,
        "FAILURE - The migrations of the branch cannot be walked",
        _OPERATOR,
        "The branch's migrations have several heads, lack one, or cannot be read; no change to it can be tested.",
        f"{_DETAIL} names the migrations and their files.",
        "Correct the branch, or the project's profile where that is wrong: `heads`, and the folders with scripts.",
    ),
    Code(
        "git_refused",
        _INFRASTRUCTURE,
        "FAILURE - The git server refuses the repository",
        _OPERATOR,
        "The repository cannot be fetched, and would not be in another try: its address, a permission, a key or a "
        "certificate is wrong.",
        f"{_DETAIL} is git's or ssh's own reason, and the key of the configuration; git_prep.log has all of it.",
        "Correct that key, or let the worker's user have access: its ssh key, known_hosts, or a user in the address.",
    ),
    Code(
        "git_unreachable",
        _INFRASTRUCTURE,
        "FAILURE - The git server does not answer",
        _MACHINE,
        "The repository could not be fetched in several tries.",
        "git_prep.log: the address, and what git said.",
        "Check the server and the address. " + _AGAIN,
        retry=True,
    ),
    Code(
        "index_unreachable",
        _INFRASTRUCTURE,
        "FAILURE - The package index does not answer",
        _MACHINE,
        "Packages could not be fetched in several tries.",
        "environment.log: the address, and what the installer said.",
        "Check the index and the network of the worker. " + _AGAIN,
        retry=True,
    ),
    Code(
        "disk_full",
        _INFRASTRUCTURE,
        "FAILURE - No space is left on the worker's disk",
        _MACHINE,
        "The disk of the worker is full.",
        f"{_DETAIL} names the folder.",
        "Free some space below jobs_working_dir or snapshots_dir. " + _AGAIN,
    ),
    Code(
        "server_failed",
        _INFRASTRUCTURE,
        "FAILURE - The private database server could not be used",
        _MACHINE,
        "The database server of this job could not be started or asked.",
        f"{_DETAIL} is the end of its error log; all of it is in {_SERVERS_LOG}.",
        f"Fix what the server complains about. {_AGAIN}",
        retry=True,
    ),
    Code(
        "server_died",
        _INFRASTRUCTURE,
        "FAILURE - The private database server died",
        _MACHINE,
        "The database server crashed, or was killed, in the middle of the walk.",
        f"{_DETAIL} is the end of its error log; all of it is in {_SERVERS_LOG}.",
        "If a migration does it every time, report a bug of the server, with that migration. " + _AGAIN,
        retry=True,
    ),
    Code(
        "server_out_of_memory",
        _INFRASTRUCTURE,
        "FAILURE - The private database server ran out of memory",
        _MACHINE,
        "The database server ended in the middle of the walk, and its error log speaks of memory.",
        f"{_DETAIL} is the end of its error log; all of it is in {_SERVERS_LOG}.",
        "Give the machine more memory, or the server less (restore_datasets_server_options). " + _AGAIN,
        retry=True,
    ),
    Code(
        "server_unreachable",
        _INFRASTRUCTURE,
        "FAILURE - The external database server does not answer",
        _MACHINE,
        "The database server that the dataset names cannot be reached, or has gone away.",
        f"{_DETAIL} is its address, and what was said.",
        "Check the server, its address and its account in the dataset's file. " + _AGAIN,
        retry=True,
    ),
    Code(
        "job_folder",
        _INFRASTRUCTURE,
        "FAILURE - The job's folder could not be made",
        _MACHINE,
        "The worker could not make a folder for the job.",
        f"{_DETAIL} is the folder.",
        "Check jobs_working_dir: its permissions, and the space on its disk.",
    ),
    Code(
        "upload_failed",
        _INFRASTRUCTURE,
        "FAILURE - The results could not be published",
        _MACHINE,
        "The job ran, but its results could not be put where people read them. Its verdict stands.",
        f"{_DETAIL} names what failed, and where.",
        "Check publish_logs: of a folder, its permissions and the space on its disk. " + _AGAIN,
    ),
    Code(
        "worker_failed",
        _INFRASTRUCTURE,
        "FAILURE - The worker failed",
        _MACHINE,
        "The worker failed with an unhandled exception.",
        "The traceback in the worker's log.",
        "Report it, with that traceback. " + _AGAIN,
    ),
    Code(
        "retry_timed_out",
        _INFRASTRUCTURE,
        "FAILURE - The time limit left too little for a second try",
        _MACHINE,
        "An infrastructure failure ended the first try, and job_time_limit the second, which had what was left of it.",
        "The files below first-try/: what ended the first try.",
        _AGAIN,
    ),
    Code(
        "worker_stopped",
        _INFRASTRUCTURE,
        "FAILURE - The worker was stopped",
        _MACHINE,
        "The worker was stopped while the job ran.",
        "The worker's log.",
        _AGAIN,
    ),
    Code(
        "canceled",
        Outcome.CANCELED,
        "CANCELED - The job was stopped",
        Fault.NONE,
        "The job was stopped from outside, as Zuul does when there is a newer patchset.",
        "Nothing.",
        "Nothing has to be done.",
    ),
)

CODES: Mapping[str, Code] = {code.code: code for code in _TABLE}
"""All messages by their code."""
