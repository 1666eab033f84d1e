# SPDX-License-Identifier: Apache-2.0
"""Validation of a project's profile (docs/profiles.md), with all defaults filled in."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.module_utils.th_core.checks import (
    Check,
    Key,
    WrongKey,
    boolean,
    fields,
    inside,
    integer,
    list_of,
    map_of,
    matching,
    one_of,
    text,
)
from ansible.module_utils.th_core.names import REF
from ansible.module_utils.th_core.profile_values import (
    day,
    inside_or_url,
    interpreter,
    requirement,
    template,
)
from ansible.module_utils.th_tools.keys import LABEL, words
from ansible.module_utils.th_tools.tools import TOOLS, VERSIONS, tool_of

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
SCHEME = re.compile(r"[a-z][a-z0-9]*(\+[a-z][a-z0-9]*)?")
EXTRA = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def _common(databases: Iterable[str]) -> dict[str, Key]:
    """Keys for every process of the project."""
    templates = template(databases)
    return {
        "environment": Key(map_of(matching(VARIABLE, "a variable's name"), templates), {}),
        "files": Key(
            list_of(fields({"path": Key(inside, required=True), "content": Key(templates, required=True)})), []
        ),
        "workdir": Key(inside, "."),
        "url_scheme": Key(matching(SCHEME, "a dialect and a driver such as mysql+pymysql"), "mysql+pymysql"),
    }


_WITHOUT_KEY: dict[str, Any] = {
    "version_table": "",
    "version_query": "",
    "heads": 1,
    "command": [],
    "downgrade_command": [],
}
"""Defaults for what the database's tool has no key for."""


def database(names: Iterable[str], name: str) -> Check:
    """How one database is migrated; the keys depend on its tool."""
    every = tuple(names)

    def check(key: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise WrongKey(key, "must be a mapping")
        tool = TOOLS[one_of(*TOOLS)(f"{key}.tool", value.get("tool"))]
        known = {"tool": Key(one_of(tool.name)), **tool.keys(every), **_common(every)}
        checked = {"name": name, **_WITHOUT_KEY, **fields(known)(key, value)}
        checked["versions"] = checked.get("versions") or tool.versions[0].name
        checked["version_locations"] = tool.folders(checked)
        versions = VERSIONS[checked["versions"]]
        checked["version_table"] = checked["version_table"] or versions.table
        checked["version_query"] = checked["version_query"] or versions.query(checked["version_table"])
        return checked

    return check


def _databases(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The databases, from `migrations` (one, without a name) or `databases` (several, in their order)."""
    if ("migrations" in document) == ("databases" in document):
        raise WrongKey("migrations", "either this or databases must be there, and not both")
    if "migrations" in document:
        return [database([""], "")("migrations", document["migrations"])]
    several = document["databases"]
    if not isinstance(several, dict) or not several:
        raise WrongKey("databases", "must be a mapping of names to how each is migrated")
    for name in several:
        matching(NAME, "the name of a database: lower case letters, digits and _")("databases", name)
    return [database(several, name)(f"databases.{name}", value) for name, value in several.items()]


def _data_migrations(databases: Iterable[str]) -> Check:
    names = tuple(databases)
    return list_of(
        fields(
            {
                "name": Key(matching(LABEL, "a name: letters, digits and _"), required=True),
                "command": Key(words(names, 1), required=True),
                "again": Key(list_of(integer(1, 255)), []),
                "rounds": Key(integer(1, 1_000_000), 1000),
                **_common(names),
            }
        )
    )


_VARIABLES = map_of(matching(VARIABLE, "a variable's name"), text)

INSTALL = {
    "requirements": Key(list_of(inside), ["requirements.txt"]),
    "constraints": Key(list_of(inside_or_url), []),
    "packages": Key(list_of(requirement), []),
    "project": Key(one_of("editable", "regular", "none"), "editable"),
    "extras": Key(list_of(matching(EXTRA, "an extra")), []),
    "environment": Key(_VARIABLES, {}),
}

_REF = matching(REF, "the name of a branch or tag")
_PYTHON = {"python": Key(interpreter, "python3"), "exclude_newer": Key(day, "")}
RELEASE = {
    "name": Key(_REF, required=True),
    "ref": Key(_REF),
    **_PYTHON,
    "install": Key(fields(INSTALL, given_only=True), {}),
}

PROFILE = {
    "folder": Key(inside, "."),
    **_PYTHON,
    "install": Key(fields(INSTALL), fields(INSTALL)("install", {})),
    "releases": Key(list_of(lambda key, value: value), []),
    "downgrade": Key(boolean, False),
    "migrations": Key(lambda key, value: value),
    "databases": Key(lambda key, value: value),
    "data_migrations": Key(lambda key, value: value, []),
}


def _release(profile: dict[str, Any]) -> Check:
    """A release: its name, or a mapping with what differs for it; returned with every key."""

    def check(key: str, value: Any) -> dict[str, Any]:
        given = fields(RELEASE, given_only=True)(key, value if isinstance(value, dict) else {"name": _REF(key, value)})
        return {
            "name": given["name"],
            "ref": given.get("ref", given["name"]),
            "python": given.get("python", profile["python"]),
            "exclude_newer": given.get("exclude_newer", profile["exclude_newer"]),
            "install": {**profile["install"], **given.get("install", {})},
        }

    return check


def check_profile(document: Any) -> dict[str, Any]:
    """A profile with every key present, `databases` as a list and `releases` as mappings. Raises WrongKey."""
    profile = fields(PROFILE)("", document)
    profile["databases"] = _databases(document)
    del profile["migrations"]
    folder = posixpath.normpath(profile.pop("folder"))
    for one in profile["databases"]:
        if profile["downgrade"] and one["command"] and not one["downgrade_command"]:
            where = f"databases.{one['name']}" if one["name"] else "migrations"
            raise WrongKey(f"{where}.downgrade_command", "is missing: with a command, downgrade: true needs it")
    names = [one["name"] for one in profile["databases"]]
    profile["data_migrations"] = _data_migrations(names)("data_migrations", profile["data_migrations"])
    profile["releases"] = list_of(_release(profile))("releases", profile["releases"])
    releases = [release["name"] for release in profile["releases"]]
    if twice := next((name for name in releases if releases.count(name) > 1), ""):
        raise WrongKey("releases", f"{twice} is there twice")
    return profile if folder == "." else _below(profile, folder)


def _below(profile: dict[str, Any], folder: str) -> dict[str, Any]:
    """The same for a project that is in a folder of its repository: what names a place in the checkout is below it."""

    def place(path: str) -> str:
        return posixpath.normpath(posixpath.join(folder, path)) if path else path

    def moved(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {place(path): one for path, one in value.items()}
        return place(value) if isinstance(value, str) else list(map(place, value))

    for one in profile["databases"]:
        keys = ("workdir", "version_locations", *tool_of(one).in_checkout)
        one |= {key: moved(one[key]) for key in keys}
        one["folder"] = folder
    for data in profile["data_migrations"]:
        data["workdir"] = place(data["workdir"])
    return {**profile, "folder": folder}
