# SPDX-License-Identifier: Apache-2.0
"""An installation in which each job of tests/data/jobs ends with the code that its file is named after.

To try one by hand:

    python -m tests.integration.recorded DIR     makes it in DIR, serves its repositories, and says what to type
"""

import json
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from tests.kit import ROOT, shared
from tests.kit.git_server import Repository, daemon
from tests.kit.installation import DATASET, INDEX, PROFILE, TABLE, program, script
from tests.kit.toy import ENV_PY

from .copies import Copies

JOBS = ROOT / "tests" / "data" / "jobs"
PROJECT = "recorded/toy"
NOWHERE = "127.0.0.1:1"
"""Nobody listens there."""
REFUSED = "refused"
"""The project that the git server does not have."""

# at the branch's tip, so that a job has only the change to walk
DUMP = """-- MariaDB dump 10.19  Distrib 10.11.6-MariaDB, for debian-linux-gnu (x86_64)
CREATE TABLE alembic_version (version_num varchar(32) NOT NULL PRIMARY KEY);
INSERT INTO alembic_version VALUES ('c3');
CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, name varchar(50), note varchar(9), KEY ix_name (name));
INSERT INTO t (name) WITH RECURSIVE seq (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM seq WHERE seq < 1000)
SELECT CONCAT('name', seq % 500) FROM seq;
-- Dump completed on 2026-01-01  0:00:00
"""
DUMP_OF_MYSQL = DUMP.replace("MariaDB dump 10.19  Distrib 10.11.6-MariaDB", "MySQL dump 10.13  Distrib 8.0.36")

Files = Mapping[str, str | None]


@dataclass(frozen=True)
class Scenario:
    """What is special about a job: its change, its dataset, its profile, the configuration, the playbooks.

    `dataset` None is none at all, a value of its None a key that is not there; `dump` None a dump that is missing.
    `limits` are group variables of the playbooks, `gate` further plays of the gate's, `at_first` is a shell script that
    runs before all of them, `at_the_sign` one that runs beside the walk as soon as the change has made a file `SIGN`;
    `blocked` is a path of the installation that a file stands in the way of; `merged` is what the branch has in
    addition, `advance` what is merged after the change was proposed; `options` are the job's own keys.
    """

    files: Files = field(default_factory=lambda: script("d4", "c3"))
    dataset: Mapping[str, Any] | None = field(default_factory=dict)
    dump: str | None = DUMP
    profile: Mapping[str, Any] | None = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    gate: str = ""
    at_first: str = ""
    at_the_sign: str = ""
    blocked: str = ""
    advance: Files = field(default_factory=dict)
    merged: Files = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def _migration(body: str) -> Files:
    return script("d4", "c3", body)


def _env_py(*lines: str) -> Files:
    """A change that also alters env.py."""
    return {**script("d4", "c3"), "migrations/env.py": "\n".join([ENV_PY, *lines, ""])}


def _limited(key: str, body: str, limit: float) -> Scenario:
    return Scenario(_migration(body), dataset={key: {"c3->d4": limit}})


