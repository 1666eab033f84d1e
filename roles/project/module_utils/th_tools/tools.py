# SPDX-License-Identifier: Apache-2.0
"""The migration tools that a profile can name."""

from __future__ import annotations

from collections.abc import Iterable

from ansible.module_utils.th_tools.alembic import ALEMBIC
from ansible.module_utils.th_tools.command import COMMAND
from ansible.module_utils.th_tools.django import DJANGO
from ansible.module_utils.th_tools.sqlalchemy_migrate import SQLALCHEMY_MIGRATE
from ansible.module_utils.th_tools.tool import Settings, Tool, Versions
from ansible.module_utils.th_tools.versions import Revisions

TOOLS = {tool.name: tool for tool in (ALEMBIC, SQLALCHEMY_MIGRATE, DJANGO, COMMAND)}
"""By the value of a profile's `tool`."""
VERSIONS = {versions.name: versions for tool in TOOLS.values() for versions in tool.versions}
"""By the value of a profile's `versions`."""


def tool_of(database: Settings) -> Tool:
    """The tool of a database of the profile."""
    return TOOLS[database["tool"]]


def versions_of(database: Settings) -> Versions:
    """How a database of the profile keeps its version."""
    return VERSIONS[database["versions"]]


def heads_of(rows: Iterable[str], database: Settings, revisions: Revisions | None) -> list[str]:
    """The heads that a database of the profile is at, by all rows of its version table; see `Versions`."""
    return versions_of(database).heads(rows, database["name"], revisions)
