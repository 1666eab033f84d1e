# SPDX-License-Identifier: Apache-2.0
"""Scripts in a newer Python than the worker's are read like others, and what no Python understands is not."""

import ast
import hashlib
import sys
from pathlib import Path

import pytest
from ansible.module_utils.th_parse import new_syntax, python
from ansible.module_utils.th_tools.alembic_scripts import read_tree
from ansible.module_utils.th_tools.django_trees import read_django_tree
from ansible.module_utils.th_tools.numbered_scripts import read_numbered_tree
from ansible.module_utils.th_tools.revisions import Revision

NEWER = {
    "quotes within an f-string": 'x = f"{d["x"]}"\n',
    "a comment sign in quotes within an f-string": 'x = f"{", ".join(["a", "#"])}"\n',
    "several lines and a comment within an f-string": 'x = f"{\n  a  # of 3.12\n}"\n',
    "a backslash within an f-string": 'x = f"{"\\n".join(a)}"\n',
    "strings side by side": 'x = ("a" f"{d["x"]}"\n     "b")\n',
    "a type": "type X = int\n",
    "a type after another statement": "x = 1; type X = int; y = 2\n",
    "a generic type with a default": "type X[T: int = str, *Ts, **P] = list[T]\n",
    "a generic function": "def f[T](x: T) -> T:\n    return x\n",
    "a generic class": "class A[T = int](B):\n    def g[S](self) -> S: ...\n",
    "a template string": "x = t'{a}'\n",
    "a raw template string with quotes": 'x = rt"{d["x"]}"\n',
    "exceptions without parentheses": "try:\n    pass\nexcept A, B:\n    pass\n",
    "groups of exceptions without parentheses": "try:\n    pass\nexcept* A, B.C:\n    pass\n",
    "lazy imports": "lazy import sqlalchemy as sa\nlazy from a.b import (c, d)\n",
    "comprehensions that unpack": "x = [*y for y in z]\ny = {**d for d in e}\nz = f(*a for a in b)\n",
}
NO_PYTHON = {
    "a bracket": "def upgrade(:\n    pass\n",
    "a string": "x = 'a\n",
    "an operator": "x = = 1\n",
    "an indent": "def f():\npass\n",
    "an f-string": 'x = f"{d["x"}"\n',
    "exceptions with a name": "try:\n    pass\nexcept A, B as c:\n    pass\n",
    "Python 2": "print 'x'\n",
    "brackets without an end": "x = " + "(" * 100_000,
}
needs_a_rewrite = pytest.mark.skipif(sys.version_info >= (3, 15), reason="this Python understands all of it")


def only(content: str) -> Revision:
    tree = read_tree([("versions/one.py", content.encode())])
    assert not tree.unreadable
    (revision,) = tree.revisions.values()
    return revision


def test_scripts_in_a_newer_python_are_read() -> None:
    files = {}
    for name, text in NEWER.items():
        files[f"v/{name} at the top.py"] = f"revision: str = '{name} at the top'\ndown_revision = ('a',)\n{text}"
        indented = "".join(f"    {line}\n" for line in text.splitlines())
        files[f"v/{name}.py"] = f"revision = '{name}'\ndown_revision = 'a'\n\n\ndef upgrade():\n{indented}"
    tree = read_tree([(path, content.encode()) for path, content in files.items()])
    assert not tree.unreadable
    assert {f"v/{name}.py" for name in tree.revisions} == set(files)
    assert all(revision.down == ("a",) for revision in tree.revisions.values())


def test_django_migrations_in_a_newer_python_are_read() -> None:
    files = {}
    for number, text in enumerate(NEWER.values()):
        files |= {
            f"shop{number}/migrations/__init__.py": "",
            f"shop{number}/migrations/0001_initial.py": "class Migration: pass\n",
            f"shop{number}/migrations/0003_b.py": f"""{text}

class Migration(migrations.Migration):
    dependencies = [('shop{number}', '0001_initial'), ('auth', f"{{d["x"]}}")]
    run_before = [('other{number}', '0001_initial')]
    replaces = [('shop{number}', '0002_a')]
    operations = []
""",
            f"other{number}/migrations/__init__.py": "",
            f"other{number}/migrations/0001_initial.py": "class Migration: pass\n",
        }
    tree, _ = read_django_tree((path, text.encode()) for path, text in files.items())
    assert not tree.unreadable
    for number in range(len(NEWER)):
        found = tree.revisions[f"shop{number}.0003_b"]
        assert (found.down, found.replaces) == ((f"shop{number}.0001_initial",), (f"shop{number}.0002_a",))
        assert tree.revisions[f"other{number}.0001_initial"].depends == (f"shop{number}.0003_b",)


