# SPDX-License-Identifier: Apache-2.0
"""Whatever is handed in: no crash, no hang, always one answer.

The examples are good documents with something wrong in them, seldom plain noise. CI takes the same each time; to look
longer:

    TH_FUZZ_EXAMPLES=10000 python -m pytest tests/hostile/test_fuzz.py
"""

import argparse
import contextlib
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from ansible.module_utils.th_checkout.install_files import install_files_among
from ansible.module_utils.th_core.checks import WrongKey
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_dataset.dataset import read_dataset
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_environment.requirements import absent, places
from ansible.module_utils.th_environment.source import NotPlainError, Plain, Source
from ansible.module_utils.th_environment.unpackaged import needed
from ansible.module_utils.th_mask.secrets import collect
from ansible.module_utils.th_parse import downlevel, new_syntax  # noqa: F401 - the first is imported once, not often
from ansible.module_utils.th_tools.alembic_files import VALUE_LIMIT, read_ini, read_toml, split_locations
from ansible.module_utils.th_tools.alembic_scripts import read_tree
from ansible.module_utils.th_tools.django_trees import read_django_tree
from ansible.module_utils.th_tools.numbered_scripts import SQLALCHEMY_MIGRATE, read_numbered_tree
from ansible.module_utils.th_tools.profile import check_profile
from ansible.module_utils.th_tools.revisions import Tree
from hypothesis import example, given
from hypothesis import strategies as st

from tests.kit import ROOT, load_module
from tests.kit.hostile_artifacts import write as write_hostile
from tests.kit.recorded_walks import CASES
from worker.builds import Builds
from worker.cli import history
from worker.config import config, dataset_file
from worker.errors import ConfigError, DatasetError, RequestError, UsageError
from worker.gearman.client import Task
from worker.report import render
from worker.request import Request
from worker.verdict import Verdict, artifacts, decide, result_text

from .fuzz_box import (  # noqa: F401 - they are tests
    test_any_text_is_masked_and_stays_as_long_as_it_is,
    test_any_version_table_has_heads,
    test_whatever_a_walking_process_says_the_walk_has_an_end,
)
from .mutations import BOMBS, TEXTS, VALUES, as_json, as_lines, as_yaml, bounded, clear, fuzz, mutated

projects = load_module("project", "project_profile")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


# -- the arguments of a job ----------------------------------------------------------------------------------------

ARGUMENTS = [
    {
        "ZUUL_UUID": "9a1f0c3b5d7e4f6a8b9c0d1e2f3a4b5c", "ZUUL_PROJECT": "org/project", "ZUUL_PIPELINE": "check",
        "ZUUL_URL": "http://zuul.example.org/p", "ZUUL_BRANCH": "master", "ZUUL_CHANGE": "7", "ZUUL_PATCHSET": "1",
        "ZUUL_COMMIT": "4b3cde5f" * 5, "ZUUL_REF": "refs/zuul/master/Z9a1f", "BASE_LOG_PATH": "7/7/1",
        "LOG_PATH": "7/7/1/check/upgrade/9a1f0c3", "ZUUL_CHANGES": "org/project:master:refs/changes/07/7/1",
    },
    {"ZUUL_PROJECT": "a", "ZUUL_URL": "git@host:x", "ZUUL_REFNAME": "master", "ZUUL_NEWREV": "c0ffee00" * 5},
]  # fmt: skip


class FakeTask:
    """A job of Gearman's that remembers how it was answered."""

    lost = False

    def __init__(self, function: str, unique: str, arguments: bytes) -> None:
        self.function, self.arguments = function, arguments
        self.unique = unique.encode("utf-8", "replace").decode()
        self.told: list[dict[str, Any]] = []
        self.ends: list[str] = []

    def data(self, payload: dict[str, Any]) -> None:
        assert not self.ends, "nothing comes after the end"
        self.told.append(json.loads(json.dumps(payload).encode()))

    def status(self, done: int, total: int) -> None:
        assert not self.ends and 0 <= done <= total

    def complete(self) -> None:
        self.ends.append("complete")

    def fail(self) -> None:
        self.ends.append("fail")


