# SPDX-License-Identifier: Apache-2.0
"""Django's migrations are read from their text, whatever the text holds."""

import pytest
from ansible.module_utils.th_checkout.comparison import compare
from ansible.module_utils.th_tools.django_trees import may_matter, read_django_tree
from ansible.module_utils.th_tools.revisions import Tree
from hypothesis import given
from hypothesis import strategies as st


def migration(dependencies: str = "[]", more: str = "", above: str = "") -> bytes:
    return (
        f"from django.db import migrations\nfrom django.conf import settings\n{above}\n"
        f"class Migration(migrations.Migration):\n    dependencies = {dependencies}\n    {more}\n    operations = []\n"
    ).encode()


def app(name: str, *migrations: tuple[str, bytes], config: str = "") -> dict[str, bytes]:
    files = {f"{name}/migrations/__init__.py": b""}
    files |= {f"{name}/migrations/{migration}.py": content for migration, content in migrations}
    return files | ({f"{name}/apps.py": config.encode()} if config else {})


def read(*apps: dict[str, bytes], **options: object) -> Tree:
    files = {path: content for one in apps for path, content in one.items()}
    return read_django_tree(files.items(), **options)[0]  # type: ignore[arg-type]


def before(tree: Tree) -> dict[str, list[str]]:
    return {name: sorted(revision.before) for name, revision in tree.revisions.items()}


SHOP = (("0001_initial", migration()), ("0002_b", migration('[("shop", "0001_initial")]')))


@pytest.mark.parametrize(
    ("dependencies", "above", "expected"),
    [
        ('[("shop", "0002_b")]', "", ["shop.0002_b"]),
        ('(("shop", "0002_b"), ("auth", "0001_initial"))', "", ["shop.0002_b"]),
        ('[["shop", "0002_b"]] + [("user", "0001_initial")]', "", ["shop.0002_b", "user.0001_initial"]),
        ("[*BASE]", 'BASE = [("shop", "0002_b")]', ["shop.0002_b"]),
        ('[("shop", LAST)]', 'LAST = "0002" + "_b"', ["shop.0002_b"]),
        ('[("user", "__first__")]', "", ["user.0001_initial"]),
        ('[("user", "__latest__")]', "", ["user.0003_c"]),
        ('[("shop", "__first__"), ("shop", "0002_b")]', "", ["shop.0002_b"]),
        ("[migrations.swappable_dependency(settings.AUTH_USER_MODEL)]", "", []),
        (
            '[migrations.swappable_dependency("user.User"), ("shop", "0002_b")]',
            "",
            ["shop.0002_b", "user.0001_initial"],
        ),
        ('[("shop", "0009_gone"), ("gone", "__first__")]', "", []),
    ],
)
def test_dependencies_in_every_form(dependencies: str, above: str, expected: list[str]) -> None:
    user = app(
        "user",
        ("0001_initial", migration()),
        ("0002_b", migration('[("user", "0001_initial")]')),
        ("0003_c", migration('[("user", "0002_b")]')),
    )
    tree = read(app("shop", *SHOP, ("0003_c", migration(dependencies, above=above))), user)
    assert not tree.unreadable
    assert before(tree)["shop.0003_c"] == expected


def test_run_before_is_a_dependency_the_other_way() -> None:
    tree = read(app("a", ("0001_initial", migration(more='run_before = [("b", "0001_initial")]'))), app("b", SHOP[0]))
    assert before(tree) == {"a.0001_initial": [], "b.0001_initial": ["a.0001_initial"]}
    assert tree.heads() == ["b.0001_initial"]


SQUASHED = ("0001_squashed_0002", migration(more='replaces = [("shop", "0001_initial"), ("shop", "0002_b")]'))


def test_a_squashed_migration_stands_for_those_it_replaces() -> None:
    third = ("0003_c", migration('[("shop", "0002_b")]'))
    both = read(app("shop", *SHOP, SQUASHED))
    assert both.heads() == ["shop.0001_squashed_0002"]
    assert both.revisions["shop.0001_squashed_0002"].replaces == ("shop.0001_initial", "shop.0002_b")
    assert read(app("shop", *SHOP, SQUASHED, third)).heads() == ["shop.0003_c"]
    alone = read(app("shop", SQUASHED, third))
    assert alone.heads() == ["shop.0003_c"]
    assert before(alone)["shop.0003_c"] == ["shop.0001_squashed_0002"]
    assert compare(read(app("shop", *SHOP)), both) == {
        "added": ["shop.0001_squashed_0002"],
        "altered": [],
        "removed": [],
    }
    assert compare(both, read(app("shop", SQUASHED)))["removed"] == []


