# SPDX-License-Identifier: Apache-2.0
"""Copying the packages of a kept environment into that of a change which asks for the same.

A change asks for the same if what its base's environment was made of names packages of an index, versions and hashes,
and nothing else, and is in the same files in both: so the same wheels were installed. Where code of the project says
what it depends on, nobody can know without running it.

What is copied is what the packages of an index have brought, file by file as their RECORDs say, with the content that
they say: nothing of the project that is installed there as well, and nothing that its build has left beside them.
Nothing is linked, because a build of the change may write to its environment.
"""

from __future__ import annotations

import base64
import csv
import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.th_environment.merged_code import MergedCode
from ansible.module_utils.th_environment.recipe import Recipe
from ansible.module_utils.th_environment.requirements import file_in
from ansible.module_utils.th_environment.source import Plain, Source, static_dependencies

SHEBANG_LIMIT = 127
"""With a longer path of the interpreter, uv writes scripts of another form."""
FILE_LIMIT = 256 << 20
RECORD_LIMIT = 16 << 20
ROWS_LIMIT = 200_000
ELSEWHERE = "direct_url.json"
"""In the metadata of what was not installed from an index: the project itself, a URL (PEP 610)."""


_ITSELF = ".dist-info/RECORD"


class NotClonedError(Exception):
    """The packages cannot be copied; the text says why."""


@dataclass(frozen=True)
class Twin:
    """The environment of a change's base: its folder, the base's commit, and the `Source` that it was made of, as JSON
    has it."""

    folder: str
    commit: str
    source: Mapping[str, Any]

    def check(self, code: MergedCode, source: Source, plain: Plain | None, recipe: Recipe, root: Path) -> None:
        """Raises NotClonedError unless it has what the steps so far ask for: `source` in the checkout `root`."""
        wanted, packages = as_json(source), self.source.get("packages", [])
        if {**wanted, "packages": packages} != self.source or packages[: len(source.packages)] != wanted["packages"]:
            raise NotClonedError("the steps ask for something else")
        if plain is None or plain.urls or (source.project != "none" and not static_dependencies(root)):
            raise NotClonedError("it is not only names of packages that the change asks for")
        named = {*plain.files, *recipe.install["requirements"], *recipe.install["constraints"]}
        there = {name for name in named if file_in(root, name)}
        if not code.has(sorted(there), root, self.commit, recipe.folder):
            raise NotClonedError("the change asks for something else")
        if not code.lacks(sorted(named - there), root, self.commit, recipe.folder):
            raise NotClonedError("the change has removed a file that says what is asked for")

    def is_complete(self, source: Source) -> bool:
        """Whether it has no package that the steps have not asked for."""
        return as_json(source) == self.source


def as_json(source: Source) -> dict[str, Any]:
    """What was installed, as JSON has it."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(source).items()}


def clone(kept: Path, venv: Path, version: str) -> None:
    """Copy the packages of an index from one environment to another, which has none; both are of the same Python,
    `version`. Raises NotClonedError, and then has copied some.
    """
    old, new = f"{kept}/bin/python".encode(), f"{venv}/bin/python".encode()
    if len(new) > SHEBANG_LIMIT or b" " in new:
        raise NotClonedError("the path of the job's folder is too long")
    packages = Path("lib", f"python{'.'.join(version.split('.')[:2])}", "site-packages")
    plain: dict[str, bool] = {}
    for name, digest in _files(kept, packages):
        folder = os.path.dirname(name)
        if folder not in plain:
            plain[folder] = os.path.realpath(kept / folder) == os.path.join(os.path.realpath(kept), folder)
        content, mode = _read(kept / name, FILE_LIMIT) if plain[folder] else (None, 0)
        if content is None or digest != ("" if name.endswith(_ITSELF) else _digest(content)):
            raise NotClonedError(f"{name} is not as its package has brought it")
        if folder == "bin" and content.startswith(b"#!"):
            content = content.replace(old, new)
        try:
            _write(venv / name, content, mode)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise NotClonedError(f"{name} would have too long a path") from None


def _files(kept: Path, packages: Path) -> Iterator[tuple[str, str]]:
    """The files of the packages of an index, relative to the environment, each with its digest."""
    count = 0
    for folder in sorted((kept / packages).glob("*.dist-info")):
        if os.path.lexists(folder / ELSEWHERE):
            continue
        record, _ = _read(folder / "RECORD", RECORD_LIMIT)
        try:
            rows = list(csv.reader((record or b"").decode().splitlines()))
        except (ValueError, csv.Error):
            rows = []
        count += len(rows)
        if not rows or count > ROWS_LIMIT or not all(len(row) == 3 for row in rows):
            raise NotClonedError(f"{folder.name}/RECORD is not valid")
        for path, digest, _ in rows:
            name = os.path.normpath(packages / path)
            if os.path.isabs(path) or name.startswith("..") or not name.isprintable():
                raise NotClonedError(f"{folder.name}/RECORD leads out of the environment")
            yield name, digest
    if not count:
        raise NotClonedError("there are none")


def _read(path: Path, limit: int) -> tuple[bytes | None, int]:
    """The content and the mode of a regular file; None for anything else."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None, 0
    with open(handle, "rb") as stream:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_size > limit:
            return None, 0
        return stream.read(), about.st_mode & 0o777


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        raise NotClonedError(f"two packages have {path.name}") from None
    with open(handle, "wb") as stream:
        stream.write(content)
