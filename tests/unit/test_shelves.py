# SPDX-License-Identifier: Apache-2.0
"""The shelves of the roles: what modules share, sorted by what it is about, each importing only those before it."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import ROOT

ROLES = ROOT / "roles"
TYPES = ROOT / "tests" / "types" / "ansible" / "module_utils"
PREFIX = "ansible.module_utils."
ORDER = {
    "th_core": "mark text processes artifacts claim names strict_yaml checks step profile_values remove control",
    "th_sandbox": "usage limits seccomp cgroup_tree descendants unnamed_files capped_log cgroups disk box watch "
    "contain",
    "th_parse": "lfs opaque limited downlevel new_syntax toml python digest",
    "th_git": "errors settings process client mirror files submodules",
    "th_server": "counters family accounts family_mariadb family_mysql families prepared definers connection error_log "
    "mariadb engine external_server plain_table private_server",
    "th_mask": "credentials encodings mask secrets",
    "th_tools": "versions revisions keys tool alembic_files alembic_places alembic_scripts alembic numbered_scripts "
    "sqlalchemy_migrate django_scripts django_trees django command tools profile",
    "th_egress": "rules upstream http resolver proxy",
    "th_environment": "uv_errors pep508 requirements unpackaged package_caches kept bytecode source merged_code uv "
    "recipe without_change build_box install build find build_step",
    "th_checkout": "install_files comparison facts request history merged_modules fetch trees "
    "checkout_step tree_checks checkout plain_checkout",
    "th_dump": "sql_lexer source origin seed_errors cures rewrite facts completeness definers arrived load",
    "th_dataset": "settings settle failure server_settings time_zones dataset fingerprint lent_rights rights "
    "version_table charset redo_log empty_data snapshot restore choose_engine record private_dataset external_dataset "
    "restore_step",
    "th_measure": "sql_words sql_statement locks server_disk views innodb_rows blocking_rows lost_rows other_engines "
    "meter ledger",
    "th_walk": "last_output script_folders follow stages stage_boxes logs controls encryption relay walkers commands "
    "channel forbidden leftovers server_limits installed server_probe in_process allowed_steps packages "
    "diagnosis journal tool_query walk",
    "th_publish": "place copy",
    "th_script": "script",
    "th_engines": "entry sources packages unpack build tried",
}
"""The shelves, each with the order inside of it."""
MOST_LINES = 300
SHELVES = {path.name: path for path in ROLES.glob("*/module_utils/th_*")}
FILES = sorted(path for path in ROLES.glob("*/module_utils/*/*.py") if not path.name.startswith("__"))
PROGRAMS = sorted([*ROLES.glob("*/library/*.py"), *ROLES.glob("*/action_plugins/*.py"), *ROLES.glob("*/files/*.py")])


def imports(path: Path) -> Iterator[str]:
    """What a file takes from shelves, as `shelf.module`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{PREFIX}th_"):
            shelf, _, module = node.module.removeprefix(PREFIX).partition(".")
            yield from ([f"{shelf}.{module}"] if module else [f"{shelf}.{alias.name}" for alias in node.names])


def place(name: str) -> tuple[int, int]:
    """Where a module stands: of the shelves, and on its shelf."""
    shelf, _, module = name.partition(".")
    return list(ORDER).index(shelf), ORDER[shelf].split().index(module)


def name_of(path: Path) -> str:
    return f"{path.parent.name}.{path.stem}"


def test_every_module_is_on_a_shelf_and_has_a_place() -> None:
    assert not list(ROLES.glob("*/module_utils/*.py"))
    assert {name_of(path) for path in FILES} == {f"{shelf}.{name}" for shelf in ORDER for name in ORDER[shelf].split()}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_imports_only_those_before_it(path: Path) -> None:
    for name in imports(path):
        assert place(name) < place(name_of(path)), f"{name_of(path)} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_role_takes_nothing_of_another_stage(path: Path) -> None:
    """But for a walk without the change, which is a checkout and a build once more, roles meet in files alone."""
    own = path.parts[len(ROLES.parts)]
    for name in imports(path):
        shelf = name.partition(".")[0]
        assert SHELVES[shelf].parts[len(ROLES.parts)] in ("project", own), f"{name_of(path)} imports {name}"


@pytest.mark.parametrize(
    "path", [path for path in (*FILES, *PROGRAMS) if path.parent.name != "th_tools"], ids=lambda path: path.stem
)
def test_what_is_particular_to_a_migration_tool_is_asked_of_its_row(path: Path) -> None:
    """Nothing else compares a tool's name, or that of how it keeps versions, or has a table by them."""
    names = {"alembic", "django", "sqlalchemy_migrate", "numbered"}
    for node in ast.walk(ast.parse(path.read_text())):
        parts: list[ast.expr | None] = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Dict):
            parts = node.keys
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        for part in parts:
            found = isinstance(part, ast.Constant) and part.value in names
            assert not found, f"{ast.unparse(node)}: a property of th_tools.tool.Tool would say why"


@pytest.mark.parametrize("shelf", sorted(SHELVES))
def test_a_shelf_says_what_is_on_it(shelf: str) -> None:
    document = ast.get_docstring(ast.parse((SHELVES[shelf] / "__init__.py").read_text()))
    assert document and "Imports " in document


def test_types_are_followed_from_each_role_to_the_others() -> None:
    """mypy finds the shelves as Ansible does: by links, one a shelf."""
    assert {path.name: Path(os.path.realpath(path)) for path in TYPES.glob("th_*")} == SHELVES


@pytest.mark.parametrize("path", [*FILES, *PROGRAMS], ids=lambda path: str(path.relative_to(ROLES)))
def test_a_module_stays_readable(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MOST_LINES, f"{path.name} has {lines} lines"