class FakeJob:
    """A job that succeeds at once, with what a real one does with its request."""

    def __init__(self, request: Request) -> None:
        for path in (request.log_path, request.project, request.id):
            assert not path.startswith("/") and ".." not in path.split("/") and clear(path)
        for text in (request.ref, request.branch, request.job_name, *request.zuul.values()):
            text.encode()
            assert not text.startswith("-") or text in request.zuul.values()
        assert not {"\0", "\n", "\x1b", "\u202e", "\u2028"}.intersection("".join(request.zuul.values()) + request.ref)

    def run(self) -> Any:
        good = Verdict(decide.Outcome.SUCCESS, ())
        return SimpleNamespace(verdict=good, url="http://logs/", summary_lines=(), upload_seconds=0.0)

    def cancel(self, reason: str) -> None:
        raise AssertionError("nobody has canceled it")


def answered(function: str, unique: str, arguments: bytes) -> None:
    """Run a build, and check that it is answered once."""
    setup = SimpleNamespace(
        job=lambda name: None if name == "unknown" else SimpleNamespace(name=name),
        publish_logs=SimpleNamespace(prepend_url="http://logs/"),
    )
    builds = Builds(cast(config.Config, setup), "manager", lambda config, entry, request, observer: FakeJob(request))
    task = FakeTask(function, unique, arguments)
    with bounded(arguments):
        builds.run(cast(Task, task))
    assert len(task.ends) == 1 and builds.count == 0
    result = task.told[-1].get("result")
    assert (task.ends == ["complete"]) == (result == "SUCCESS")
    if result not in (None, "SUCCESS"):
        assert clear(result) and result == result_text.result(result)
    assert all(told["url"] == result_text.url(told["url"]) for told in task.told)
    try:
        Request.parse(function.removeprefix("build:"), unique, arguments)
        assert result == "SUCCESS" or function == "build:unknown"
    except RequestError as error:
        assert clear(str(error))
        assert function == "build:unknown" or (result and result.startswith("FAILURE - Wrong job argument "))


FUNCTIONS = st.sampled_from(["build:job", "build:unknown", "build:build:job"])


@fuzz(250)
@given(FUNCTIONS, TEXTS | st.just("unique"), as_json(mutated(ARGUMENTS) | VALUES) | st.binary(max_size=40))
@example("build:job", "unique", b'{"ZUUL_PROJECT": "a", "ZUUL_URL": "http://h", "ZUUL_REF": "a\\u009b31m"}')
@example("build:job", "unique", b'{"ZUUL_PROJECT": "a", "ZUUL_URL": "http://h", "ZUUL_BRANCH": "a\\u202eb"}')
def test_any_arguments_of_a_job_are_answered_once(function: str, unique: str, arguments: bytes) -> None:
    answered(function, unique, arguments)


@fuzz(60)
@given(as_json(VALUES | st.fixed_dictionaries({"number": VALUES})) | st.binary(max_size=40))
def test_any_stop_is_answered_once(arguments: bytes) -> None:
    task = FakeTask("stop:manager", "unique", arguments)
    with bounded(arguments):
        Builds(cast(config.Config, None), "manager").stop(cast(Task, task))
    assert task.ends == ["complete"]


# -- files that operators write ------------------------------------------------------------------------------------