@pytest.mark.parametrize(
    ("config", "label"),
    [
        ("", "shop"),
        ("from django.apps import AppConfig\nclass ShopConfig(AppConfig):\n    label = 'store'\n", "store"),
        ("class ShopConfig(AppConfig):\n    name = 'org.shops'\n", "shops"),
        ("LABEL = 'x'\nclass ShopConfig(AppConfig):\n    name = 'org.shops'\n    label: str = LABEL\n", "x"),
        ("class A(B):\n    label = 'a'\nclass B(C):\n    label = 'b'\n    default = True\n", "b"),
        ("class A(B):\n    label = 'a'\nclass B(C):\n    label = 'b'\n", "shop"),
        ("class A(B):\n    label = make()\n", "shop"),
        ("class A(B:\n", "shop"),
    ],
)
def test_the_apps_label(config: str, label: str) -> None:
    assert list(read(app("org/shop", SHOP[0], config=config)).revisions) == [f"{label}.0001_initial"]
    for place in ("org/shop", "org/shop/migrations"):
        assert list(read(app("org/shop", SHOP[0], config=config), labels={place: "told"}).revisions) == [
            "told.0001_initial"
        ]


def test_folders_that_are_no_apps_are_left_aside() -> None:
    alembic = {"db/migrations/env.py": b"import x", "db/migrations/__init__.py": b""}
    no_package = {"old/migrations/0001_initial.py": migration()}
    tree = read(
        app("shop", *SHOP), alembic, no_package, {"shop/migrations/_helper.py": b"", "shop/migrations/~x.py": b""}
    )
    assert sorted(tree.revisions) == ["shop.0001_initial", "shop.0002_b"] and not tree.unreadable
    assert read(app("shop", *SHOP), app("user", *SHOP[:1]), apps=["user/migrations"]).heads() == ["user.0001_initial"]


def test_two_apps_of_one_label_are_reported() -> None:
    tree = read(app("shop", *SHOP), app("sandbox/shop", *SHOP))
    assert len(tree.revisions) == 2
    assert [item.file for item in tree.unreadable] == [
        "sandbox/shop/migrations/0001_initial.py",
        "sandbox/shop/migrations/0002_b.py",
    ]
    assert "label shop of shop/migrations" in tree.unreadable[0].reason


@pytest.mark.parametrize(
    ("path", "matters"),
    [
        ("shop/migrations/0001_initial.py", True),
        ("shop/apps.py", True),
        ("shop/models.py", False),
        ("shop/migrations/data.sql", False),
        ("tests/shop/migrations/0001_initial.py", False),
        (".tox/shop/migrations/0001_initial.py", False),
        ("migrations/0001_initial.py", True),
    ],
)
def test_the_files_that_matter(path: str, matters: bool) -> None:
    assert may_matter(path) == matters


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"x = 1", "no class Migration"),
        (b"class Migration(", "not Python"),
        (migration("make()"), "dependencies are computed"),
        (migration('[("shop", "0001_initial")] if x else []'), "dependencies are computed"),
        (b"from other import Migration", "dependencies are computed"),
        (migration("d", above="d = e + e\ne = d + d"), "dependencies are computed"),
        (migration("[]", more='dependencies += [("shop", "0002_b")]'), "dependencies are computed"),
        (migration("[]", more="if x: dependencies = y"), "dependencies are computed"),
    ],
)
def test_what_cannot_be_read_is_reported_where_it_matters(content: bytes, reason: str) -> None:
    tree = read(app("shop", *SHOP, ("0003_c", content)))
    assert [item.file for item in tree.unreadable] == ["shop/migrations/0003_c.py"]
    assert reason in tree.unreadable[0].reason
    if "computed" in reason:
        assert "shop.0003_c" in tree.revisions  # its name is certain
        assert not read(app("shop", ("0003_c", content))).unreadable  # nothing in its app that it could come after


def test_what_makes_a_migration_altered() -> None:
    tree = read(app("shop", *SHOP))
    words = migration('[("shop", "0001_initial")]', above="# some words")
    other = migration('[("shop", "0001_initial")]', above="x = 1")
    assert compare(tree, read(app("shop", SHOP[0], ("0002_b", words))))["altered"] == []
    assert compare(tree, read(app("shop", SHOP[0], ("0002_b", other))))["altered"] == ["shop.0002_b"]
    latest = app("user", ("0001_initial", migration('[("shop", "__latest__")]')))
    both = read(app("shop", SHOP[0]), latest), read(app("shop", *SHOP), latest)
    assert compare(*both) == {"added": ["shop.0002_b"], "altered": [], "removed": []}


@given(st.binary(max_size=300))
def test_any_bytes_end_in_a_tree(content: bytes) -> None:
    tree = read(app("shop", *SHOP, ("0003_c", content)))
    assert {"shop.0001_initial", "shop.0002_b"} <= tree.revisions.keys()
