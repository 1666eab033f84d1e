# SPDX-License-Identifier: Apache-2.0
"""The options that a module takes are those that its documentation has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kit import ROOT, load_module

MODULES = sorted((ROOT / "roles").glob("*/library/*.py"))
ACTIONS = sorted((ROOT / "roles").glob("*/action_plugins/*.py"))


class Asked(Exception):  # noqa: N818 - no error
    """What a module makes itself one of Ansible's with."""


def taken(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments that a module gives to AnsibleModule."""

    def ask(**arguments: Any) -> None:
        raise Asked(arguments)

    module = load_module(path.parts[-3], path.stem)
    monkeypatch.setattr(module, "AnsibleModule", ask)
    with pytest.raises(Asked) as found:
        module.main()
    arguments: dict[str, Any] = found.value.args[0]
    return arguments


def plain(options: Mapping[str, Mapping[str, Any]], inner: str) -> dict[str, Any]:
    """Options with all that Ansible assumes where it is left out; those of a mapping are under `inner`."""
    return {
        name: {
            "type": option.get("type", "str"),
            "elements": option.get("elements"),
            "required": option.get("required", False),
            "default": option.get("default"),
            "choices": option.get("choices"),
            "aliases": option.get("aliases", []),
            "options": plain(option.get(inner) or {}, inner),
        }
        for name, option in options.items()
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_takes_the_options_that_it_documents(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = taken(path, monkeypatch)
    documented = yaml.safe_load(load_module(path.parts[-3], path.stem).DOCUMENTATION)
    assert documented["module"] == path.stem
    assert plain(arguments["argument_spec"], "options") == plain(documented.get("options", {}), "suboptions")
    known = {"argument_spec", "supports_check_mode"}
    assert arguments.keys() <= known, "what options have to do with each other: compare it here, too"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_the_example_gives_a_module_what_it_takes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = taken(path, monkeypatch)["argument_spec"]
    examples = yaml.safe_load(load_module(path.parts[-3], path.stem).EXAMPLES)
    tasks = [task[path.stem] or {} for task in examples if path.stem in task]
    assert tasks
    for given in tasks:
        assert given.keys() <= options.keys()
        assert given.keys() >= {name for name, option in options.items() if option.get("required")}


def test_action_plugins_have_no_options_of_their_own() -> None:
    """They are how a module is run, and take what it takes."""
    modules = {path.stem for path in MODULES}
    for path in ACTIONS:
        assert path.stem in {"normal", *modules}
        text = path.read_text()
        assert not [word for word in ("argument_spec", "DOCUMENTATION", "_task.args.get") if word in text], path.name