DATASETS = [
    {
        "project": "org/project", "type": "mysql", "db_user": "nova", "db_pass": "tester", "database": "catalog",
        "seed_data": "seed.sql", "expect": {"tables": 3, "rows": {"t": 1}},
        "maximum_migration_times": {"default": 60, "a->b": 1.5, "warn_only": True},
        "waivers": [{"migration": "a->b", "reason": "r", "limit": "maximum_redo_bytes"}], "tags": ["small"], "_x": [1],
    },
    {
        "project": "p", "type": "mysql", "server": {"host": "h", "port": 1, "user": "u", "password_file": "f"},
        "databases": {"a": {"database": "d"}, "b": {"database": "e"}}, "preloaded": True, "reset": ["make", "reset"],
    },
    {
        "project": "p", "type": "mysql", "db_user": "u", "db_pass": "", "database": "d", "seed_data": "seed.sql",
        "engines": ["x", "y"], "mysql_dump_into_mariadb": True, "Innodb_rows_read": {"x": {"default": 2, "a->b": 3}},
    },
]  # fmt: skip
CONFIGS = [
    {
        "zuul_server": {"gearman_host": "zuul.example.org", "gearman_port": 4730, "git_origin": "http://git/p"},
        "jobs_working_dir": "/nowhere/jobs", "debug_log": "/nowhere/log", "job_time_limit": 60,
        "keep_job_dirs": "never",
        "publish_logs": {"type": "local", "path": "/srv/logs", "prepend_url": "http://logs.example.org"},
        "plugins": [{"name": "gate_real_db_upgrade", "function": "build:a", "datasets_dir": "."}],
        "jobs": [{"name": "b", "plugin": "gate_real_db_upgrade", "datasets_dir": ".", "pipelines": {"c": ["x"]}}],
    }
]  # fmt: skip
PROFILES = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "inventory" / "projects").rglob("*.yaml"))]


def read_a_dataset(folder: Path, content: bytes) -> None:
    path = folder / "set.json"
    path.write_bytes(content)
    (folder / "seed.sql").touch()
    names = [""]
    with bounded(content):
        try:
            names = [part.name for part in dataset_file.load(path).parts]
        except DatasetError as error:
            assert clear(str(error)) and str(path) in str(error)
        for engine in ("", "x"):
            try:
                read_dataset(path, names, engine)
            except SeedError as error:
                assert clear(str(error)) and str(path.parent) in str(error)


def read_a_configuration(folder: Path, content: bytes) -> None:
    path = folder / "config.yaml"
    path.write_bytes(content)
    with bounded(content):
        try:
            found = config.load(path)
            found.writable_dirs()
            assert found.jobs
        except ConfigError as error:
            assert clear(str(error)) and str(folder) in str(error)


def read_a_profile(folder: Path, content: bytes) -> None:
    (folder / "org").mkdir(exist_ok=True)
    (folder / "org" / "project.yaml").write_bytes(content)
    with bounded(content):
        try:
            json.dumps(projects.load(folder, "org/project"))
        except StepError as error:
            assert error.code == "profile_wrong" and clear(error.detail) and "project.yaml" in error.detail
        for secret in collect(folder, [], {}, {}, folder / "org" / "project.yaml").worth_masking():
            assert isinstance(secret, str)


@fuzz(150)
@given(content=as_json(mutated(DATASETS)) | as_yaml(mutated(DATASETS)))
def test_any_file_of_a_dataset_is_read_or_refused(folder: Path, content: bytes) -> None:
    read_a_dataset(folder, content)


@fuzz(150)
@given(content=as_json(mutated(CONFIGS)) | as_yaml(mutated(CONFIGS)), more=as_yaml(mutated(CONFIGS)) | st.none())
def test_any_configuration_is_read_or_refused(folder: Path, content: bytes, more: bytes | None) -> None:
    (folder / "conf.d").mkdir(exist_ok=True)
    (folder / "conf.d" / "more.yaml").write_bytes(more or b"")
    read_a_configuration(folder, content)


@fuzz(150)
@given(content=as_yaml(mutated(PROFILES)), document=mutated(PROFILES) | VALUES)
def test_any_profile_is_read_or_refused(folder: Path, content: bytes, document: Any) -> None:
    read_a_profile(folder, content)
    with bounded(document):
        try:
            check_profile(document)
        except WrongKey as error:
            assert clear(str(error))


# -- files that a job leaves ---------------------------------------------------------------------------------------


