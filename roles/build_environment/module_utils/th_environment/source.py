# SPDX-License-Identifier: Apache-2.0
"""What a profile's `install` means in one checkout, and whether it only names packages of an index."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_environment.pep508 import rewritten
from ansible.module_utils.th_environment.requirements import FILE_LIMIT, FILES_LIMIT, ROWS_LIMIT, file_in, named, normal
from ansible.module_utils.th_environment.unpackaged import REFUSED, needed, unpackaged
from ansible.module_utils.th_parse.toml import read_toml

HARMLESS = frozenset(("default-groups", "dev-dependencies", "managed", "package"))
"""Keys of ``[tool.uv]`` that do not affect where packages come from."""

LINE_LIMIT = 200_000
"""Maximum characters of a requirement with its hashes."""

_COMMENT = re.compile(r"(^|[ \t])#.*")
_HASH = re.compile(r"[ \t]{1,100}--hash(?:=|[ \t]{1,100})")
_DIGEST = re.compile(r"sha(?:256|384|512):[0-9a-fA-F]{64,128}")
_INCLUDE = re.compile(r"(?P<option>-r|--requirement|-c|--constraint)[ =]?[ \t]*(?P<file>[A-Za-z0-9_./-]+)")


@dataclass(frozen=True)
class Source:
    """What a profile's `install` means in one checkout. `own` are the requirements of a project that is not installed
    itself, and `why` is the reason."""

    requirements: tuple[str, ...]
    constraints: tuple[str, ...]
    packages: tuple[str, ...]
    project: str
    extras: tuple[str, ...]
    own: tuple[str, ...] = ()
    why: str = ""

    @classmethod
    def of(cls, install: Mapping[str, Any], src: Path) -> Source:
        """Find the files in the checkout. Raises StepError for what cannot be installed."""
        constraints = [name for name in install["constraints"] if "://" in name or file_in(src, name) is not None]
        project = install["project"]
        if project != "none" and not any(file_in(src, name) for name in ("pyproject.toml", "setup.py")):
            raise StepError(
                "environment_failed",
                "The checkout has neither pyproject.toml nor setup.py: nothing to install "
                "(install.project in the profile may be none).",
            )
        made = cls(
            requirements=tuple(name for name in install["requirements"] if file_in(src, name)),
            constraints=tuple(constraints),
            packages=tuple(install["packages"]),
            project=project,
            extras=tuple(install["extras"]),
        )
        why = unpackaged(src) if project != "none" else ""
        return replace(made, project="none", own=tuple(needed(src, made.extras)), why=why) if why else made

    def without_itself(self, src: Path, error: StepError) -> Source | None:
        """What to install if the build has refused the project as not meant to be installed; None if it has not."""
        refused = REFUSED.search(error.detail) if error.code == "environment_failed" else None
        if self.project == "none" or refused is None:
            return None
        other = replace(self, project="none", own=tuple(needed(src, self.extras)), why=refused[0])
        return other if other.own or other.requirements or other.packages else None

    @property
    def urls(self) -> list[str]:
        """The constraints that are URLs."""
        return [name for name in self.constraints if "://" in name]

    def dependencies(self) -> list[str]:
        """Arguments of uv for everything but the project itself."""
        words: list[str] = []
        for name in self.requirements:
            words += ["--requirements", name]
        for name in self.constraints:
            words += ["--constraints", name]
        return [*words, *self.packages, *self.own]

    def itself(self) -> list[str]:
        """Arguments of uv for the project itself."""
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        return {"none": [], "regular": [f".{extras}"], "editable": ["--editable", f".{extras}"]}[self.project]


class NotPlainError(Exception):
    """Something is more than the name of a package; the text says where it is."""


@dataclass
class Plain:
    """Requirements that name packages of an index, with versions and hashes, and nothing else.

    uv gets these and no file of the checkout, so it cannot interpret an ambiguous line in another way. `files` are
    those of the checkout that were read.
    """

    requirements: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    rows: int = 0

    @classmethod
    def of(cls, source: Source, src: Path) -> Plain:
        """Everything to be installed except the project itself. Raises NotPlainError."""
        found = cls(urls=source.urls)
        found.requirements += [_plain(text, "install.packages") for text in source.packages]
        found.requirements += [_plain(text, "pyproject.toml") for text in source.own]
        for name in source.requirements:
            found._read(src, name, found.requirements, [])
        for name in source.constraints:
            if name not in source.urls:
                found._read(src, name, found.constraints, [])
        if source.project != "none":
            found.requirements += _of_project(src, source.extras)
        if source.project != "none" or source.own:
            found.files.append("pyproject.toml")
        return found

    def words(self, folder: Path) -> list[str]:
        """Arguments of uv; writes the files that they name to `folder`."""
        words: list[str] = []
        for name, lines in (("requirements", self.requirements), ("constraints", self.constraints)):
            file = folder / f"{name}.txt"
            file.write_text("".join(f"{line}\n" for line in lines))
            words += [f"--{name}", str(file)]
        for url in self.urls:
            words += ["--constraints", url]
        return words

    def _read(self, src: Path, name: str, into: list[str], seen: list[str]) -> None:
        path = file_in(src, name)
        if path is None or path.suffix not in (".txt", ".in") or len(seen) >= FILES_LIMIT:
            raise NotPlainError(f"{name}: no text file of the checkout")
        seen.append(name)
        self.files.append(name)
        for number, text in _lines(path):
            place = f"{name}:{number}"
            self.rows += 1
            if self.rows > ROWS_LIMIT:
                raise NotPlainError(f"{place}: more than {ROWS_LIMIT} lines")
            include = _INCLUDE.fullmatch(text)
            if include is None:
                into.append(_plain(text, place, hashes=True))
                continue
            other = str(Path(name).parent / include["file"])
            constraint = include["option"] in ("-c", "--constraint")
            if into is self.constraints and not constraint:
                raise NotPlainError(f"{place}: requirements among constraints")
            self._read(src, other, self.constraints if constraint else into, seen)


def static_dependencies(src: Path) -> bool:
    """Whether pyproject.toml declares all dependencies statically, so that no code is run to find them."""
    return _project(src) is not None


def _project(src: Path) -> dict[str, Any] | None:
    """The contents of pyproject.toml, if it declares all dependencies statically."""
    path = file_in(src, "pyproject.toml")
    if path is None or path.stat().st_size > FILE_LIMIT:
        return None
    try:
        content = read_toml(path.read_text("utf-8"))
    except ValueError:
        return None
    project = content.get("project")
    if not isinstance(project, dict):
        return None
    dynamic = project.get("dynamic", [])
    if not isinstance(dynamic, list):
        return None
    return None if {"dependencies", "optional-dependencies"}.intersection(filter(_is_text, dynamic)) else content


def _of_project(src: Path, extras: Sequence[str]) -> list[str]:
    content = _project(src)
    if content is None:
        return []
    project, tool = content["project"], content.get("tool", {})
    uv = tool.get("uv", {}) if isinstance(tool, dict) else {}
    if not isinstance(uv, dict) or not HARMLESS.issuperset(uv):
        raise NotPlainError("pyproject.toml: [tool.uv] says where packages come from")
    wanted = [project.get("dependencies", [])]
    if extras:
        optional = project.get("optional-dependencies", {})
        known = {normal(name): texts for name, texts in optional.items()} if isinstance(optional, dict) else {}
        wanted += [known.get(normal(extra)) for extra in extras]
    found = []
    for texts in wanted:
        if not isinstance(texts, list) or not all(map(_is_text, texts)):
            raise NotPlainError("pyproject.toml: no list of requirements")
        found += [_plain(text, "pyproject.toml") for text in texts]
    if normal(str(project.get("name", ""))) in map(named, found):
        raise NotPlainError("pyproject.toml: requires itself")
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, without comments, and with continuation lines joined."""
    if path.stat().st_size > FILE_LIMIT:
        raise NotPlainError(f"{path.name}: too large")
    try:
        rows = re.split(r"\r\n|\r|\n", path.read_bytes().decode("utf-8-sig"))
    except ValueError:
        raise NotPlainError(f"{path.name}: not UTF-8") from None
    begun, start = "", 0
    for number, row in enumerate(rows, 1):
        text = _COMMENT.sub("", row)
        start = start or number
        if text.endswith("\\"):
            begun += text[:-1] + " "
            continue
        if whole := (begun + text).strip(" \t"):
            yield start, whole
        begun, start = "", 0
    if begun.strip():
        raise NotPlainError(f"{path.name}:{start}: a continuation line is missing")


def _plain(text: str, place: str, hashes: bool = False) -> str:
    """A requirement, rewritten; only those of files may have hashes. Raises NotPlainError."""
    if len(text) > LINE_LIMIT:
        raise NotPlainError(f"{place}: too long")
    requirement, *digests = _HASH.split(text) if hashes else [text]
    try:
        written = rewritten(requirement)
    except ValueError:
        why = "a URL" if "@" in text or "://" in text else "more than the name of a package"
        raise NotPlainError(f"{place}: {why}") from None
    if not all(_DIGEST.fullmatch(one.strip(" \t")) for one in digests):
        raise NotPlainError(f"{place}: more than the name of a package")
    return " ".join([written, *(f"--hash={one.strip()}" for one in digests)])


def _is_text(value: object) -> bool:
    return isinstance(value, str)
