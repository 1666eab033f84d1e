# SPDX-License-Identifier: Apache-2.0
"""What a change can hide in the text of its migrations, and what it can do with that text to what reads it."""

import gc
import os
import resource
import signal
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_checkout.comparison import compare
from ansible.module_utils.th_parse import limited, python
from ansible.module_utils.th_parse.limited import Bounds
from ansible.module_utils.th_tools.alembic_scripts import read_tree
from ansible.module_utils.th_tools.django_trees import read_django_tree
from ansible.module_utils.th_tools.numbered_scripts import SQLALCHEMY_MIGRATE, read_numbered_tree
from ansible.module_utils.th_tools.revisions import Tree

from tests.kit.git_server import Repository, git, script
from tests.library.test_checkout import VERSIONS, ZUUL_REF, Workplace

from .mutations import clear
from .test_git import blob, mirrors, propose, repository, root, tree, url, work  # noqa: F401 - fixtures

# -- work where a merged migration's digest does not look ----------------------------------------------------------

HEAD = '''"""Add a table

Revises: a
"""
from alembic import op
from helpers import at_once, later
import sqlalchemy as sa
{more}
revision = "b"
down_revision = "a"


def upgrade():
    op.create_table("t", sa.Column("id", sa.Integer()))
    {up}


'''
DOWN = "def downgrade():\n    op.drop_table('t')\n"
WORK = "op.execute('UPDATE t SET id = id + 1')"


def hidden(down: str, up: str = "pass", more: str = "", before: str = DOWN) -> tuple[bytes, bytes]:
    """A merged migration, and what a change has made of it."""
    head = HEAD.format(up=up, more=more)
    return (head + before).encode(), (head + down).encode()


