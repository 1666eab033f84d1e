# SPDX-License-Identifier: Apache-2.0
"""An operator's copy of the playbooks: which version it was made from, and which files in it are out of date.

`th init` writes a stamp into the copy: the version, and a digest of each original file. It distinguishes the
operator's edits from the changes in a later version.
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
"""The folders and files that are copied."""
STAMP = ".turbo-hipster.json"
"""The file in a copy that records what it was made from."""


class State(enum.Enum):
    """How a file in a copy compares with the worker's own file, and with the original that was copied."""

    OLDER = "changed in this version; not edited in the copy"
    CONFLICT = "changed in this version, and edited in the copy"
    NEW = "new in this version"
    OBSOLETE = "not in this version any more"
    EDITED = "edited in the copy"
    REMOVED = "removed from the copy"
    DIFFERENT = "differs; the copy has no stamp, so it is not known on which side it was changed"


BEHIND = {State.OLDER, State.CONFLICT, State.NEW, State.OBSOLETE, State.DIFFERENT}
"""States of files that may lack changes made in this version."""


@dataclass(frozen=True)
class Difference:
    """A file that differs between a copy and the worker's own: its path relative to both folders, and its state."""

    path: str
    state: State


@dataclass(frozen=True)
class Stamp:
    """What a copy was made from: the version, and the SHA-256 of each file by path; both are empty without a stamp."""

    version: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Stamp:
        """Read the stamp of a copy; returns an empty one if it is missing or unusable. Never raises."""
        try:
            document = json.loads((folder / STAMP).read_text("utf-8"))
            files = {str(path): str(digest) for path, digest in document["files"].items()}
            return cls(str(document["version"]), files)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def write(self, folder: Path) -> None:
        """Write the stamp into a copy. Raises OSError."""
        document = {"version": self.version, "files": dict(self.files)}
        (folder / STAMP).write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file in PARTS, by its path relative to the folder. Raises OSError."""
    found = {}
    for part in PARTS:
        top = folder / part
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and "__pycache__" not in path.parts:
                found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def compare(ours: Path, copy: Path) -> list[Difference]:
    """The files in a copy that differ from the worker's own, sorted by path. Files that the operator has added are not
    differences. Raises OSError."""
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
    """The unified diff from a file in the copy to the worker's own."""
    before, after = (_text(folder / path) for folder in (copy, ours))
    if before is None or after is None:
        yield f"Binary files {copy / path} and {ours / path} differ\n"
        return
    named = (str(copy / path), f"{ours / path} ({version})")
    for line in difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), *named):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _text(path: Path) -> str | None:
    """The text of a file; "" if it does not exist, None if it is not text. Raises OSError."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        return None
