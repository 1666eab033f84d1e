# SPDX-License-Identifier: Apache-2.0
"""Migration trees are read from the scripts' text, whatever the scripts hold."""

import tempfile
from pathlib import Path

import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from ansible.module_utils.th_parse.python import SCRIPT_LIMIT
from ansible.module_utils.th_tools.alembic_scripts import read_tree
from ansible.module_utils.th_tools.numbered_scripts import SQLALCHEMY_MIGRATE, read_numbered_tree
from ansible.module_utils.th_tools.revisions import Revision, Tree
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine


def script(revision: str, down: str = "None", more: str = "") -> bytes:
    return f'"""Some words."""\nrevision = {revision}\ndown_revision = {down}\n{more}\n'.encode()


def only(content: bytes) -> Revision:
    tree = read_tree([("versions/one.py", content)])
    assert not tree.unreadable
    (revision,) = tree.revisions.values()
    return revision


@pytest.mark.parametrize(
    ("text", "down"),
    [
        ("down_revision = None", ()),
        ("down_revision = 'abc'", ("abc",)),
        ("down_revision: str | None = 'abc'", ("abc",)),
        ("down_revision: Union[str, Sequence[str], None] = ('abc', 'def')", ("abc", "def")),
        ("down_revision = ['abc', 'def']", ("abc", "def")),
        ("down_revision = {'def', 'abc'}", ("abc", "def")),
        ("down_revision = ('a'\n  'bc')", ("abc",)),
        ("down_revision = 'abc',", ("abc",)),
        ("previous = 'abc'\ndown_revision = previous", ("abc",)),
        ("x = down_revision = 'abc'", ("abc",)),
        ("down_revision, y = 'abc', z()", ("abc",)),
        ("[x, (down_revision, y)] = (1, ['abc', 2])", ("abc",)),
        ("down_revision = 'a' + 'b' + 'c'", ("abc",)),
        ("down_revision: str", ()),
        ("def f():\n    for down_revision in x: pass", ()),
        ("", ()),
    ],
)
def test_down_revision_in_every_literal_form(text: str, down: tuple[str, ...]) -> None:
    assert only(f"revision = 'x'\n{text}\n".encode()).down == down


def test_depends_on_counts_for_the_order_and_for_the_heads() -> None:
    tree = read_tree([("v/1.py", script("'b'", "None", "depends_on = 'c'")), ("v/2.py", script("'c'", "None"))])
    assert tree.order() == ["c", "b"]
    assert tree.heads() == ["b"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"revision = make()\n", "computed"),
        (b"revision = f'{1}'\n", "computed"),
        (b"revision = down_revision\ndown_revision = revision\n", "computed"),
        (b"revision = 'd' + str(4)\n", "computed"),
        (b"revision = 'a' + 1\n", "computed"),
        (b"revision = " + b"+".join([b"'a'"] * 50_000), "nested too deeply"),
        (b"revision, x = make()\n", "its revision is computed"),
        (b"revision = 'a'\nx, *down_revision = 'b', 'c'\n", "its down_revision is computed"),
        (b"revision = 'a'\nif x:\n    down_revision = 'b'\n", "its down_revision is computed"),
        (b"revision = 'a'\nrevision += 'b'\n", "its revision is computed"),
        (b"revision = 'a'\nfor depends_on in x:\n    pass\n", "its depends_on is computed"),
        (b"x = 1\n", "sets no revision"),
        (b"revision = 'a'\ndown_revision = 7\n", "neither a name nor a list"),
        (b"revision = 'a'\ndown_revision = (1, 2)\n", "not a revision's name"),
        (b"revision = ('a', 'b')\n", "not one name"),
        (b"revision = 'a\\nb'\n", "not a revision's name"),
        (b"revision = '" + b"a" * 300 + b"'\n", "not a revision's name"),
        (b"print 'python 2'\n", "not Python"),
        (b"revision = 'a'\n\0", "not Python"),
        (b"\xff\xfe", "not Python"),
        (b"revision = " + b"(" * 5000, "not Python"),
        (b"revision = " + b"-" * 100_000 + b"1", "nested too deeply"),
        (b"#" * (SCRIPT_LIMIT + 1), "longer than"),
    ],
)
def test_what_cannot_be_read_is_reported_with_a_reason(content: bytes, reason: str) -> None:
    tree = read_tree([("v/a.py", content)])
    assert tree.revisions == {}
    assert [item.file for item in tree.unreadable] == ["v/a.py"]
    assert reason in tree.unreadable[0].reason