WORKS = f"def downgrade():\n    {WORK}\n"
HIDDEN = {
    "a default": hidden(f"def downgrade(x={WORK}):\n    op.drop_table('t')\n"),
    "a default of a keyword": hidden(f"def downgrade(*, x={WORK}):\n    op.drop_table('t')\n"),
    "a decorator": hidden(f"@at_once\n{WORKS}"),
    "what a decorator calls": hidden(f"@at_once\n{WORKS}", before=f"@at_once\n{DOWN}"),
    "an annotation of the result": hidden(f"def downgrade() -> {WORK}:\n    op.drop_table('t')\n"),
    "an annotation of an argument": hidden(f"def downgrade(x: {WORK} = None):\n    op.drop_table('t')\n"),
    "an annotation of *args": hidden(f"def downgrade(*x: {WORK}):\n    op.drop_table('t')\n"),
    "the bound of a type parameter": hidden(f"@later\ndef downgrade[T: {WORK}]():\n    op.drop_table('t')\n"),
    "a call of downgrade": hidden(WORKS, up="downgrade()"),
    "another name of downgrade": hidden(WORKS, more="later(lambda: downgrade())"),
    "a call in a default of another function": hidden(WORKS, more="def f(x=lambda: downgrade()): x()"),
    "a class that holds it": hidden(WORKS, more="class A:\n    f = property(lambda self: downgrade)"),
    "globals()": hidden(WORKS, up="globals()['down' + 'grade']()"),
    "globals() by its own name": hidden(WORKS, up="g = globals; g()[later()]()"),
    "vars() of the module": hidden(WORKS, up="import sys; vars(sys.modules[__name__])[later()]()"),
    "getattr by name": hidden(WORKS, up="import sys; getattr(sys.modules[__name__], later())()"),
    "attrgetter": hidden(WORKS, up="from operator import attrgetter as get; get(later())(later)()"),
    "eval": hidden(WORKS, up="eval(later())"),
    "exec of a text in pieces": hidden(WORKS, up="exec('down' 'grade()')"),
    "__globals__ of the upgrade": hidden(WORKS, up="upgrade.__globals__[later()]()"),
    "builtins": hidden(WORKS, up="import builtins as b; b.__dict__[later()](later())"),
    "an import of itself": hidden(WORKS, up="import importlib; importlib.import_module(__name__)"),
    "a frame": hidden(WORKS, up="import inspect as i; i.currentframe().f_globals[later()]()"),
    "all objects": hidden(WORKS, up="import gc; [f() for f in gc.get_objects() if later(f)]"),
    "the tool's own way down": hidden(WORKS, up="script._downgrade_revs('a', 'b')"),
    "a loader of the tool": hidden(WORKS, up="from alembic.util import load_python_file as f; f(later(), later())"),
    "a name in a text": hidden(WORKS, up="import pydoc; pydoc.locate(later())()"),
    "a field of a format": hidden(WORKS, up="import string as s; s.Formatter().get_field(later(), [], {})[0]()"),
    "a framework's import": hidden(WORKS, up="from django.utils.module_loading import *; import_string(later())()"),
    "a library's import": hidden(WORKS, up="from oslo_utils import importutils as i; i.import_class(later())()"),
    "a document that makes objects": hidden(WORKS, up="import yaml; yaml.unsafe_load(later())"),
    "annotations as texts": hidden(WORKS, up="import typing; typing.get_type_hints(later)"),
    "an interpreter": hidden(WORKS, up="import code; code.InteractiveInterpreter().runsource(later())"),
    "a profiler": hidden(WORKS, up="import cProfile; cProfile.run(later())"),
    "a configuration": hidden(WORKS, up="import logging.config; logging.config.dictConfig(later())"),
    "a template": hidden(WORKS, up="import jinja2; jinja2.Template(later()).render(x=later)"),
    "an entry point": hidden(WORKS, up="import pkg_resources as p; p.EntryPoint.parse(later()).resolve()()"),
    "the tool's own scripts": hidden(WORKS, up="later(op.get_context().script.walk_revisions())"),
    "a comment, of any file": hidden(f"# {WORK}\n{DOWN}", up="import pathlib as p; later(p.Path('.').rglob('*'))"),
    "a pickle": hidden(WORKS, up="import pickle as p; p.loads(later())"),
    "another process": hidden(WORKS, up="import subprocess; subprocess.run(later())"),
    "the frame of a generator": hidden(WORKS, up="(x for x in ()).gi_frame.f_builtins[later()]()"),
    "a class's own hook": hidden(WORKS, more="class A:\n    def __init_subclass__(cls): later(cls)"),
    "a format": hidden(WORKS, up="later('{0.__globals__}'.format(upgrade))"),
    "a match": hidden(WORKS, up="match later:\n        case {'a': downgrade}: downgrade()"),
    "new syntax": hidden(WORKS, up='op.execute(f"{globals()["down" + "grade"]()}")'),
    "an assignment": hidden("downgrade = upgrade\n" + WORKS),
    "an async one": hidden(f"async def downgrade():\n    {WORK}\n", before="async def downgrade():\n    pass\n"),
    "one in an if": hidden(f"if x:\n    def downgrade(): {WORK}\n", before="if x:\n    def downgrade(): ...\n"),
    "a text at the top": hidden(f"'UPDATE t'\n{DOWN}", up="exec(__doc__)"),
    "the docstring": tuple(one.replace(b"Revises: a", words) for one, words in zip(  # type: ignore[dict-item]
        hidden(DOWN, up="op.execute(__doc__)"), (b"Revises: a", b"UPDATE t"), strict=True)),
    "a comment": hidden(f"# {WORK}\n{DOWN}", up="exec(open(__file__).readlines()[-3][2:])"),
    "a comment, read by its name": hidden(f"# {WORK}\n{DOWN}", up="exec(open('versions/b.py').readlines()[-3])"),
    "the source of a function": hidden(f"# {WORK}\n{DOWN}", up="import inspect; exec(inspect.getsource(upgrade))"),
    "the number of a line": hidden(f"\n{DOWN}", up="import linecache; linecache.getlines(later())"),
    "an import that is no longer lazy": hidden(DOWN, more="import x\nlazy import y"),
}  # fmt: skip
HIDDEN["an import that is no longer lazy"] = (
    HIDDEN["an import that is no longer lazy"][0], HIDDEN["an import that is no longer lazy"][0].replace(b"lazy ", b"")
)  # fmt: skip


READERS: dict[str, Callable[[dict[str, bytes]], Tree]] = {
    "alembic": lambda files: read_tree(files.items()),
    "sqlalchemy_migrate": lambda files: read_numbered_tree(files.items(), SQLALCHEMY_MIGRATE),
    "django": lambda files: read_django_tree(files.items())[0],
}


def altered(before: dict[str, bytes], after: dict[str, bytes], style: str = "alembic") -> list[str]:
    trees = []
    for files in (before, after):
        tree = READERS[style](files)
        assert not tree.unreadable, tree.unreadable
        trees.append(tree)
    return compare(*trees)["altered"]