def _recorded() -> dict[str, list[Any]]:
    """The artifact files of all recorded cases, by a name that does not tell the dataset."""
    found: dict[str, list[Any]] = {}
    for path in (path for case in CASES for path in (case.artifacts).iterdir()):
        kind = path.name.partition("-")[0] if path.name.startswith(("walk-", "dataset-")) else path.name
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        for line in lines:
            with contextlib.suppress(ValueError):  # some are cases of damaged ones
                found.setdefault(kind, []).append(json.loads(line))
    return found


RECORDED = _recorded()


TIMES = {
    "schema": 1, "seconds": 9.0, "start": 1.0,
    "tasks": [
        {"play": "A play", "role": role, "task": "A task", "control": role == "", "seconds": 1.0, "count": 2}
        for role in ("checkout", "build_environment", "restore_datasets", "run_migrations", "own_steps", "")
    ],
}  # fmt: skip


def lines_of(kind: str) -> st.SearchStrategy[bytes]:
    return as_lines(mutated(RECORDED[kind]) | VALUES) | st.binary(max_size=40)


def document_of(kind: str) -> st.SearchStrategy[bytes]:
    return as_json(mutated(RECORDED[kind]) | VALUES) | st.binary(max_size=40)


def judged(folder: Path, content: object) -> None:
    """Read a folder of artifacts, and check that there is a verdict and a page, the same each time."""
    with bounded(content):
        pages = []
        for _ in range(2):
            found = decide.decide(artifacts.read(folder), ["a", "b"])
            header = render.Header(dict.fromkeys(render.JOB_FIELDS, "x"), "http://logs/", "", 1.0)
            page, document = render.as_page(found, header), render.as_document(found, header)
            pages.append(page.encode() + json.dumps(document, ensure_ascii=False, allow_nan=False).encode())
            shown = render.render_text(found)
            assert all(char == "\n" or char.isprintable() for char in shown)
            assert found.outcome is not decide.Outcome.SUCCESS or "a" in artifacts.read(folder).walks
            told = found.gearman_result()
            assert told is None or told == result_text.result(told)
        assert pages[0] == pages[1], "the same files are the same verdict"


@fuzz(60)
@given(
    walk=lines_of("walk"),
    errors=lines_of("errors.jsonl"),
    dataset=document_of("dataset"),
    checkout=document_of("checkout.json"),
    environment=as_json(VALUES | st.fixed_dictionaries({"environments": st.lists(VALUES, max_size=2)})),
    first=as_json(st.fixed_dictionaries({"messages": VALUES, "seconds": VALUES})),
    times=as_json(mutated([TIMES]) | VALUES),
)
def test_any_artifacts_are_a_verdict_and_a_page(
    folder: Path, walk: bytes, errors: bytes, dataset: bytes, checkout: bytes, environment: bytes, first: bytes,
    times: bytes,
) -> None:  # fmt: skip
    place = folder / "artifacts"
    place.mkdir(exist_ok=True)
    files = {
        "walk-a.jsonl": walk, "errors.jsonl": errors, "dataset-a.json": dataset, "checkout.json": checkout,
        "environment.json": environment, "first-try.json": first, "times.json": times,
    }  # fmt: skip
    for name, content in files.items():
        (place / name).write_bytes(content)
    judged(place, files)


def test_artifacts_with_names_and_kinds_of_every_sort_are_a_verdict_and_a_page(tmp_path: Path) -> None:
    write_hostile(tmp_path, "x")
    (tmp_path / "checkout.json").unlink()
    (tmp_path / "checkout.json").symlink_to("/dev/zero")
    (tmp_path / "environment.json").unlink()
    (tmp_path / "environment.json").mkdir()
    for name in ("walk-\x1b[2J\n.jsonl", "dataset-\udcff.json", "walk-..jsonl", f"walk-{'w' * 240}.jsonl",
    "walk-.jsonl"):
        (tmp_path / name).write_text('{"event": "stage", "name": "x"}\n')
    judged(tmp_path, "names")


