# SPDX-License-Identifier: Apache-2.0
"""An operator's copy of the playbooks: which version it was made from, and what of it is older than this worker's.

`th init` leaves a stamp in the copy: the version, and a digest of each file as it was. By it, what an operator has
edited is known from what a later version has changed.
"""

from __future__ import annotations

import difflib
import enum
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PARTS = ("playbooks", "roles", "inventory", "ansible.cfg")
"""What a copy is made of."""
STAMP = ".turbo-hipster.json"
"""The file in a copy that says what it was made from."""


class State(enum.Enum):
    """How a file of a copy compares with the worker's own, and with what was copied."""

    OLDER = "changed in this version; not edited in the copy"
    CONFLICT = "changed in this version, and edited in the copy"
    NEW = "new in this version"
    OBSOLETE = "not in this version any more"
    EDITED = "edited in the copy"
    REMOVED = "removed from the copy"
    DIFFERENT = "differs; the copy has no stamp, so it is not known on which side it was changed"


BEHIND = {State.OLDER, State.CONFLICT, State.NEW, State.OBSOLETE, State.DIFFERENT}
"""Differences that may be due to this version: the copy does not have what it has brought."""


@dataclass(frozen=True)
class Difference:
    """One file of a copy that is not the worker's own: its path below both folders, and why."""

    path: str
    state: State


@dataclass(frozen=True)
class Stamp:
    """What a copy was made from: the version, and the SHA-256 of each file; both are empty where there is no stamp."""

    version: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Stamp:
        """The stamp of a copy; an empty one where there is none that can be used. Raises nothing."""
        try:
            document = json.loads((folder / STAMP).read_text("utf-8"))
            files = {str(path): str(digest) for path, digest in document["files"].items()}
            return cls(str(document["version"]), files)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def write(self, folder: Path) -> None:
        """Leave it in a copy. Raises OSError."""
        document = {"version": self.version, "files": dict(self.files)}
        (folder / STAMP).write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of the parts, by its path below the folder. Raises OSError."""
    found = {}
    for part in PARTS:
        top = folder / part
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and "__pycache__" not in path.parts:
                found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def compare(ours: Path, copy: Path) -> list[Difference]:
    """Which files of a copy are not the worker's own, by path. Files that only the copy has, and never came from a
    worker, are the operator's own and no difference. Raises OSError."""
    here, there, copied = digests(ours), digests(copy), Stamp.read(copy).files
    states = {path: _state(here.get(path), there.get(path), copied.get(path), bool(copied)) for path in {*here, *there}}
    return [Difference(path, state) for path, state in sorted(states.items()) if state]


def _state(here: str | None, there: str | None, copied: str | None, stamped: bool) -> State | None:
    if here == there:
        return None
    if there is None:
        return State.REMOVED if here == copied else State.NEW
    if here is None:
        return State.OBSOLETE if copied else None
    if not stamped:
        return State.DIFFERENT
    if here == copied:
        return State.EDITED
    return State.OLDER if there == copied else State.CONFLICT


def lines(ours: Path, copy: Path, path: str, version: str) -> Iterator[str]:
    """What would have to change in a file of the copy for it to be the worker's own, as a unified diff."""
    before, after = (_text(folder / path) for folder in (copy, ours))
    if before is None or after is None:
        yield f"Binary files {copy / path} and {ours / path} differ\n"
        return
    named = (str(copy / path), f"{ours / path} ({version})")
    for line in difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), *named):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _text(path: Path) -> str | None:
    """A file's text, "" for a file that is not there; None for one that is not text. Raises OSError."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        return None