@pytest.mark.parametrize("place", HIDDEN)
def test_work_hidden_in_a_merged_migration_alters_it(place: str, stopped_by: Callable[[str], None]) -> None:
    before, after = HIDDEN[place]
    assert altered({"v/b.py": before}, {"v/b.py": after}) == ["b"]
    stopped_by("what may run on the way up is part of the digest")


PLAIN = {
    "the body of a downgrade": hidden(WORKS),
    "a downgrade that is new": hidden(DOWN, before=""),
    "the annotations of one": hidden(f"def downgrade(engine_name: str) -> None:\n    {WORK}\n"),
    "a downgrade in new syntax": hidden("def downgrade():\n    op.execute(f'{d['x']}')\n"),
    "comments and layout": hidden(f"# words\n\n{DOWN}"),
    "the docstring": tuple(one.replace(b"Revises: a", words) for one, words in zip(  # type: ignore[dict-item]
        hidden(DOWN), (b"Revises: a", b"Revises: what was before"), strict=True)),
    "a downgrade beside an inspector": hidden(WORKS, up="sa.inspect(op.get_bind()).get_columns('t')"),
}  # fmt: skip


@pytest.mark.parametrize("what", PLAIN)
def test_what_cannot_run_on_the_way_up_alters_nothing(what: str) -> None:
    before, after = PLAIN[what]
    assert altered({"v/b.py": before}, {"v/b.py": after}) == []


def test_work_hidden_in_a_downgrade_that_another_migration_calls() -> None:
    before, after = hidden(WORKS)
    others = (
        "from versions.b import downgrade as again\n", "import versions.b as other\nother.downgrade()\n",
        "from importlib import import_module\nmake(import_module('versions.b'), 'downgrade')()\n",
    )  # fmt: skip
    for other in others:
        last = f"revision = 'c'\ndown_revision = 'b'\n{other}".encode()
        assert altered({"v/b.py": before, "v/c.py": last}, {"v/b.py": after, "v/c.py": last}) == ["b"], other
        assert altered({"v/b.py": before}, {"v/b.py": before, "v/c.py": last}) == [], "it adds one that calls it"


def test_work_hidden_in_numbered_versions() -> None:
    body = "from migrate import *\n\ndef upgrade(engine):\n    {up}\n\ndef downgrade(engine):\n    {down}\n"
    plain = body.format(up="pass", down="pass").encode()
    scripts = {
        "a call of downgrade": ("001_a.py", body.format(up="downgrade(engine)", down="pass"),
                                body.format(up="downgrade(engine)", down="engine.execute('x')")),
        "a default": ("001_a.py", plain.decode(), plain.decode().replace("downgrade(engine)", "downgrade(x=f())")),
        "a script for MySQL": ("001_a_mysql_upgrade.sql", "SELECT 1", "DELETE FROM t"),
        "one with its ending in the middle": ("001_a_mysql.sql_upgrade.sql", "SELECT 1", "DELETE FROM t"),
        "one for every server": ("001_a.sql_default_upgrade.sql", "SELECT 1", "DELETE FROM t"),
    }  # fmt: skip
    for what, (name, before, after) in scripts.items():
        files = {"v/001_b.py": plain} if name.endswith(".sql") else {}
        made = [{**files, f"v/{name}": text.encode()} for text in (before, after)]
        assert altered(*made, style="sqlalchemy_migrate") == ["1"], what
        if files:
            assert altered(files, made[0], style="sqlalchemy_migrate") == ["1"], what


DJANGO = '''from django.db import migrations

def downgrade(apps, editor):
    {down}

class Migration(migrations.Migration):
    dependencies = []
    operations = [migrations.RunPython({runs})]
    {more}
'''


