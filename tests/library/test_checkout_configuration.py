# SPDX-License-Identifier: Apache-2.0
"""Where a commit's scripts are, from alembic's files: an ini, a pyproject.toml, or both."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_git.client import Git
from ansible.module_utils.th_sandbox.capped_log import CappedLog
from ansible.module_utils.th_tools.profile import check_profile

from tests.kit import ROOT, load_module
from tests.kit.git_server import Repository, script
from tests.kit.toy import PROGRAMS

load_module("checkout", "read_migrations")
from ansible.module_utils.th_checkout.trees import Forest  # noqa: E402
from ansible.module_utils.th_tools.alembic_files import TOML_LIMIT, read_toml  # noqa: E402

Files = dict[str, str | None]
SCRIPTS: Files = {
    **{f"{folder}/{folder.replace('/', '_')}.py": script(folder.replace("/", "_"), None)
       for folder in ("app/migrations/versions", "one", "app/two", "lib/pkg/db/versions")},
    "app/migrations/env.py": "",
    "app/__init__.py": "",
    "lib/pkg/__init__.py": "",
}  # fmt: skip


def folders(tmp_path: Path, files: Files, **migrations: Any) -> list[str]:
    """Where the scripts of a commit with these files are."""
    return places(tmp_path, files, **migrations)[0]


def places(tmp_path: Path, files: Files, **migrations: Any) -> tuple[list[str], str]:
    """The same, and which of them is out of the checkout."""
    repository = Repository(tmp_path / "repository")
    commit = repository.commit(files)
    profile = check_profile({"migrations": {"tool": "alembic", **migrations}})
    log = CappedLog(tmp_path / "git.log", 10**6)
    try:
        forest = Forest(Git(log, (str(tmp_path),), None), repository.folder, profile["databases"])
        return forest.folders(commit), forest.outside(commit)
    finally:
        log.close()


@pytest.mark.parametrize(
    ("ini", "found"),
    [
        ("[alembic]\nscript_location = app/migrations\n", ["app/migrations/versions"]),
        ("[alembic]\nscript_location = %(here)s/app/migrations\n", ["app/migrations/versions"]),
        ("[alembic]\nscript_location = app:migrations\n", ["app/migrations/versions"]),
        ("[alembic]\nversion_locations = %(here)s/one app/two\nscript_location = x\n", ["one", "app/two"]),
        ("[alembic]\nversion_path_separator = os\nversion_locations = one:app/two\n", ["one", "app/two"]),
        ("[alembic]\npath_separator = newline\nversion_locations =\n  one\n  app/two\n", ["one", "app/two"]),
        ("[alembic]\nscript_location = %(nope)s/x\n", []),
        ("nonsense", []),
        ("[other]\nscript_location = x\n", []),
        (None, []),
    ],
)
def test_where_the_scripts_are_is_read_from_the_ini(tmp_path: Path, ini: str | None, found: list[str]) -> None:
    files = {**SCRIPTS, **({"alembic.ini": ini} if ini is not None else {})}
    assert folders(tmp_path, files) == found


def test_the_folders_of_the_configuration_count_beside_a_script_location_of_the_profile(tmp_path: Path) -> None:
    files = {**SCRIPTS, "alembic.ini": "[alembic]\nversion_locations = one app/two\n"}
    assert folders(tmp_path, files, script_location="app/migrations") == ["one", "app/two"]


@pytest.mark.parametrize("location", ["/etc", "../../x", "%(here)s/../x"])
@pytest.mark.parametrize("name", ["alembic.ini", "pyproject.toml"])
def test_a_script_location_outside_of_the_checkout(tmp_path: Path, location: str, name: str) -> None:
    text = f"[alembic]\nscript_location = {location}\n"
    if name == "pyproject.toml":
        text = f"[tool.alembic]\nscript_location = {location!r}\n"
    found, outside = places(tmp_path, {name: text, "one/a.py": script("a", None)})
    assert found == [] and "leads out of the checkout" in outside
    text = text.replace("script_location", "version_locations")
    found, outside = places(tmp_path, {name: text}, script_location="one")
    assert found == [] and "leads out of the checkout" in outside


INI = "[alembic]\nsqlalchemy.url = x\n"
BOTH: list[tuple[str | None, str, dict[str, Any]]] = [
    (None, 'script_location = "app/migrations"', {}),
    (None, 'script_location = "%(here)s/app/migrations"', {}),
    (None, 'script_location = "app/migrations"\nversion_locations = ["one", "%(here)s/app/two"]', {}),
    (INI, 'script_location = "app/migrations"\nprepend_sys_path = ["."]', {}),
    (INI, 'script_location = "app:migrations"\nprepend_sys_path = ["."]', {}),
    (INI, 'script_location = "pkg:db"\nprepend_sys_path = ["%(here)s/lib"]', {}),
    (INI + "prepend_sys_path = x:lib\npath_separator = os\n", 'script_location = "pkg:db"', {}),
    (INI + "prepend_sys_path = lib\n", 'script_location = "pkg:db"\nprepend_sys_path = ["x"]', {}),
    (INI + "script_location = app/migrations\n", 'script_location = "x"\npath_separator = "os"', {}),
    (INI + "version_locations = one app/two\n", 'script_location = "app/migrations"\npath_separator = "os"', {}),
    (INI + "version_locations =\n", 'script_location = "app/migrations"\nversion_locations = ["one"]', {}),
    (INI + "script_location = app/migrations\n", 'version_locations = ["app/two"]', {}),
    (None, 'script_location = "app"\nrecursive_version_locations = true\nversion_locations = ["app/two"]', {}),
    (None, 'script_location = "app/migrations"', {"config": "pyproject.toml"}),
]


LOOK = """
import json, sys, walk_alembic
from alembic.config import Config
from alembic.script import ScriptDirectory
request = json.loads(sys.argv[1])
ini = request.pop("there")
alembics = ScriptDirectory.from_config(Config(ini, toml_file="pyproject.toml"))
config = walk_alembic.configuration(request)
ours = ScriptDirectory.from_config(config)
assert config.get_main_option("sqlalchemy.url") == "mysql://%x"
assert ours._version_locations == alembics._version_locations
print(json.dumps([[str(one) for one in ours._version_locations], sorted(ours.get_heads())]))
"""
"""What alembic makes of its files, and what the program that walks does, which is told of their names alone."""


@pytest.mark.parametrize(("ini", "toml", "more"), BOTH)
def test_both_files_mean_what_alembic_makes_of_them(
    tmp_path: Path, ini: str | None, toml: str, more: dict[str, Any]
) -> None:
    files = {**SCRIPTS, "pyproject.toml": f"[project]\nname = 'x'\n\n[tool.alembic]\n{toml}\n"}
    if ini is not None:
        files["alembic.ini"] = ini
    found = folders(tmp_path, files, **more)
    src = tmp_path / "repository"
    request = {
        "there": "alembic.ini" if ini is not None else None,
        "config": str(src / "alembic.ini"), "toml": [str(src / "pyproject.toml")], "section": "alembic",
        "options": {"sqlalchemy.url": "mysql://%x"}, "version_locations": [], "recursive": False,
    }  # fmt: skip
    said = subprocess.run(
        [sys.executable, "-c", LOOK, json.dumps(request)],
        cwd=src, env={"PYTHONPATH": str(PROGRAMS)}, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    places, heads = json.loads(said)
    assert [str(Path(one).relative_to(src)) for one in places] == found
    assert heads


def test_the_table_of_the_folder_where_alembic_is_run_counts_first(tmp_path: Path) -> None:
    def toml(location: str) -> str:
        return f"[tool.alembic]\nscript_location = '{location}'\n"

    files: Files = {"a/alembic.ini": "[alembic]\nx = y\n", "a/pyproject.toml": toml("%(here)s/db")}
    assert folders(tmp_path, files, config="a/alembic.ini") == ["a/db/versions"]
    files["pyproject.toml"] = "[project]\nname = 'x'\n"
    assert folders(tmp_path, files, config="a/alembic.ini") == ["a/db/versions"], "it has no such table"
    files["pyproject.toml"] = toml("%(here)s/top")
    assert folders(tmp_path, files, config="a/alembic.ini") == ["top/versions"]
    assert folders(tmp_path, files, config="a/alembic.ini", workdir="a") == ["a/db/versions"]
    assert folders(tmp_path, files, config="a/pyproject.toml") == ["a/db/versions"]
    assert folders(tmp_path, {**files, "pyproject.toml": toml("db")}, config="pyproject.toml", workdir="a") == [
        "a/db/versions"
    ]


@pytest.mark.parametrize(
    "content",
    [
        "[tool]\nalembic = 7\n",
        "tool = 1\n",
        "[tool.alembic]\nscript_location = 7\nversion_locations = [1, 2]\n",
        "[tool.alembic]\nscript_location = '%(nope)s'\n",
        "[tool.alembic]\nscript_location = '%d'\n",
        "[tool.alembic\n",
        "x = " + "[" * 4000,
        "x" * 6000 + " = 1\n[tool.alembic]\nscript_location = 'x'\n",
        "#\n" * TOML_LIMIT + "[tool.alembic]\nscript_location = 'x'\n",
        "\0",
    ],
)
def test_a_table_that_cannot_be_read_says_nothing(content: str) -> None:
    assert read_toml(content.encode(), "x") == {}


def test_an_alembic_that_knows_no_table_reads_the_ini(tmp_path: Path) -> None:
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = here\n")
    (tmp_path / "pyproject.toml").write_text("[tool.alembic]\nscript_location = 'there'\n")
    request = {"config": str(tmp_path / "alembic.ini"), "toml": [str(tmp_path / "pyproject.toml")]}
    program = (
        "import sys, json, walk_alembic\n"
        "class Old:\n    def __init__(self, *args, **words): self.given = (args, words)\n"
        "print(json.dumps(walk_alembic.files_of(Old, json.loads(sys.argv[1])).given))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, json.dumps({**request, "section": "alembic"})],
        env={"PYTHONPATH": str(PROGRAMS)}, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    ).stdout  # fmt: skip
    assert json.loads(said) == [[request["config"]], {"ini_section": "alembic"}]
