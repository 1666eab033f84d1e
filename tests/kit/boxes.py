# SPDX-License-Identifier: Apache-2.0
"""The box as modules are given it: what roles/project/vars makes of the role's defaults."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import yaml

from tests.kit import ROOT

if TYPE_CHECKING:
    from ansible.module_utils.th_sandbox.box import Settings

ROLE = ROOT / "roles" / "project"


def given(**changed: Any) -> dict[str, Any]:
    """The option ``sandbox`` of modules; `changed` are variables without their prefix, `kind` among them."""
    variables = dict(_read("defaults"))
    variables["sandbox"] = changed.pop("kind", variables["sandbox"])
    unknown = {f"sandbox_{name}" for name in changed} - set(variables)
    assert not unknown, unknown
    variables |= {f"sandbox_{name}": value for name, value in changed.items()}

    def fill(template: Any) -> Any:
        if isinstance(template, dict):
            return {name: fill(value) for name, value in template.items()}
        return variables[template.strip("{} ")]

    filled: dict[str, Any] = fill(_read("vars")["th_sandbox"])
    return filled


@functools.cache
def _read(kind: str) -> dict[str, Any]:
    """The role's variables of a kind; nobody may alter them."""
    read: dict[str, Any] = yaml.safe_load((ROLE / kind / "main.yaml").read_text())
    return read


def settings(**changed: Any) -> Settings:
    """The same, read."""
    from ansible.module_utils.th_sandbox.box import Settings

    return Settings.of(given(**changed))