def test_work_hidden_in_django_migrations() -> None:
    def files(text: str, **more: bytes) -> dict[str, bytes]:
        return {"shop/migrations/__init__.py": b"", "shop/migrations/0001_a.py": text.encode(), **more}

    plain = DJANGO.format(down="pass", runs="downgrade", more="")
    hooks = {
        "a function of that name": plain.replace("    pass", "    work()"),
        "a hook of the class": DJANGO.format(down="pass", runs="downgrade", more="def apply(self, *a): work()"),
        "the class's own body": DJANGO.format(down="pass", runs="downgrade", more="work()"),
        "a metaclass": plain.replace("(migrations.Migration)", "(migrations.Migration, metaclass=work())"),
        "a decorator of the class": plain.replace("class", "@work\nclass"),
        "a default": plain.replace("(apps, editor)", "(apps, editor=work())"),
    }
    for what, text in hooks.items():
        assert altered(files(plain), files(text), "django") == ["shop.0001_a"], what
    # Python imports machine code rather than a script of the same name
    tree, _ = read_django_tree(files(plain, **{"shop/migrations/0001_a.cpython-311-x86_64-linux-gnu.so": b"x"}).items())
    (item,) = tree.unreadable
    assert item.file.endswith(".so") and "machine code" in item.reason
    assert not read_django_tree(files(plain, **{"shop/migrations/_x.so": b"x"}).items())[0].unreadable


def test_work_hidden_in_a_downgrade_that_env_py_calls_and_by_attributes_of_git(
    work: Workplace, repository: Repository, tmp_path: Path  # noqa: F811
) -> None:
    merged = f"{script('b', 'a')}\n\ndef downgrade():\n    {{}}\n"
    repository.commit({f"{VERSIONS}/b.py": merged.format("pass")})
    repository.change(ZUUL_REF, {f"{VERSIONS}/b.py": merged.format("work()")})
    assert work.run()["touched"]["altered"] == []
    repository.commit({"app/migrations/env.py": "for one in scripts:\n    one.module.downgrade()\n"})
    repository.change(ZUUL_REF, {f"{VERSIONS}/b.py": merged.format("work()")})
    assert work.run()["touched"]["altered"] == ["b"]
    # a checkout that is not what the objects are: what ran would not be what was read
    text = merged.format("work('$Id$')") + "x = '\\\\'\n"
    repository.change(ZUUL_REF, {f"{VERSIONS}/b.py": text})
    listed = [line.split(maxsplit=3) for line in git(repository.folder, "ls-tree", ZUUL_REF).splitlines()]
    attributes = blob(repository, b"*.py ident working-tree-encoding=UTF-16LE eol=crlf text\n")
    entries = [(mode.lstrip("0"), name, found) for mode, _, found, name in listed]
    propose(repository, tree(repository, ("100644", ".gitattributes", attributes), *entries))
    git(tmp_path, "clone", "--quiet", "--no-checkout", str(repository.folder), "plain")
    git(tmp_path / "plain", "fetch", "--quiet", "origin", ZUUL_REF)
    git(tmp_path / "plain", "checkout", "--quiet", "FETCH_HEAD")
    assert (tmp_path / "plain" / VERSIONS / "b.py").read_bytes() != text.encode(), "the attack works with plain git"
    work.run()
    assert (work.src() / VERSIONS / "b.py").read_bytes() == text.encode()


# -- texts that take the processor, the memory or the process of what reads them ------------------------------------