_ELSEWHERE = """import sqlite3
elsewhere = sqlite3.connect("x.db")
if not elsewhere.execute("SELECT name FROM sqlite_master").fetchall():
    elsewhere.execute("CREATE TABLE alembic_version (version_num varchar(32))")
    elsewhere.execute("INSERT INTO alembic_version VALUES ('c3')")
    elsewhere.commit()
"""
"""Another database, at the branch's version."""
_EVERY_ROW = "op.execute(\"UPDATE t SET note = 'x'\")"
_STEP_THAT_FAILS = """
- name: Look at something else
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Look at something that is not there
      ansible.builtin.command: {argv: [no-such-program-of-ours]}
      changed_when: false
"""
_STEP_THAT_WRITES = """
- name: Write where others read
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Write what is no event
      ansible.builtin.shell: "echo nonsense >> '{{ th_job_dir }}/artifacts/walk-first.jsonl'"
      changed_when: false
"""
SIGN = "now"
_GIVE_A_SIGN = _migration(f"import time; open({SIGN!r}, 'w').close(); time.sleep(900)")
_KILL = """kill -KILL $(sed -n 's/.*"pid": \\([0-9]*\\).*/\\1/p' {{ th_job_dir }}/db/first/server.json)"""
_BESIDE_THE_WALK = """
- name: Wait for a sign of the change's, beside the walk
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Do what is to be done then
      ansible.builtin.shell: |
        while test -d '{{{{ th_job_dir }}}}/src' && ! test -e '{{{{ th_job_dir }}}}/src/{sign}'; do sleep 0.05; done
        {script}
      async: 3600
      poll: 0
      changed_when: false
"""
_AT_FIRST = """
- name: Look before anything else
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Do what is to be done then
      ansible.builtin.shell: |
        {script}
      changed_when: false
"""
_OWN_ENV_PY = """from pathlib import Path
from alembic import context
from sqlalchemy import make_url

path = Path("own/env", f"{make_url(context.config.get_main_option('sqlalchemy.url')).username}.py")
exec(compile((path if path.exists() else path.with_name("other.py")).read_text(), str(path), "exec"))
"""
_OWN_MIGRATION = """
import pathlib
path = pathlib.Path("own/d4", f"{op.get_bind().engine.url.username}.py")
if path.exists():
    names = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    names["upgrade"]()
"""
_EXTERNAL = {"host": "127.0.0.1", "user": "th", "password_file": "password"}
_NO_ACCOUNT: Mapping[str, None] = dict.fromkeys(("db_user", "db_pass"))
_SPOILT = "context.configure(connection=connection)"