# -- old logs ------------------------------------------------------------------------------------------------------

LOG_LINES = [line for path in sorted((ROOT / "tests" / "data" / "logs").rglob("*.log")) for line in
             path.read_bytes().splitlines()[:200]]  # fmt: skip
STAMPS = st.sampled_from([b"2013-11-22 21:42:45,908", b"2013-02-30 99:99:99,999", b"0000-00-00 00:00:00,000",
b"11-22 21:42:45",
                          b"Nov 22 21:42:45", b"9999-12-31 23:59:60,000"])  # fmt: skip
SAID = st.sampled_from([
    b"1 -> 2...", b"2 -> 1...", b"done", b"base -> " + b"v" * 500 + b"...", b"Innodb_rows_read\t999999999999999999",
    b"Final schema version is 2", b"Schema version is 1", b"***** Start DB upgrade to state of patchset *****",
    b"x returned exit code -9", b"1 -> 2: 999999999.999999 s, rows_read -1, x 1", b"change 1,1 (c0ffee12): 3 to 9",
    b"migration_raised: \x1b[2J", b"[script exit code = -9999999999]", b"... 1 bytes left out here ...",
    b'  File "/x/versions/a.py", line 9999999', b"ImportError: \xff", b"Test will migrate from 1 to 999999",
])  # fmt: skip
LINES = (
    st.builds(lambda stamp, tag, said: stamp + b" " + tag + said, STAMPS,
              st.sampled_from([b"", b"[output] ", b"[sqlerr] ", b"[heartbeat] ", b"[timeout]", b"[\xff] "]), SAID)
    | st.sampled_from(LOG_LINES)
    | st.binary(max_size=60)
)  # fmt: skip


def imported(folder: Path, content: bytes, name: str = "old.log") -> None:
    """Import a log, and judge what comes of it."""
    path, out = folder / name, folder / "out"
    path.write_bytes(content)
    shutil.rmtree(out, ignore_errors=True)
    args = argparse.Namespace(logs=[str(path)], dataset=None, limits=None, out=out, json=True)
    told = io.StringIO()
    try:
        with bounded(content), contextlib.redirect_stdout(told):
            assert history.run(args) == 0
    except UsageError as error:
        assert clear(str(error))
        assert not (out / "artifacts").exists()
        return
    json.loads(told.getvalue())
    judged(out / "artifacts", content)


@fuzz(80)
@given(lines=st.lists(LINES, max_size=40), end=st.sampled_from([b"\n", b"\r\n", b"\r", b""]))
def test_any_old_log_is_imported_or_refused(folder: Path, lines: list[bytes], end: bytes) -> None:
    imported(folder, end.join(lines))


# -- what is read of a checkout ------------------------------------------------------------------------------------

SCRIPTS = [
    b"revision = 'b'\ndown_revision = 'a'\nbranch_labels = ('x',)\ndepends_on = None\n\ndef upgrade():\n    op.x()\n",
    b"revision: str = 'c'\ndown_revision: tuple = ('a', 'b')\n\n@d\ndef downgrade():\n    '''doc'''\n",
    b"class Migration(migrations.Migration):\n    initial = True\n    dependencies = [('a', '0001_a'), swap('b.C')]\n"
    b"    replaces = [('a', '0000')]\n    run_before = []\n",
    b"class ShopConfig(AppConfig):\n    label = 'shop'\n    name = 'x.shop'\n    default = True\n",
]  # fmt: skip
PYTHON = [
    b"0x" + b"f" * 5000, b"9" * 5000, b"{0x" + b"f" * 5000 + b"}", b"(" * 300, b"-" * 5000 + b"1", b"1+" * 5000 + b"1",
    b"a" + b".b" * 5000, b"'\\ud800'", b"'\\x1b[2J\\u202e'", b"b'x'", b"f'{x}'", b"[*x]", b"None", b"...", b"1j",
    b"1e999",
    b"lambda: 0", b"{}", b"{1: 2}", b"{'a', 1}", b"'" + b"v" * 300 + b"'", b"revision", b"revision + 'x'",
    b"# coding: x\n",
    b"\0", b"\x0c", b"\xff", b"\\", b"if 1:\n revision = 2\n", b"for revision in x: pass\n", b"(revision := 1)",
    b"*a, b = c",
]  # fmt: skip
NAMES = st.sampled_from(["a.py", "b.py", "001_x.py", "__init__.py", "apps.py", "a\nb.py", "-rf.py", "\x1b[2J.py",
".#a.py",
                         "1_x_mysql_upgrade.sql", "9" * 14 + "_x.py", "x" * 250 + ".py"])  # fmt: skip