def test_what_no_python_understands_is_not_guessed() -> None:
    files = {f"v/{name}.py": f"revision = '{name}'\n{text}" for name, text in NO_PYTHON.items()}
    files["v/good.py"] = f"revision = 'a'\n{NEWER['a type']}"
    tree = read_tree([(path, content.encode()) for path, content in files.items()])
    assert list(tree.revisions) == ["a"]
    assert {item.file for item in tree.unreadable} == set(files) - {"v/good.py"}
    assert all("not Python" in item.reason for item in tree.unreadable)


@pytest.mark.parametrize(
    ("variable", "value"), [("revision", 'f"{d["x"]}"'), ("down_revision", "[*x for x in y]"), ("depends_on", "t'a'")]
)
def test_a_name_that_only_a_newer_python_can_compute_is_computed(variable: str, value: str) -> None:
    values = {"revision": "'b'", variable: value}
    content = "".join(f"{name} = {text}\n" for name, text in values.items())
    (item,) = read_tree([("v/a.py", content.encode())]).unreadable
    assert f"its {variable} is computed" in item.reason


def test_the_digest_is_of_what_the_upgrade_does() -> None:
    def digest(up: str, down: str = "pass", more: str = "") -> str:
        return only(f"{more}revision = 'a'\ndef upgrade():\n    {up}\ndef downgrade():\n    {down}\n").digest

    new = 'op.execute(f"{d["x"]}")'
    assert digest(new) == digest(new.replace("(", "(  "), 'f"{d["z"]}"', "# words\n")
    assert digest(new) != digest('op.execute(f"{d["y"]}")')
    assert digest("op.execute('x')", 'f"{d["z"]}"') == digest("op.execute('x')"), "new words only on the way down"
    assert digest("def f[T](): ...") != digest("def f[S](): ...")
    assert digest("type X = int") != digest("type X = str")


def test_numbered_scripts_in_a_newer_python_are_altered_by_what_they_do() -> None:
    def digest(content: str) -> str:
        return read_numbered_tree([("v/001_a.py", content.encode())]).revisions["1"].digest

    assert digest("type X = int\n") == digest("type X = int  # words\n") != digest("type X = str\n")


def test_an_app_label_beside_new_syntax() -> None:
    files = {
        "shop/apps.py": 'type X = int\n\nclass ShopConfig(AppConfig):\n    label = "store"\n',
        "shop/migrations/__init__.py": "",
        "shop/migrations/0001_initial.py": "class Migration: pass\n",
    }
    tree, _ = read_django_tree((path, text.encode()) for path, text in files.items())
    assert list(tree.revisions) == ["store.0001_initial"]


@needs_a_rewrite
@pytest.mark.parametrize("bomb", ["x = " + "(" * 90_000 + ")" * 90_000, "x = " + "-" * 90_000 + "1", "x = 1"])
def test_a_script_that_ends_the_parser_spoils_no_other(monkeypatch: pytest.MonkeyPatch, bomb: str) -> None:
    monkeypatch.setattr(new_syntax, "_kept", {})
    good, bad = b"type X = int\n", bomb.encode() + b"\ntype Y = int\n"
    before, died, after = new_syntax.in_older_syntax([good + b"# 1", bad, good + b"# 2"])
    assert before and after and ast.parse(before) and ast.parse(after)
    assert (died is None) == (bomb != "x = 1")