SCENARIOS: Mapping[str, Scenario] = {
    "migration_unfinished": Scenario(_migration("import os; os._exit(1)")),
    "migration_raised": Scenario(_migration("op.create_index('uq', 't', ['name'], unique=True)")),
    "migration_killed": Scenario(_migration("import os, signal; os.killpg(0, signal.SIGKILL)")),
    "migration_ended": Scenario(_migration("import os; os._exit(0)")),
    "migration_timed_out": Scenario(
        _migration("op.execute('SELECT SLEEP(900)')"), limits={"run_migrations_time_limit": 15}
    ),
    "migration_too_long": _limited("maximum_migration_times", "op.execute('SELECT SLEEP(0.4)')", 0.1),
    "migration_changed_rows": _limited("XInnodb_rows_changed", _EVERY_ROW, 500),
    "migration_read_rows": _limited("Innodb_rows_read", _EVERY_ROW, 500),
    "migration_redo_bytes": _limited("maximum_redo_bytes", _EVERY_ROW, 1000),
    "migration_data_growth": _limited(
        "maximum_data_growth", "op.execute('CREATE TABLE u AS SELECT one.* FROM t one, t two LIMIT 50000')", 1000
    ),
    "version_mismatch": Scenario(_env_py("engine.connect().exec_driver_sql('TRUNCATE alembic_version')")),
    "version_unchanged": Scenario(
        {
            **script("d4", "c3"),
            "migrations/env.py": _ELSEWHERE
            + ENV_PY.replace('context.config.get_main_option("sqlalchemy.url")', '"sqlite:///x.db"'),
        }
    ),
    "version_not_in_tree": Scenario(
        {
            **script("d4", "c3"),
            "migrations/env.py": ENV_PY.replace(
                _SPOILT,
                "context.configure(connection=connection, on_version_apply=lambda ctx, **_: "
                "ctx.connection.exec_driver_sql(\"UPDATE alembic_version SET version_num = 'zz'\"))",
            ),
        }
    ),
    "version_removed": Scenario({"migrations/versions/c3_.py": None, **script("d4", "b2")}),
    "version_unknown": Scenario(dump=DUMP.replace("('c3')", "('zz')")),
    "several_heads": Scenario({**script("d4", "c3"), **script("d5", "c3")}),
    "change_not_run": Scenario({**script("a0", None), **script("a1", "a0", TABLE), **script("d4", "c3")}),
    "migration_unreadable": Scenario(
        {"migrations/versions/d4_.py": script("d4", "c3")["migrations/versions/d4_.py"].replace("'d4'", "'d' + str(4)")}
    ),
    "no_migrations": Scenario({f"migrations/versions/{name}_.py": None for name in ("a1", "b2", "c3")}),
    "no_migrations_run": Scenario({"README": "words"}),
    "import_failed": Scenario(_migration("import no_such_module")),
    "walk_failed": Scenario(_env_py("raise RuntimeError('at the end')")),
    "environment_failed": Scenario({**script("d4", "c3"), "requirements.txt": "no-such-package-of-ours==1.2.3\n"}),
    "checkout_ref_gone": Scenario(),
    "checkout_failed": Scenario(
        {".gitmodules": '[submodule "x"]\n\tpath = x\n\turl = https://127.0.0.1:1/x\n'}
    ),
    "merge_conflict": Scenario({**script("d4", "c3"), "README": "mine"}, advance={"README": "theirs"}),
    "job_timed_out": Scenario(_migration("op.execute('SELECT SLEEP(900)')"), config={"job_time_limit": 12}),
    "test_failed": Scenario(gate=_STEP_THAT_FAILS, dataset=None, config={"plugin": "other"}),
    "bad_request": Scenario(),
    "seed_missing": Scenario(dump=None),
    "seed_broken": Scenario(dump=DUMP[: DUMP.index("-- Dump completed")]),
    "no_dataset": Scenario(dataset=None),
    "not_tested": Scenario(limits={"run_migrations_skipped": True}),
    "artifacts_damaged": Scenario(gate=_STEP_THAT_WRITES),
    "no_profile": Scenario(profile=None),
    "profile_wrong": Scenario(profile={"releases": ["stable/none"]}),
    "playbook_failed": Scenario(gate=_STEP_THAT_FAILS),
    "git_unreachable": Scenario(limits={"checkout_fetch_attempts": 1}),
    "index_unreachable": Scenario(
        profile={
            "install": {
                **PROFILE["install"],
                "environment": {"UV_DEFAULT_INDEX": f"http://{NOWHERE}/simple", "UV_HTTP_RETRIES": "0"},
            }
        }
    ),
    "disk_full": Scenario(),
    "server_failed": Scenario(limits={"restore_datasets_server_options": ["--no-such-option-of-ours"]}),
    "server_unreachable": Scenario(
        dataset={"server": {**_EXTERNAL, "port": 1}, **_NO_ACCOUNT}
    ),
    "server_died": Scenario(_GIVE_A_SIGN, at_the_sign=_KILL),
    "job_folder": Scenario(blocked="jobs"),
    "upload_failed": Scenario(blocked="logs"),
    "server_out_of_memory": Scenario(
        _GIVE_A_SIGN,
        at_the_sign="echo '[ERROR] InnoDB: Out of memory' >> '{{ th_job_dir }}/db/first/server.log'; " + _KILL,
    ),
    # the first try ends soon and the second one never, however slow the machine is
    "retry_timed_out": Scenario(
        limits={"checkout_fetch_attempts": 1},
        at_first="mkdir '{{ th_job_dir | dirname | dirname }}/tried' || sleep 3600",
    ),
    "limit_not_measurable": Scenario(
        dataset={"server": _EXTERNAL, **_NO_ACCOUNT, "maximum_redo_bytes": {"default": 10**9}}
    ),
    "seed_changed": Scenario(
        dataset={"server": _EXTERNAL, **_NO_ACCOUNT, "seed_data": None, "preloaded": True, "reset": ["false"],
                 "database": "shop"}
    ),
    "canceled": Scenario(_migration("op.execute('SELECT SLEEP(900)')")),
    "over_limit": Scenario(_migration("rows = [0] * (90 << 20)"), limits={"sandbox_memory": "512M"}),
    "wrong_parent": Scenario(script("d4", "99")),
    "branch_broken": Scenario({"README": "words"}, merged=script("c4", "b2")),
    "git_refused": Scenario(),
    "forbidden_here": Scenario(
        _migration("op.execute(\"LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE t (name)\")")
    ),
    "script_failed": Scenario(
        {"test.sh": "echo 'no such table' >$TH_RESULT_FILE; echo looking; exit 3\n"},
        dataset=None,
        profile=None,
        config={"plugin": "shell_script"},
        options={"script": "./test.sh"},
    ),
}
"""By code. Which codes have none, and why, is in tests/integration/test_recorded_jobs.py; those of
changes at fault are run by test_recorded_changes.py."""