FOLDERS = st.sampled_from(["m/migrations", "migrations", "a\x1b[2J/migrations", "m\n/migrations", ".x/migrations"])


@st.composite
def python(draw: st.DrawFn) -> bytes:
    """A migration with some of its expressions replaced."""
    text = draw(st.sampled_from(SCRIPTS))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from([0, len(text), *(i + 2 for i in range(len(text)) if text[i : i + 2] == b"= ")]))
        end = text.find(b"\n", place)
        rest = text[end:] if draw(st.booleans()) and end >= 0 else text[place:]
        text = text[:place] + draw(st.sampled_from(PYTHON) | st.binary(max_size=8)) + rest
    return text


def sound(tree: Tree) -> None:
    for name, revision in tree.revisions.items():
        assert clear(name) and all(map(clear, revision.before)) and all(map(clear, revision.replaces))
    assert set(tree.heads()) <= set(tree.revisions)
    with contextlib.suppress(ValueError):  # they go round in a circle
        assert sorted(tree.order()) == sorted(tree.revisions)


@fuzz(80)
@given(st.dictionaries(st.builds("{}/{}".format, FOLDERS, NAMES), python(), max_size=5), st.text(max_size=5))
@example({"m/migrations/a.py": b"revision = 'a'\nx = 0x" + b"f" * 5000 + b"\n"}, "")
@example({"m/migrations/a.py": b"revision = {0x" + b"f" * 5000 + b"}\n"}, "")
@example({"a\x1b[2J/migrations/__init__.py": b"", "a\x1b[2J/migrations/a.py": SCRIPTS[2]}, "")
def test_any_python_is_a_tree_of_migrations(files: dict[str, bytes], other: str) -> None:
    with bounded(files), pytest.MonkeyPatch.context() as patch:
        patch.setattr(new_syntax, "SECONDS", 1)  # what libcst needs ten for, it is not given here
        sound(read_tree(files.items()))
        sound(read_numbered_tree(files.items()))
        sound(read_numbered_tree(files.items(), SQLALCHEMY_MIGRATE))
        sound(read_django_tree(files.items())[0])
        sound(read_django_tree(files.items(), ["migrations", "m/migrations"], {"m": "label"})[0])


INI = st.sampled_from([
    b"[alembic]\n", b"script_location = app/migrations\n", b"version_locations = %(here)s/a, b:c\n",
    b"x = %(y)s%(y)s\n",
    b"y = %(x)s\n", b"script_location = %(y)s\n", b"path_separator = newline\n", b"script_location = a:\0b\n", b"%(",
    b"%%", b"%",
    b"  more\n", b"[alembic]\n", b"=\n", b": x\n", b"script_location\n", b"here = %(here)s\n", b"#", b";", b"[",
    b"\xff\r\x85",
])  # fmt: skip
LAUGHS = b"[alembic]\nscript_location = %(a0)s\n" + b"".join(
    b"a%d = " % n + b"%%(a%d)s" % (n + 1) * 20 + b"\n" for n in range(9)
)


