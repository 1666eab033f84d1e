# SPDX-License-Identifier: Apache-2.0
"""Read a project's profile and make the job's folders."""

from __future__ import annotations

DOCUMENTATION = r"""
module: project_profile
short_description: Read a project's profile and make the job's folders
description:
  - Reads C(<projects_dir>/<project>.yaml), checks every key, and returns it with all defaults filled in.
  - Makes the job's folder, C(artifacts) and C(results) in it, for its owner alone.
  - A profile that is missing or wrong is recorded in C(artifacts/errors.jsonl) as C(no_profile) or
    C(profile_wrong).
options:
  project:
    description: The project, as in C(mlflow/mlflow).
    type: str
    required: true
  projects_dir:
    description: The folder of the profiles.
    type: path
    required: true
  job_dir:
    description: The job's folder.
    type: path
    required: true
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Read the profile
  project_profile:
    project: mlflow/mlflow
    projects_dir: /etc/turbo-hipster/ansible/inventory/projects
    job_dir: /var/lib/turbo-hipster/jobs/1
"""

RETURN = r"""
profile:
  description: The profile as in C(docs/profiles.md), every key present, and C(name) and C(file).
  type: dict
  returned: success
"""

import os
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_step import StepError, run_step

PROJECT = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._+-]*(/[A-Za-z0-9_][A-Za-z0-9._+-]*)*")
REF = re.compile(r"(?!.*(\.\.|//|@\{|\.lock$|[./]$))[A-Za-z0-9_][^\x00-\x20\x7f~^:?*\[\\]*")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TABLE = re.compile(r"[A-Za-z0-9_$]{1,64}(\.[A-Za-z0-9_$]{1,64})?")
SCHEME = re.compile(r"[a-z][a-z0-9]*(\+[a-z][a-z0-9]*)?")

TEMPLATE_FIELDS = frozenset({"url", "socket", "user", "password", "database", "src", "venv", "files"})