TOGETHER: Mapping[str, tuple[str, ...]] = {
    "ends": (
        "migration_unfinished", "migration_raised", "migration_killed", "migration_ended", "import_failed",
        "migration_timed_out", "over_limit", "version_mismatch", "walk_failed",
    ),
    "limits": (
        "migration_too_long", "migration_changed_rows", "migration_read_rows", "migration_redo_bytes",
        "migration_data_growth", "version_unchanged", "version_not_in_tree",
    ),
    "datasets": (
        "seed_missing", "seed_broken", "version_unknown", "server_unreachable", "limit_not_measurable",
        "seed_changed", "forbidden_here",
    ),
}  # fmt: skip
"""The codes that one job has all of, each for a dataset of its own: what is special about them is the dataset, or what
the change does while it is walked."""


ON_MYSQL = (
    "migration_raised", "migration_killed", "migration_timed_out", "migration_too_long", "migration_changed_rows",
    "migration_read_rows", "migration_redo_bytes", "migration_data_growth", "forbidden_here",
)  # fmt: skip
"""The codes that one job has all of on a server of MySQL, which the dumps come from."""
PASSES = "passes"
"""A dataset of such a job on which the change does nothing special."""


class Installation:
    """The installation of the recorded jobs in `root`, with its repositories served at `url`; `packages` is uv's
    cache, `environments` where environments are kept."""

    def __init__(self, root: Path, url: str, packages: Path, environments: Path) -> None:
        self.root, self.url, self.packages, self.environments = root, url, packages, environments
        self._external: Any = None
        self._copies: Copies | None = None
        (root / "seed.sql").write_text(DUMP)
        shared.share_empty_data(root / "snapshots_dir")
        self._base = Repository(root / "base")
        self._base.commit(
            {
                "alembic.ini": "[alembic]\nscript_location = migrations\nsqlalchemy.url =\n",
                "migrations/env.py": ENV_PY,
                "requirements.txt": "",
                "README": "ours",
                **script("a1", None, TABLE),
            },
            "The beginning",
        )
        self._base.commit(script("b2", "a1", "op.add_column('t', sa.Column('note', sa.String(9)))"), "Add notes")
        self._base.git("branch", "stable/1")
        self._base.commit(script("c3", "b2", INDEX), "Index the names")

    def add_together(self, name: str, codes: Sequence[str], dump: str = DUMP, **config: Any) -> list[str]:
        """Make a job that does what those of several codes do, for each in a dataset that is named after it.

        Its change has the files of all of them. Which it runs, it sees by the account that it is given. Their datasets
        have another `dump`, and then one more dataset passes. `config` has further keys of the configuration.
        """
        home, ref = self.root / name, f"refs/zuul/master/Z{name.encode().hex()}"
        repository = self._repository_of(PROJECT)
        files = {"migrations/env.py": _OWN_ENV_PY, "own/env/other.py": ENV_PY, **_migration(_OWN_MIGRATION)}
        for code in codes:
            own = SCENARIOS[code].files
            files[f"own/env/{code}.py"] = own.get("migrations/env.py", ENV_PY)
            files[f"own/d4/{code}.py"] = own["migrations/versions/d4_.py"]
        repository.change(ref, files)
        (home / "datasets").mkdir(parents=True)
        self._profile(home, PROJECT, {})
        for code in codes:
            scenario = SCENARIOS[code] if dump == DUMP else replace(SCENARIOS[code], dump=dump)
            self._dataset(home / "datasets", code, PROJECT, scenario, {"db_user": code})
        if dump != DUMP:
            self._dataset(home / "datasets", PASSES, PROJECT, Scenario(dump=dump), {"db_user": PASSES})
        limits = {key: value for code in codes for key, value in SCENARIOS[code].limits.items()}
        config = self._configure(codes[0], Scenario(limits=limits), home, config)
        return ["-c", str(config), "--params", str(JOBS / f"{codes[0]}.json"), "--url", self.url, "--ref", ref]

    def add(self, code: str, folder: str = "", **config: Any) -> list[str]:
        """Make what the job of a code needs in `folder`, with further keys; the words after ``th run`` that run it."""
        scenario, arguments = SCENARIOS[code], recorded(code)
        self._repository(scenario, arguments)
        project, home = arguments["ZUUL_PROJECT"], self.root / (folder or code)
        if scenario.profile is not None:
            self._profile(home, project, scenario.profile)
        (home / "datasets").mkdir(parents=True)
        if scenario.dataset is not None:
            self._dataset(home / "datasets", "first", project, scenario, {})
        words = ["-c", str(self._configure(code, scenario, home, config)), "--params", str(JOBS / f"{code}.json")]
        return words if NOWHERE in arguments["ZUUL_URL"] else [*words, "--url", self.url]

    @staticmethod
    def _profile(home: Path, project: str, more: Mapping[str, Any]) -> None:
        path = home / "projects" / f"{project}.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump({**PROFILE, **more}))

    def _dataset(
        self, datasets: Path, name: str, project: str, scenario: Scenario, more: Mapping[str, Any]
    ) -> None:
        document = {key: value for key, value in DATASET.items() if isinstance(value, str)}
        # one dump for most, so that it is imported once
        seed = "../../seed.sql" if scenario.dump == DUMP else f"{name}.sql"
        document |= {"project": project, "seed_data": seed, **more, **(scenario.dataset or {})}
        if "server" in document:
            document["server"] = {"port": self._external_port(), **document["server"]}
        given = {key: value for key, value in document.items() if value is not None}
        (datasets / f"{name}.json").write_text(json.dumps(given))
        (datasets / "password").touch(0o600)
        (datasets / "password").write_text("secret word\n")
        if scenario.dump not in (None, DUMP):
            (datasets / f"{name}.sql").write_text(str(scenario.dump))

    def _external_port(self) -> int:
        """The port of the external server, which is started for the first job that needs it."""
        import tests.kit  # noqa: F401 - it says where the modules of the roles are
        from tests.kit.external_server import External

        if self._external is None:
            self._external = External(self.root / "external")
        return int(self._external.port)

    @property
    def copies(self) -> Copies:
        """What runs `th`; started for the first job that needs it."""
        self._copies = self._copies or Copies()
        return self._copies

    def close(self) -> None:
        """Stop what was started."""
        if self._copies is not None:
            self._copies.close()
        if self._external is not None:
            self._external.stop()

    def _repository(self, scenario: Scenario, arguments: Mapping[str, str]) -> None:
        if arguments["ZUUL_PROJECT"].endswith(REFUSED):
            return
        repository = self._repository_of(arguments["ZUUL_PROJECT"])
        if scenario.merged:
            repository.commit(scenario.merged, "What was merged before")
        if "gone" not in arguments["ZUUL_REF"] and not arguments["ZUUL_REF"].startswith("-"):
            repository.change(arguments["ZUUL_REF"], scenario.files)
        if ".gitmodules" in scenario.files:
            self._add_submodule(repository, arguments["ZUUL_REF"])
        if scenario.advance:
            repository.commit(scenario.advance, "What was merged in the meantime")

    def _repository_of(self, project: str) -> Repository:
        folder = self.root / "served" / project
        if not folder.exists():  # most share one, and so the environments of its releases
            shutil.copytree(self._base.folder, folder, symlinks=True)
        return Repository(folder)

    @staticmethod
    def _add_submodule(repository: Repository, ref: str) -> None:
        repository.git("checkout", "--quiet", "--detach", ref)
        repository.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},x")
        repository.git("commit", "--quiet", "--message", "A submodule")
        repository.git("update-ref", ref, "HEAD")
        repository.git("checkout", "--quiet", "--force", "master")

    def _configure(self, code: str, scenario: Scenario, home: Path, more: Mapping[str, Any]) -> Path:
        config = {**scenario.config, **more}
        plugin = config.pop("plugin", "gate_real_db_upgrade")
        job: dict[str, Any] = {"name": "gate", "plugin": plugin, **scenario.options}
        if plugin == "gate_real_db_upgrade":
            job["datasets_dir"] = str(home / "datasets")
        shared = {key: str(self.root / key) for key in ("git_working_dir", "snapshots_dir")}
        document = {
            "zuul_server": {"gearman_host": "embedded", "git_url": self.url},
            "jobs_working_dir": str(home / "jobs"),
            "pip_download_cache": str(self.packages),
            "environments_dir": str(self.environments),
            "projects_dir": str(home / "projects"),
            "jobs": [job],
            "publish_logs": {"path": str(home / "logs"), "prepend_url": (home / "logs").as_uri()},
            **shared,
            **config,
        }
        (home / "projects").mkdir(exist_ok=True)
        if scenario.limits or scenario.gate or scenario.at_first or scenario.at_the_sign:
            document["ansible_dir"] = str(self._playbooks(home, plugin, scenario))
        if scenario.blocked == "logs":
            arguments = recorded(code)
            stone = home / "logs" / arguments["LOG_PATH"].partition("/")[0]
            stone.parent.mkdir()
            stone.touch()
        path = home / "config.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def _playbooks(self, home: Path, plugin: str, scenario: Scenario) -> Path:
        """A copy of the playbooks as an operator might have edited them."""
        folder = home / "ansible"
        for name in ("playbooks", "roles", "inventory"):
            shutil.copytree(ROOT / name, folder / name)
        shutil.copy(ROOT / "ansible.cfg", folder)
        limits = dict(scenario.limits)
        skipped = limits.pop("run_migrations_skipped", False)
        (folder / "inventory" / "group_vars" / "all" / "zz.yaml").write_text(yaml.safe_dump(limits))
        gate = folder / "playbooks" / plugin / "run.yaml"
        if skipped:
            (folder / "playbooks" / "run-migrations.yaml").write_text("- hosts: localhost\n  gather_facts: false\n")
        if plugin != "gate_real_db_upgrade":
            gate.parent.mkdir()
            gate.write_text(f"---{scenario.gate}")
        else:
            first = _AT_FIRST.format(script=scenario.at_first) if scenario.at_first else ""
            gate.write_text(gate.read_text().replace("---\n", f"---{first}\n", 1) + scenario.gate)
        if scenario.at_the_sign:
            walk = folder / "playbooks" / "run-migrations.yaml"
            beside = _BESIDE_THE_WALK.format(sign=SIGN, script=scenario.at_the_sign)
            walk.write_text(walk.read_text().replace("---\n", f"---{beside}\n", 1))
        return folder