@fuzz(100)
@given(st.lists(INI | st.binary(max_size=10), max_size=12).map(b"".join))
@example(LAUGHS + b"a9 = lol\n")
@example(LAUGHS + b"a9 =\n")
@example(b"[alembic]\na" + b" " * 300_000 + b"b\n")
@example(b"[alembic]\nscript_location = a:\0b\n")
def test_any_configuration_of_alembic_is_read(content: bytes) -> None:
    with bounded(content):
        settings = read_ini(content, "folder", "alembic")
        read_toml(content, "folder")
        read_toml(b"[tool]\n" + content, "folder")
    assert all("\0" not in value and len(value) <= VALUE_LIMIT for value in settings.values())
    split_locations(settings)


REQUIREMENTS = st.sampled_from([
    b"good>=1\n", b"-r a\0b\n", b"-r " + b"n" * 300 + b"\n", b"-r ../../../etc/shadow\n", b"-r /etc/passwd\n",
    b"-r requirements.txt\n",
    b"-e git+https://h/x#egg=", b"#egg=", b'"good ' * 20_000, b"'good[", b"name = ", b"\xff\n", b" ; x # y\n",
    b"good @ file:///x\n", b"good; python_version > '0'\n", b"good; python_version > '0\x27\x22'\n", b"[",
    b"good[x] --hash=sha256:" + b"0" * 64, b"[project]\nname = 'x'\n", b"dependencies = ['good --hash=x']\n",
    b"good==1; (", b"(" * 3000, b"good==" + b"9" * 5000 + b"\n",
])  # fmt: skip
UV = st.sampled_from([
    "Because good was not found in the package registry", "there are no versions of good",
    "in `requirements.txt` at position 99999999",
    "requirements.txt:" + "9" * 1900 + ":1", "Invalid `pyproject.toml` x at line 3", "`../../etc/passwd:1:1`",
    "a\0b:1:1",
    "not found at: `file:///etc/passwd`", "[stderr]", "hint: x", "Failed to build `good`", "\x1b[2J", "[stdout]" * 200,
])  # fmt: skip


@fuzz(80)
@given(rows=st.lists(REQUIREMENTS | st.binary(max_size=10), max_size=6).map(b"".join), said=st.lists(UV | TEXTS,
max_size=4))
@example(rows=b'"good ' * 20_000, said=["Because root was not found"])
@example(rows=b"-r a\0b\n-r " + b"n" * 5000 + b"\n", said=["Because root was not found"])
@example(rows=b"good\n", said=["requirements.txt:" + "9" * 1900 + ":1"])
def test_any_requirements_have_places(folder: Path, rows: bytes, said: list[str]) -> None:
    src = folder / "src"
    src.mkdir(exist_ok=True)
    for name in ("requirements.txt", "pyproject.toml", "setup.cfg", "setup.py"):
        (src / name).write_bytes(rows)
    words = " ".join(said)[:2000]
    with bounded(rows):
        found = places(src, ["requirements.txt", "no\0name"], words)
        assert all(clear(str(place).replace("\t", " ")) for place in found)
        absent(words)
        named = ["requirements.txt", "no\0name"]
        install_files_among(["requirements.txt", "x"], named, lambda paths: [(path, rows) for path in paths])
        install = {"requirements": ["requirements.txt"], "constraints": [], "packages": [], "extras": ["x"]}
        for project in ("none", "."):
            try:
                plain = Plain.of(Source.of({**install, "project": project}, src), src)
                assert all(clear(line) for line in plain.requirements)
            except (NotPlainError, StepError) as error:
                assert str(error)


PIECES = st.sampled_from([
    "alpha", "Zope.Interface", "a-b_c", "[x,y]", "[", "]", ">=1.2", "<3,!=1.5.*", "===1!2.0+l", "~=", ",", "(", ")",
    " ", "\t", "; ", "python_version", "os_name", "extra", " in ", " not in ", " and ", " or ", "==", "'3'", '"linux"',
    "'0\\x27\\x22'", "'\\n--pre'", "'${HOME}'", "'%s'", "(" * 40, ")" * 40, "(" * 3000, " --hash=sha256:" + "a" * 64,
    " --hash=sha256:", " --hash", "\\\n", "\n", "\r", "\r\n", "\x0c", "\u2028", "\0", "# x", " # x", "-r ",
    "-c ", "other.txt", "requirements.txt", "--index-url=http://evil.example", "-e .", "@ http://evil.example/a.whl",
    "'", '"', "1" * 5000,
])  # fmt: skip
ONE_NAME = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._,-]+\])?((===|[~=!<>]=|[<>])[A-Za-z0-9.*+!_-]+,?)*"
    r"(; [A-Za-z0-9_ .*+!<>=~,()\"-]+)?( --hash=sha(256|384|512):[0-9a-fA-F]{64,128})*"
)