def test_a_revision_that_is_there_twice_is_reported() -> None:
    tree = read_tree([("v/b.py", script("'x'")), ("v/a.py", script("'x'"))])
    assert tree.revisions["x"].file == "v/a.py"
    assert "v/a.py already" in tree.unreadable[0].reason


def test_files_that_are_no_scripts_are_left_aside() -> None:
    names = ["v/__init__.py", "v/.#a.py", "v/a.pyc", "v/README", "v/script.py.mako"]
    assert read_tree([(name, b"nonsense(") for name in names]) == Tree()


def test_heads_and_order_with_a_branch_and_a_merge() -> None:
    files = [
        ("v/1.py", script("'root'")),
        ("v/2.py", script("'left'", "'root'")),
        ("v/3.py", script("'right'", "'root'")),
        ("v/4.py", script("'merged'", "('left', 'right')")),
    ]
    tree = read_tree(files)
    assert tree.heads() == ["merged"]
    assert tree.order() == ["root", "left", "right", "merged"]
    assert read_tree(files[:3]).heads() == ["left", "right"]


def test_a_circle_is_an_error_and_a_missing_ancestor_is_none() -> None:
    circle = read_tree([("v/1.py", script("'a'", "'b'")), ("v/2.py", script("'b'", "'a'"))])
    with pytest.raises(ValueError, match="circle"):
        circle.order()
    assert read_tree([("v/1.py", script("'a'", "'gone'"))]).order() == ["a"]


def test_the_digest_is_of_the_upgrade_alone() -> None:
    first = only(b'"""Doc."""\nrevision = "a"\ndef upgrade():\n    x(1)\ndef downgrade():\n    pass\n')
    same = only(b'# new\nrevision = "a"\n\ndef upgrade():\n    x(1)  # y\ndef downgrade():\n    other()\n')
    other = only(b'revision = "a"\ndef upgrade():\n    x(2)\ndef downgrade():\n    pass\n')
    assert first.digest == same.digest
    assert first.digest != other.digest


def test_numbered_versions() -> None:
    files = [("v/002_b.py", b""), ("v/010_c.py", b"print 'old'"), ("v/001_a.py", b""), ("v/__init__.py", b"")]
    tree = read_numbered_tree(files)
    assert tree.order() == ["1", "2", "10"]
    assert tree.heads() == ["10"]
    assert tree.revisions["10"].down == ("2",)
    assert "already" in read_numbered_tree([*files, ("v/2_d.py", b"")]).unreadable[0].reason


@given(st.binary(max_size=300))
def test_any_bytes_end_in_a_tree(content: bytes) -> None:
    tree = read_tree([("v/a.py", content)])
    assert len(tree.revisions) + len(tree.unreadable) == 1


@given(st.dictionaries(st.integers(0, 30), st.lists(st.integers(0, 30), max_size=3), max_size=20))
def test_the_order_puts_each_revision_after_those_it_needs(graph: dict[int, list[int]]) -> None:
    """Given any graph without circles (each comes only after smaller ones)."""
    files = [
        (f"v/{name}.py", script(repr(f"r{name}"), repr(tuple(f"r{one}" for one in down if one < name))))
        for name, down in graph.items()
    ]
    tree = read_tree(files)
    order = tree.order()
    assert sorted(order) == sorted(tree.revisions)
    for name in order:
        for down in tree.revisions[name].down:
            assert down not in order or order.index(down) < order.index(name)


