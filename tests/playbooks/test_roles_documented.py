# SPDX-License-Identifier: Apache-2.0
"""What the roles say of themselves is what they are."""

import collections
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kit import ROOT
from worker.verdict import CODES

ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if (path / "tasks").is_dir())
SECTIONS = ["## Output", "## Privilege", "## Example"]
FILES = ("meta/argument_specs.yaml", "defaults/main.yaml")
FACTS = ("th_profile", "th_own_steps", "th_sandbox", "th_datasets")
"""What is there once the role `project` has run, and the job's datasets."""
FOR_OPERATORS = {"th_publish_options"}
"""What only the tasks read that operators write."""
TYPES = {
    "str": (str,), "path": (str,), "int": (int,), "float": (int, float), "bool": (bool,), "list": (list,),
    "dict": (dict,), "bytes": (str, int),
}  # fmt: skip


def read(path: Path) -> dict[str, Any]:
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def options(role: str) -> dict[str, Any]:
    specs = read(ROOT / "roles" / role / "meta" / "argument_specs.yaml")["argument_specs"]
    return {name: option for entry in specs.values() for name, option in entry.get("options", {}).items()}


def defaults(role: str) -> dict[str, Any]:
    return read(ROOT / "roles" / role / "defaults" / "main.yaml")


def inventory() -> dict[str, Any]:
    folder = ROOT / "inventory" / "group_vars" / "all"
    return {name: value for path in folder.glob("*.yaml") for name, value in read(path).items()}


def steps(role: str) -> str:
    """All that a role does and brings, but for its documentation."""
    folder = ROOT / "roles" / role
    files = [*folder.rglob("*.yaml"), *folder.rglob("*.j2")]
    return "".join(path.read_text() for path in files if path.parent.name != "meta")


def test_there_are_roles() -> None:
    assert {"project", "checkout", "build_environment", "upload_logs", "prepare_host"} <= set(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_argument_specs_agree(role: str) -> None:
    """The variables of the job (th_…) are common to all roles: their defaults are in the inventory."""
    own = {name for name in options(role) if not name.startswith("th_")}
    assert own == set(defaults(role))
    # the box is the project's code's, in whatever role it runs
    assert all(name.startswith("sandbox" if role == "project" else f"{role}_") for name in own)


@pytest.mark.parametrize("role", ROLES)
def test_the_argument_specs_have_the_values_of_the_defaults(role: str) -> None:
    """But those that are computed, and long lists, where the defaults say what each entry is for."""
    for name, option in options(role).items():
        value = defaults(role).get(name)
        if name not in defaults(role) or "{{" in str(value):
            assert "default" not in option, name
            continue
        assert type(value) in TYPES[option["type"]], f"{name} is no {option['type']}: {value!r}"
        assert value in option.get("choices", [value]), name
        if "default" in option or not (value and isinstance(value, list | dict)):
            assert option.get("default", "missing") == value, name


def test_no_role_has_an_option_of_another_one() -> None:
    """The playbooks, the worker's jobs and the inventory give one value for all."""
    for name, count in collections.Counter(name for role in ROLES for name in options(role)).items():
        assert count == 1 or name.startswith("th_"), name


@pytest.mark.parametrize("role", ROLES)
def test_every_option_says_what_it_is(role: str) -> None:
    for name, option in options(role).items():
        assert option.get("description") and option.get("type"), name


@pytest.mark.parametrize("role", ROLES)
def test_the_readme_answers_an_operators_questions(role: str) -> None:
    lines = (ROOT / "roles" / role / "README.md").read_text().splitlines()
    assert lines[0] == f"# {role}"
    assert [line for line in lines if line.startswith("## ")] == SECTIONS


@pytest.mark.parametrize("role", ROLES)
def test_the_readme_names_the_variables_that_there_are(role: str) -> None:
    """All of them are where it links to; what it speaks of is one of them, or of the job's."""
    text = (ROOT / "roles" / role / "README.md").read_text()
    files = {"meta/argument_specs.yaml"} if options(role) else set()
    files |= {"defaults/main.yaml"} if defaults(role) else set()
    assert {file for file in FILES if f"]({file})" in text} == files
    own = options(role).keys() or set(re.findall(rf"\b{role}_\w+", steps(role)))  # own_steps checks none of them
    named = set(re.findall(rf"`((?:{role}|th|sandbox)_\w+)`", text))
    modules = {path.stem for path in (ROOT / "roles" / role / "library").glob("*.py")}
    assert named <= {*own, *modules, *CODES, *options("project"), *FACTS, *inventory()}
    if not options(role):
        assert set(re.findall(rf"^\| `({role}_\w+)` \|", text, re.MULTILINE)) == own


@pytest.mark.parametrize("role", ROLES)
def test_a_variable_is_used(role: str) -> None:
    """By the role, or by the tasks that an operator writes for it."""
    for name in options(role).keys() - FOR_OPERATORS:
        uses = len(re.findall(rf"\b{name}\b", steps(role)))
        assert uses > (name in defaults(role)), f"nobody reads {name}"


@pytest.mark.parametrize("role", ROLES)
def test_there_is_a_test_playbook(role: str) -> None:
    assert (ROOT / "tests" / "playbooks" / f"{role}.yaml").is_file()


@pytest.mark.parametrize("role", ROLES)
def test_the_role_is_in_the_documentation_for_operators(role: str) -> None:
    assert f"roles/{role}/README.md" in (ROOT / "docs" / "editing.md").read_text()


@pytest.mark.parametrize("role", ROLES)
def test_modules_are_documented(role: str) -> None:
    for path in (ROOT / "roles" / role / "library").glob("*.py"):
        text = path.read_text()
        for part in ("DOCUMENTATION", "EXAMPLES", "RETURN"):
            block = text.partition(f'{part} = r"""')[2].partition('"""')[0]
            assert yaml.safe_load(block), f"{path.name}: {part}"


def test_the_inventory_has_the_values_that_the_roles_have() -> None:
    for name in ("limits.yaml", "sandbox.yaml"):
        given = read(ROOT / "inventory" / "group_vars" / "all" / name)
        own = {key: value for role in ROLES for key, value in defaults(role).items() if key in given}
        assert given == own, "a line that is removed falls back on the role's own value, which is the same"


def test_files_are_named_yaml() -> None:
    folders = ("roles", "playbooks", "inventory", "tests")
    assert not [path for folder in folders for path in (ROOT / folder).rglob("*.yml")]