class WrongKey(Exception):  # noqa: N818 - it is about a key
    """A key of the profile that cannot be used; its path, and what it must be."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}" if key else problem)


Check = Callable[[str, Any], Any]


def text(key: str, value: Any) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise WrongKey(key, "must be a text (in quotes when it looks like a number)")
    if "\0" in value:
        raise WrongKey(key, "must not hold a zero byte")
    return value


def matching(pattern: re.Pattern[str], what: str) -> Check:
    """A text of one form."""

    def check(key: str, value: Any) -> str:
        if not pattern.fullmatch(text(key, value)):
            raise WrongKey(key, f"{value!r} is not {what}")
        return str(value)

    return check


def one_of(*choices: str) -> Check:
    """One of a few words."""

    def check(key: str, value: Any) -> str:
        if value not in choices:
            raise WrongKey(key, f"must be one of {', '.join(choices)}, not {value!r}")
        return str(value)

    return check


def inside(key: str, value: Any) -> str:
    """A path that stays in the folder that it starts from."""
    path = os.path.normpath(text(key, value)) if value != "" else ""
    if path.startswith(("/", "..")) or any(char in path for char in "\r\n"):
        raise WrongKey(key, f"{value!r} must be a path in the checkout")
    return path


def inside_or_url(key: str, value: Any) -> str:
    """A path in the checkout, or an http(s) URL."""
    if text(key, value).startswith(("https://", "http://")):
        return str(value)
    return inside(key, value)


def interpreter(key: str, value: Any) -> str:
    """What uv takes for an interpreter."""
    if not text(key, value) or str(value).startswith("-") or not str(value).isprintable():
        raise WrongKey(key, f"{value!r} is not an interpreter")
    return str(value)


def requirement(key: str, value: Any) -> str:
    """A requirement of one line, never an option."""
    if not text(key, value).strip() or str(value).startswith("-") or "\n" in str(value):
        raise WrongKey(key, f"{value!r} is not a requirement such as pymysql>=1.1")
    return str(value)


def template(*more: str) -> Check:
    """A text with fields in braces; `more` names are known besides the common ones."""
    known = TEMPLATE_FIELDS | set(more)

    def check(key: str, value: Any) -> str:
        try:
            parts = list(string.Formatter().parse(text(key, value)))
        except ValueError as error:
            raise WrongKey(key, f"{error} (double a brace that stands for itself)") from None
        for _, name, spec, conversion in parts:
            if name is not None and (name not in known or spec or conversion):
                raise WrongKey(key, f"{{{name}}} is not one of {', '.join(sorted(known))}")
        return str(value)

    return check


def list_of(check_one: Check) -> Check:
    """A list, each item checked."""

    def check(key: str, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise WrongKey(key, "must be a list")
        return [check_one(f"{key}[{index}]", one) for index, one in enumerate(value)]

    return check


def map_of(check_key: Check, check_one: Check) -> Check:
    """A mapping, each key and value checked."""

    def check(key: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise WrongKey(key, "must be a mapping")
        return {check_key(key, name): check_one(f"{key}.{name}", one) for name, one in value.items()}

    return check


@dataclass(frozen=True)
class Key:
    """A key of the profile: how its value is checked, and what it is when left out."""

    check: Check
    default: Any = None
    required: bool = False


def fields(keys: Mapping[str, Key]) -> Check:
    """A mapping with known keys."""

    def check(key: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise WrongKey(key, "must be a mapping")
        prefix = f"{key}." if key else ""
        for name in value:
            if name not in keys:
                raise WrongKey(f"{prefix}{name}", f"unknown key; known are {', '.join(sorted(keys))}")
        checked = {}
        for name, kind in keys.items():
            if name in value:
                checked[name] = kind.check(f"{prefix}{name}", value[name])
            elif kind.required:
                raise WrongKey(f"{prefix}{name}", "is missing")
            else:
                checked[name] = kind.default
        return checked

    return check


_VARIABLES = map_of(matching(VARIABLE, "a variable's name"), text)
_ENVIRONMENT = map_of(matching(VARIABLE, "a variable's name"), template())
_FILES = list_of(fields({"path": Key(inside, required=True), "content": Key(template(), required=True)}))
_COMMON = {
    "environment": Key(_ENVIRONMENT, {}),
    "files": Key(_FILES, []),
    "workdir": Key(inside, "."),
    "url_scheme": Key(matching(SCHEME, "a dialect and a driver such as mysql+pymysql"), "mysql+pymysql"),
}

ALEMBIC = {
    "tool": Key(one_of("alembic")),
    "config": Key(inside, "alembic.ini"),
    "section": Key(text, "alembic"),
    "script_location": Key(inside, ""),
    "version_locations": Key(list_of(inside), []),
    "version_table": Key(matching(TABLE, "a table's name"), "alembic_version"),
    "url_option": Key(text, "sqlalchemy.url"),
    "options": Key(map_of(text, template()), {}),
    **_COMMON,
}

COMMAND = {
    "tool": Key(one_of("command")),
    "command": Key(list_of(template("version")), required=True),
    "versions": Key(one_of("alembic", "numbered"), "alembic"),
    "version_locations": Key(list_of(inside), required=True),
    "version_table": Key(matching(TABLE, "a table's name"), ""),
    "version_query": Key(text, ""),
    **_COMMON,
}


VERSION_TABLES = {
    "alembic": ("alembic_version", "version_num"),
    "numbered": ("migrate_version", "version"),
}


def migrations(key: str, value: Any) -> dict[str, Any]:
    """The part `migrations`, whose keys depend on its tool."""
    if not isinstance(value, dict):
        raise WrongKey(key, "must be a mapping")
    tool = one_of("alembic", "command")(f"{key}.tool", value.get("tool"))
    if tool == "alembic":
        checked = {**fields(ALEMBIC)(key, value), "versions": "alembic", "version_query": ""}
    else:
        checked = dict(fields(COMMAND)(key, value))
        for name in ("command", "version_locations"):
            if not checked[name]:
                raise WrongKey(f"{key}.{name}", "must not be empty")
    table, column = VERSION_TABLES[checked["versions"]]
    checked["version_table"] = checked["version_table"] or table
    quoted = checked["version_table"].replace(".", "`.`")
    query = f"SELECT {column} FROM `{quoted}`"  # noqa: S608 - the table's name was checked
    checked["version_query"] = checked["version_query"] or query
    return checked


INSTALL = {
    "requirements": Key(list_of(inside), ["requirements.txt"]),
    "constraints": Key(list_of(inside_or_url), []),
    "packages": Key(list_of(requirement), []),
    "project": Key(one_of("editable", "regular", "none"), "editable"),
    "extras": Key(list_of(matching(re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"), "an extra")), []),
    "environment": Key(_VARIABLES, {}),
}

PROFILE = fields(
    {
        "python": Key(interpreter, "python3"),
        "install": Key(fields(INSTALL), fields(INSTALL)("install", {})),
        "releases": Key(list_of(matching(REF, "the name of a branch or tag")), []),
        "migrations": Key(migrations, required=True),
    }
)


def load(projects_dir: Path, project: str) -> dict[str, Any]:
    """A project's profile with all its defaults. Raises StepError ``no_profile`` or ``profile_wrong``."""
    if not PROJECT.fullmatch(project):
        raise StepError("no_profile", f"th_job.project: {project!r} is not the name of a project.")
    path = projects_dir / f"{project}.yaml"
    try:
        document = yaml.safe_load(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise StepError(
            "no_profile", f"There is no profile for {project}: write {path} (see docs/profiles.md)."
        ) from None
    except OSError as error:
        raise StepError("profile_wrong", f"{path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = " ".join(str(error).split())
        raise StepError("profile_wrong", f"{path} is not YAML: {where}") from None
    try:
        profile = PROFILE("", document)
    except WrongKey as error:
        raise StepError("profile_wrong", f"{path}: {error} (see docs/profiles.md).") from None
    return {"name": project, "file": str(path), **profile}


def make_folders(job_dir: Path) -> bool:
    """Make the job's folders; whether there was anything to do."""
    changed = False
    for folder in (job_dir, job_dir / "artifacts", job_dir / "results"):
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)
            changed = True
    return changed


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "projects_dir": {"type": "path", "required": True},
            "job_dir": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    job_dir = Path(module.params["job_dir"])

    def step() -> dict[str, Any]:
        changed = False
        if not module.check_mode:
            try:
                changed = make_folders(job_dir)
            except OSError as error:
                module.fail_json(msg=f"th_job_dir {job_dir} cannot be made: {error.strerror}.")
        profile = load(Path(module.params["projects_dir"]), module.params["project"])
        return {"changed": changed, "profile": profile}

    run_step(module, "project", str(job_dir), step)


if __name__ == "__main__":
    main()