@needs_a_rewrite
def test_a_script_that_keeps_the_parser_busy_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_syntax, "_kept", {})
    monkeypatch.setattr(new_syntax, "SECONDS", 1)
    busy = b"x = " + b"+".join([b"'a'"] * 200_000) + b"\ntype X = int\n"
    assert new_syntax.in_older_syntax([busy, b"type X = int\n"])[0] is None


@needs_a_rewrite
def test_what_was_rewritten_once_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_syntax, "_kept", {})
    content = b"type X = int\n"
    first = new_syntax.in_older_syntax([content])
    assert new_syntax._kept == {hashlib.sha256(content).hexdigest(): first[0]}
    monkeypatch.setattr(new_syntax, "in_a_process", None)
    assert new_syntax.in_older_syntax([content, content]) == first * 2


@needs_a_rewrite
def test_what_one_job_has_rewritten_the_next_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "project.git.scripts.json"
    content = [b"type X = int\n", b"x = (\n"]
    for name in ("_kept", "_new"):
        monkeypatch.setattr(new_syntax, name, type(getattr(new_syntax, name))())
    new_syntax.recall(kept)
    first = new_syntax.in_older_syntax(content)
    new_syntax.remember(kept)
    new_syntax._kept.clear()
    new_syntax.recall(kept)
    assert list(new_syntax._kept.values()) == [first[0]], "what could not be read is tried again"
    monkeypatch.setattr(new_syntax, "in_a_process", None)
    assert new_syntax.in_older_syntax(content[:1]) == first[:1]
    before = kept.stat().st_mtime_ns
    new_syntax.remember(kept)
    assert kept.stat().st_mtime_ns == before, "there was nothing new"
    for damage in ("[", "[]", '{"by": "another", "texts": {"a": "b"}}', '{"texts": 7}', kept.read_text()[:-40]):
        new_syntax._kept.clear()
        kept.write_text(damage)
        new_syntax.recall(kept)
        assert not new_syntax._kept


@needs_a_rewrite
def test_without_libcst_the_reason_is_the_pythons_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_syntax, "_kept", {})
    monkeypatch.setattr(python, "_kept", {})
    monkeypatch.setattr(new_syntax.importlib.util, "find_spec", lambda name: None)
    (item,) = read_tree([("v/a.py", b"revision = 'a'\ntype X = int\n")]).unreadable
    assert "not Python" in item.reason


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfrevision = 'b'\r\ndown_revision = 'a'\r\n",
        "# -*- coding: latin-1 -*-\nrevision = 'b'\ndown_revision = 'a'\nx = '\xe4'\n".encode("latin-1"),
        "# -*- coding: latin-1 -*-\nrevision = 'b'\ndown_revision = 'a'\ntype X = '\xe4'\n".encode("latin-1"),
        b"\xef\xbb\xbfrevision = 'b'\r\ndown_revision = 'a'\r\ntype X = int\r\n",
        b"revision = 'b'\ndown_revision = ('a',) + ()\n",
        b"revision = f'b'\ndown_revision = f'a'\n",
        b"revision: Final[str] = 'b'\ndown_revision: str | None = (\n    'a'\n)\n",
        b"revision = 'b'; down_revision = 'a'",
    ],
)
def test_every_encoding_and_form_of_a_script(content: bytes) -> None:
    (found,) = read_tree([("v/a.py", content)]).revisions.values()
    assert (found.name, found.down) == ("b", ("a",))


@pytest.mark.parametrize("version", ["https://git-lfs.github.com/spec/v1", "http://git-media.io/v/2"])
def test_a_pointer_of_git_lfs_is_named(tmp_path: Path, version: str) -> None:
    pointer = f"version {version}\noid sha256:{'0' * 64}\nsize 123\n".encode()
    (item,) = read_tree([("v/a.py", pointer)]).unreadable
    assert "Git LFS pointer" in item.reason
    files = [("shop/migrations/__init__.py", b""), ("shop/migrations/0001_a.py", b"class Migration: pass\n")]
    tree, _ = read_django_tree([*files, ("shop/migrations/0002_b.py", pointer)])
    assert [one.file for one in tree.unreadable] == ["shop/migrations/0002_b.py"]
    assert "Git LFS pointer" in tree.unreadable[0].reason
