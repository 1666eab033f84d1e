# SPDX-License-Identifier: Apache-2.0
"""Profile keys that several migration tools share."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ansible.module_utils.th_core.checks import Check, Key, boolean, inside, integer, list_of, matching
from ansible.module_utils.th_core.profile_values import template

LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TABLE = re.compile(r"[A-Za-z0-9_$]{1,64}(\.[A-Za-z0-9_$]{1,64})?")

FOLDERS = Key(list_of(inside), [])
RECURSIVE = Key(boolean, False)
TABLE = Key(matching(_TABLE, "a table's name"), "")
HEADS = Key(integer(1, 100), 1)


def words(databases: Iterable[str], least: int = 0) -> Check:
    """A command as a list of templates, in which ``{version}`` can be used as well."""
    return list_of(template(databases, "version"), least)


def commands(databases: Iterable[str]) -> dict[str, Key]:
    """The project's own commands, used in place of the tool's API."""
    command = Key(words(databases), [])
    return {"command": command, "downgrade_command": command}
