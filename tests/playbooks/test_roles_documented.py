# SPDX-License-Identifier: Apache-2.0
"""What the roles say of themselves is what they are."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if (path / "tasks").is_dir())
SECTIONS = ["## Output", "## Privilege", "## Example"]


def read(path: Path) -> dict[str, Any]:
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def options(role: str) -> dict[str, Any]:
    specs = read(ROOT / "roles" / role / "meta" / "argument_specs.yaml")["argument_specs"]
    return {name: option for entry in specs.values() for name, option in entry.get("options", {}).items()}


def test_there_are_roles() -> None:
    assert {"project", "checkout", "build_environment", "upload_logs", "prepare_host"} <= set(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_argument_specs_agree(role: str) -> None:
    """The variables of the job (th_…) are common to all roles: their defaults are in the inventory."""
    own = {name for name in options(role) if not name.startswith("th_")}
    assert own == set(read(ROOT / "roles" / role / "defaults" / "main.yaml"))
    # the box is the project's code's, in whatever role it runs
    assert all(name.startswith("sandbox" if role == "project" else f"{role}_") for name in own)


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
def test_there_is_a_test_playbook(role: str) -> None:
    assert (ROOT / "tests" / "playbooks" / f"{role}.yaml").is_file()


@pytest.mark.parametrize("role", ROLES)
def test_the_role_is_in_the_documentation_for_operators(role: str) -> None:
    assert f"roles/{role}/README.md" in (ROOT / "docs" / "editing.md").read_text()


@pytest.mark.parametrize("role", ROLES)
def test_modules_document_the_options_that_they_have(role: str) -> None:
    for path in (ROOT / "roles" / role / "library").glob("*.py"):
        text = path.read_text()
        for part in ("DOCUMENTATION", "EXAMPLES", "RETURN"):
            block = text.partition(f'{part} = r"""')[2].partition('"""')[0]
            assert yaml.safe_load(block), f"{path.name}: {part}"
        documented = yaml.safe_load(text.partition('DOCUMENTATION = r"""')[2].partition('"""')[0])
        for name in documented.get("options", {}):
            assert f'"{name}":' in text, f"{path.name}: {name}"


def test_the_limits_of_the_inventory_are_variables_of_roles() -> None:
    known = {name for role in ROLES for name in options(role)}
    for name in ("limits.yaml", "sandbox.yaml"):
        assert set(read(ROOT / "inventory" / "group_vars" / "all" / name)) <= known


def test_files_are_named_yaml() -> None:
    folders = ("roles", "playbooks", "inventory", "tests")
    assert not [path for folder in folders for path in (ROOT / folder).rglob("*.yml")]