@fuzz(150)
@given(texts=st.lists(st.lists(PIECES | TEXTS, max_size=8).map("".join), max_size=5),
other=st.lists(PIECES, max_size=6), extras=st.lists(PIECES, max_size=2))
@example(texts=["nowhere; python_version > '0\\x27\\x22'"], other=[], extras=[])
@example(texts=["a; " + "(" * 3000 + "os_name == 'x'" + ")" * 3000], other=[], extras=[])
@example(texts=["a --hash=sha256:" + "a" * 64], other=[], extras=[])
@example(texts=["a ; os_name == 'x\n--index-url=http://evil.example'"], other=[], extras=[])
def test_any_requirements_are_names_or_not(folder: Path, texts: list[str], other: list[str], extras: list[str]) -> None:
    src = folder / "plain"
    src.mkdir(exist_ok=True)
    written = json.dumps(texts, ensure_ascii=True)
    (src / "pyproject.toml").write_text(f'[project]\nname = "a"\ndependencies = {written}\n')
    (src / "requirements.txt").write_text("\n".join(texts), "utf-8", "surrogatepass")
    (src / "other.txt").write_text("".join(other), "utf-8", "surrogatepass")
    for project, files in (("editable", []), ("none", ["requirements.txt"]), ("none", ["other.txt"])):
        install = {"requirements": files, "constraints": files, "packages": [], "project": project, "extras": extras}
        with bounded(texts), contextlib.suppress(NotPlainError):
            found = Plain.of(Source.of(install, src), src)
            assert all(map(ONE_NAME.fullmatch, [*found.requirements, *found.constraints])), found
            found.words(folder)
            lines = (folder / "requirements.txt").read_bytes().splitlines()
            assert len(lines) == len(found.requirements)
    with bounded(texts), contextlib.suppress(StepError):
        assert all(text[:1].isalnum() and text.isprintable() for text in needed(src, extras))


# -- bombs ---------------------------------------------------------------------------------------------------------


def _arguments(folder: Path, content: bytes) -> None:
    answered("build:job", "unique", content)


def _artifacts(folder: Path, content: bytes) -> None:
    for name in ("walk-a.jsonl", "errors.jsonl", "dataset-a.json", "checkout.json", "environment.json",
    "first-try.json"):
        (folder / name).write_bytes(content)
    judged(folder, content[:100])


def _trees(folder: Path, content: bytes) -> None:
    with bounded(content[:100]):
        sound(read_tree([("a.py", content)]))
        sound(read_django_tree([("m/migrations/__init__.py", b""), ("m/migrations/a.py", content)])[0])
        read_ini(content[: 1 << 20], "", "alembic")


READERS: dict[str, Callable[[Path, bytes], None]] = {
    "arguments of a job": _arguments,
    "a dataset": read_a_dataset,
    "a configuration": read_a_configuration,
    "a profile": read_a_profile,
    "artifacts": _artifacts,
    "an old log": imported,
    "a checkout": _trees,
}


@pytest.mark.parametrize("reader", READERS)
def test_bombs(tmp_path: Path, reader: str) -> None:
    """Each reader is given each bomb, in a folder that holds nothing else."""
    for number, bomb in enumerate(BOMBS.values()):
        place = tmp_path / str(number)
        place.mkdir()
        READERS[reader](place, bomb())
        shutil.rmtree(place)