def recorded(code: str) -> dict[str, str]:
    """The recorded arguments of a job."""
    document: dict[str, str] = json.loads((JOBS / f"{code}.json").read_text())
    return document


def arguments_of(number: int, code: str) -> dict[str, str]:
    """The arguments that are recorded for a code, as Zuul would send them."""
    ref = f"refs/zuul/master/Z{code.encode().hex()}"
    base = f"{number:02d}/1{number:02d}/1"
    given = {
        "ZUUL_UUID": f"recorded-{code}".replace("_", "-"),
        "ZUUL_PROJECT": f"recorded/{code.replace('_', '-')}" if _has_its_own(code) else PROJECT,
        "ZUUL_PIPELINE": "check",
        "ZUUL_URL": "git://127.0.0.1:9418",
        "ZUUL_VOTING": "1",
        "ZUUL_BRANCH": "master",
        "ZUUL_REF": ref,
        "ZUUL_CHANGE": f"1{number:02d}",
        "ZUUL_PATCHSET": "1",
        "BASE_LOG_PATH": base,
        "LOG_PATH": f"{base}/check/gate/recorde",
    }
    special = {
        "checkout_ref_gone": {"ZUUL_REF": f"{ref}gone"},
        "bad_request": {"ZUUL_REF": "--upload-pack=x"},
        "git_unreachable": {"ZUUL_URL": f"git://{NOWHERE}"},
        "git_refused": {"ZUUL_PROJECT": f"recorded/{REFUSED}"},
        "retry_timed_out": {"ZUUL_URL": f"git://{NOWHERE}"},
    }
    return {**given, **special.get(code, {})}


def _has_its_own(code: str) -> bool:
    """Whether a job's repository has a branch of its own."""
    return bool(SCENARIOS[code].advance or SCENARIOS[code].merged)


def record() -> None:
    """Write the files of tests/data/jobs anew."""
    for number, code in enumerate(SCENARIOS):
        (JOBS / f"{code}.json").write_text(json.dumps(arguments_of(number, code), indent=1) + "\n")


def main() -> None:
    """Make the installation, and serve it until interrupted."""
    root = Path(sys.argv[1]).absolute()
    (root / "served").mkdir(parents=True)
    with daemon(root / "served") as url:
        installation = Installation(root, url, root / "packages", root / "environments")
        for code in SCENARIOS:
            print(f"{code}:\n    {program('th')} run {' '.join(installation.add(code))}")
        print("Serving until interrupted.")
        try:
            signal.pause()
        except KeyboardInterrupt:
            installation.close()


if __name__ == "__main__":
    main()