GRAPHS = st.lists(
    st.tuples(st.lists(st.integers(1, 4), max_size=2), st.lists(st.integers(1, 6), max_size=2)), min_size=1, max_size=9
)
"""For each revision how many places before it those are that it comes after, and those that it depends on."""


@settings(max_examples=50, deadline=None)
@given(GRAPHS)
def test_the_heads_are_what_alembics_table_holds(graph: list[tuple[list[int], list[int]]]) -> None:
    """Given any tree with branches, merges and dependencies, walked to its heads by alembic itself."""
    files = []
    for number, steps in enumerate(graph):
        down, depends = ({f"r{number - step}" for step in some if step <= number} for some in steps)
        more = f"depends_on = {tuple(sorted(depends - down))!r}\ndef upgrade():\n    pass"
        files.append((f"{number}.py", script(repr(f"r{number}"), repr(tuple(sorted(down))), more)))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "versions").mkdir()
        for name, content in files:
            (Path(folder) / "versions" / name).write_bytes(content)
        scripts = ScriptDirectory(folder)
        with create_engine("sqlite://").connect() as connection:
            options = {"fn": lambda version, context: scripts._upgrade_revs("heads", version)}
            context = MigrationContext.configure(connection, opts=options)
            with Operations.context(context):
                try:
                    context.run_migrations()
                except KeyError:
                    reject()  # it cannot walk every tree with dependencies itself
            held = sorted(context.get_current_heads())
    assert held == read_tree(files).heads()


def test_a_branchs_label_may_be_depended_on() -> None:
    files = [
        ("v/1.py", script("'a'", "None", "branch_labels = ('one',)")),
        ("v/2.py", script("'b'", "None", "depends_on = 'one'\nbranch_labels = make()")),
    ]
    assert read_tree(files).revisions["b"].depends == ("a",)
    assert read_tree(files).heads() == ["b"]


def test_sql_scripts_belong_to_their_version() -> None:
    """Given sqlalchemy-migrate's names: those for other servers and those downwards alter nothing here."""
    alters = {
        "v/001_a.py": ["1"],
        "v/001_a_mysql_upgrade.sql": ["1"],
        "v/001_a_sqlite_upgrade.sql": [],
        "v/001_a_mysql_downgrade.sql": [],
        "v/002_default_upgrade.sql": ["2"],
        "v/003_upgrade.sql": ["3"],
        "v/20131122214245_d.py": ["20131122214245"],
        "v/12.sql": [],
        "v/helpers.py": [],
    }
    files = dict.fromkeys(alters, b"text()")
    tree = read_numbered_tree(files.items(), SQLALCHEMY_MIGRATE)
    assert tree.order() == ["1", "2", "3", "20131122214245"]
    assert tree.revisions["1"].file == "v/001_a_mysql_upgrade.sql"  # it is taken rather than Python
    assert len(tree.revisions["1"].others) == 3
    for name, altered in alters.items():
        other = read_numbered_tree({**files, name: b"other()"}.items(), SQLALCHEMY_MIGRATE).revisions
        assert [one for one in other if other[one].digest != tree.revisions[one].digest] == altered, name


def test_names_of_a_database_are_prefixed() -> None:
    tree = read_tree([("v/1.py", script("'b'", "'a'", "depends_on = 'c'")), ("v/2.py", script("'c'", "None"))])
    prefixed = tree.prefixed("api")
    assert prefixed.heads() == ["api:b"] and sorted(prefixed.revisions) == ["api:b", "api:c"]
    assert prefixed.revisions["api:b"].before == ("api:a", "api:c")
    assert [revision.digest for revision in prefixed.revisions.values()] == [
        revision.digest for revision in tree.revisions.values()
    ]