GOOD = b"revision = 'good'\ndown_revision = None\n"
SLOW = b"revision = 'slow'\nx = f'" + b"{a}" * 300_000 + b"'\n"
"""Python 3.11 looks at all of a string for each of its parts: a megabyte of it takes minutes."""
LARGE = b"revision = 'large'\nx = [" + b"'a'," * 250_000 + b"]\n"
DEEP = b"revision = 'deep'\nx = " + b"-" * 100_000 + b"1\n"
BRACKETS = b"revision = 'brackets'\nx = " + b"[" * 100_000 + b"]" * 100_000 + b"\n"
LONG = b"revision = 'long'\nx = " + b"9" * 5000 + b"\n"


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small limits, and nothing that was read before."""
    monkeypatch.setattr(python, "_kept", {})
    monkeypatch.setattr(python, "BOUNDS", Bounds(seconds=1))
    monkeypatch.setattr(limited, "Bounds", partial(Bounds, seconds=1))


@pytest.mark.usefixtures("strict")
def test_scripts_that_take_too_much_to_parse_cost_themselves(
    monkeypatch: pytest.MonkeyPatch, stopped_by: Callable[[str], None]
) -> None:
    files = {"slow": SLOW, "deep": DEEP, "brackets": BRACKETS, "long": LONG}
    scripts = {f"v/{name}.py": text for name, text in files.items()}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tree = read_tree({**scripts, "v/a.py": GOOD, "v/z.py": GOOD.replace(b"good", b"other")}.items())
    assert sorted(tree.revisions) == ["good", "other"]
    said = {item.file: item.reason for item in tree.unreadable}
    assert said.keys() == scripts.keys()
    assert said["v/slow.py"] == "it takes more than 1 s of the processor to read: make it smaller"
    assert "nested too deeply" in said["v/deep.py"]
    monkeypatch.setattr(python, "BOUNDS", Bounds(memory=32 << 20))
    (item,) = read_tree([("v/large.py", LARGE), ("v/a.py", GOOD)]).unreadable
    assert item.file == "v/large.py" and "takes more than 32 MiB" in item.reason
    assert all(clear(reason) for reason in said.values())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 48 << 10, "and nothing of it was held here"
    stopped_by("a process with limits on memory and processor time")


def test_what_the_parent_has_dropped_is_left_to_it(tmp_path: Path) -> None:
    """The process for a text has a copy of the parent's garbage: to finalize it would remove files of the parent's."""
    garbage = tempfile.NamedTemporaryFile(dir=tmp_path)  # noqa: SIM115 - nobody closes it: that is the test
    garbage.itself = garbage  # type: ignore[attr-defined]
    file = Path(garbage.name)
    gc.disable()
    try:
        del garbage
        assert limited.in_a_process(["text"], lambda text: gc.collect() >= 0) == [True]
        assert file.exists()
    finally:
        gc.enable()
    gc.collect()
    assert not file.exists(), "it was garbage"


@pytest.mark.usefixtures("strict")
def test_scripts_that_crash_their_reader_are_given_up_and_all_together_have_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crash(module: Any, content: bytes) -> str:
        if b"bad" in content:
            os.kill(os.getpid(), signal.SIGSEGV)
        return "read"

    scripts = {f"{n}.py": (b"bad%d" if n % 2 else b"good%d") % n for n in range(60)}
    found = python.read_each(scripts, crash)
    said = [str(one) for one in found.values()]
    assert said.count("read") == limited.CRASHES_LIMIT + 1
    assert "nested too deeply" in said[1] and "no more are tried" in said[-1]

    def busy(module: Any, content: bytes) -> str:
        while sum(os.times()[:2]) < 1:
            pass
        return "read"

    monkeypatch.setattr(python, "BOUNDS", Bounds(seconds=10, total=0.5, each=0))
    said = [str(one) for one in python.read_each({f"{n}.py": b"%d" % n for n in range(99)}, busy).values()]
    assert said[0] == "read" and all("together take too much of the processor" in one for one in said[1:])


def test_one_process_reads_all_files_of_a_tree_and_none_those_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    forks = []
    fork = os.fork
    monkeypatch.setattr(os, "fork", lambda: forks.append(1) or fork())
    scripts = {f"v/{n}.py": b"revision = 'unheard-of-%d'\n" % n for n in range(200)}
    assert len(read_tree(scripts.items()).revisions) == 200 and len(forks) == 1
    apps: dict[str, bytes] = {}
    for number in range(40):
        apps |= {
            f"a{number}/apps.py": b"class A(AppConfig):\n    label = 'unheard_of_%d'\n" % number,
            f"a{number}/migrations/__init__.py": b"",
            f"a{number}/migrations/0001_a.py": b"class Migration: unheard_of = %d\n" % number,
        }
    tree, _ = read_django_tree(apps.items())
    assert "unheard_of_7.0001_a" in tree.revisions and len(forks) == 3, "one for the migrations, one for the labels"
    read_tree({f"other/{path}": text for path, text in scripts.items()}.items())
    assert len(forks) == 3


@pytest.mark.usefixtures("strict")
def test_a_configuration_file_that_takes_hours_to_parse_is_named(
    work: Workplace, repository: Repository  # noqa: F811
) -> None:
    del work.described["migrations"]["script_location"]
    work.described["migrations"] |= {"config": "alembic.ini", "version_locations": [VERSIONS]}
    lines = "[alembic]\n" + "x\n" * 500_000  # configparser copies all errors for each further one
    repository.change(ZUUL_REF, {"alembic.ini": lines})
    detail = work.fails("checkout_failed", "alembic.ini: it takes more than 1 s of the processor to read")
    assert detail.endswith("make it smaller.")
    tables = "".join(f"[tool.alembic{'.a' * 2000}{n}]\n" for n in range(60))
    repository.change(ZUUL_REF, {"pyproject.toml": tables + "[tool.alembic]\nscript_location = 'x'\n"})
    assert sorted(work.run()["revisions"]) == ["a", "b"]
