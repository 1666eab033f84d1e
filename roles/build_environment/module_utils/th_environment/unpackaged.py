# SPDX-License-Identifier: Apache-2.0
"""The dependencies of projects that are not meant to be installed themselves.

Poetry (``package-mode = false``), uv (``package = false``) and PDM (``distribution = false``) have a setting for that.
setuptools refuses to choose between several top-level packages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_environment.pep508 import LENGTH, rewritten
from ansible.module_utils.th_environment.requirements import FILE_LIMIT, file_in, named, normal
from ansible.module_utils.th_parse.toml import read_toml

REFUSED = re.compile(
    r"Multiple top-level (?:packages|modules) discovered in a flat-layout"
    r"|Building a package is not possible in non-package mode"
)
"""Messages of a build about a project that is not meant to be installed."""
FILE = "pyproject.toml"

_KEYS = {"poetry": ("package-mode", False), "uv": ("package", False), "pdm": ("distribution", False)}
_VERSION = re.compile(r"\d{1,9}(?:\.\d{1,9}){0,5}")
_RANGE = re.compile(r"(?:~=|==|!=|<=?|>=?)v?\d[A-Za-z0-9.*+!_-]{0,99}|===[A-Za-z0-9.*+!_-]{1,100}")
_MORE = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}[ ]{0,100}(?:\[[A-Za-z0-9._, -]{0,500}\][ ]{0,100})?"
    r"(?:@ ?[A-Za-z][A-Za-z0-9+.-]{0,30}:[!-~]{1,1000}(?: ?$| ; )|[(<>=!~;])"
)
_OPERATOR = re.compile(r"\s*+(?P<operator>\^|~=|~|===?|!=|<=?|>=?|)\s*+(?P<version>[A-Za-z0-9.*+!_-]{1,100})\s*")


def unpackaged(root: Path) -> str:
    """The setting by which a project says that it is not meant to be installed; "" for none."""
    content = _content(root)
    for tool, (key, value) in _KEYS.items():
        if _table(_table(content, "tool"), tool).get(key) is value:
            return f"{FILE}: [tool.{tool}] says {key} = {str(value).lower()}"
    return ""


def needed(root: Path, extras: Sequence[str]) -> list[str]:
    """The requirements in pyproject.toml, including those of some extras. Raises StepError for an invalid one."""
    content = _content(root)
    poetry, project = _table(_table(content, "tool"), "poetry"), _table(content, "project")
    wanted = [*_texts(project.get("dependencies"))]
    optional = {normal(name): texts for name, texts in _table(project, "optional-dependencies").items()}
    for extra in extras:
        wanted += _texts(optional.get(normal(extra)))
    found = list(map(_checked, wanted))
    names = set(map(named, found))
    # where both name a package, Poetry's table only adds to what the other says
    return found + [text for text in _of_poetry(poetry, extras) if named(text) not in names]


def _of_poetry(poetry: Mapping[str, Any], extras: Sequence[str]) -> Iterator[str]:
    of_extras = {normal(name): _texts(names) for name, names in _table(poetry, "extras").items()}
    wanted = {normal(name) for extra in extras for name in of_extras.get(normal(extra), ())}
    for name, facts in _table(poetry, "dependencies").items():
        if name == "python":
            continue
        for one in facts if isinstance(facts, list) else [facts]:
            dependency = one if isinstance(one, dict) else {"version": one}
            if not dependency.get("optional") or normal(name) in wanted:
                yield _requirement(name, dependency)


def _requirement(name: str, dependency: Mapping[str, Any]) -> str:
    """A dependency in Poetry's format as a standard requirement."""
    extras = ",".join(_texts(dependency.get("extras")))
    text = f"{name}[{extras}]" if extras else name
    if "git" in dependency:
        at = next((f"@{dependency[key]}" for key in ("rev", "tag", "branch") if key in dependency), "")
        folder = f"#subdirectory={dependency['subdirectory']}" if "subdirectory" in dependency else ""
        text += f" @ git+{dependency['git']}{at}{folder}"
    elif "url" in dependency:
        text += f" @ {dependency['url']}"
    elif "version" in dependency:
        text += _specifier(name, str(dependency["version"]))
    else:
        raise _wrong(f"{name} is neither a version nor a URL: name it in install.requirements of the profile")
    markers = [f"({dependency['markers']})"] if dependency.get("markers") else []
    if "python" in dependency:
        markers += [f"python_version {one}" for one in _pythons(name, str(dependency["python"]))]
    return _checked(f"{text} ; {' and '.join(markers)}" if markers else text)


def _specifier(name: str, constraint: str) -> str:
    if "||" in constraint or "|" in constraint:
        raise _wrong(f"{name} = {constraint!r} is more than one range: name it in install.requirements of the profile")
    ranges = list(_ranges(name, constraint))
    if not all(map(_RANGE.fullmatch, ranges)):
        raise _wrong(f"{name} = {constraint!r} is not a version")
    return ",".join(ranges)


def _pythons(name: str, constraint: str) -> Iterator[str]:
    for one in _ranges(name, constraint):
        match = _OPERATOR.fullmatch(one)
        if match and match["operator"]:
            yield f"{match['operator']} '{'.'.join(match['version'].split('.')[:2])}'"


def _ranges(name: str, constraint: str) -> Iterator[str]:
    """The ranges of a version in Poetry's syntax: ``^1.2``, ``~1.2``, ``1.*``, ``>=1,<2``; none for ``*``."""
    for part in constraint.split(","):
        match = _OPERATOR.fullmatch(part)
        if match is None:
            raise _wrong(f"{name} = {constraint!r} is not a version")
        operator, version = match["operator"], match["version"]
        if version == "*":
            continue
        if operator in ("^", "~"):
            numbers = [int(number) for number in (_VERSION.match(version) or ["0"])[0].split(".")]
            yield f">={version}"
            yield f"<{_next(numbers, caret=operator == '^')}"
        else:
            yield f"{operator or '=='}{version}"


def _next(numbers: Sequence[int], caret: bool) -> str:
    """The first version that ``^`` or ``~`` with these numbers excludes."""
    place = min(1, len(numbers) - 1)
    if caret:
        place = next((index for index, number in enumerate(numbers) if number), len(numbers) - 1)
    return ".".join(map(str, [*numbers[:place], numbers[place] + 1]))


def _checked(text: str) -> str:
    """A requirement that is not an option of uv. Those that are more than a name are left to uv to parse."""
    try:
        return rewritten(text)
    except ValueError:
        if len(text) > LENGTH or not text.isprintable() or not _MORE.match(text):
            raise _wrong(f"{text[:200]!r} is not a requirement") from None
    return text


def _wrong(why: str) -> StepError:
    return StepError("environment_failed", f"{FILE}: {why}.", file=FILE)


def _content(root: Path) -> Mapping[str, Any]:
    path = file_in(root, FILE)
    if path is None or path.stat().st_size > FILE_LIMIT:
        return {}
    try:
        return read_toml(path.read_text("utf-8"))
    except ValueError:
        return {}


def _table(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
