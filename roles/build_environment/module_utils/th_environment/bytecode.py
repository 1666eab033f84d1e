# SPDX-License-Identifier: Apache-2.0
"""Bytecode of the code that a change is based on, for what is the same file in the change's own environment.

Compiling what a walk imports takes longer than most walks. Python looks for bytecode by the path of the source, and
takes it if its header has the source's modification time and size (PEP 552, timestamp-based). So bytecode of a file
with the same content elsewhere is good once it has the new path, and the new time in its header.

What a build has left is hostile: a source is read only if it is a regular file below the folder where it is expected,
without a link on the way. Nothing is linked, because a walk of the change may write to its bytecode.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

HEADER = 16
"""Bytes of the header: magic number, flags, modification time and size of the source, each 32 bits little-endian."""
TIMESTAMP_BASED = bytes(4)
"""The flags of bytecode that is compared with its source by time and size."""
SIZE_LIMIT = 16 << 20
"""Larger files are left out."""


def carry(merged: Path, to: Path, places: Mapping[Path, Path], version: str) -> int:
    """Copy bytecode from one folder to another, which must not exist; both are for PYTHONPYCACHEPREFIX.

    `places` has the folders of sources that `merged` knows, and where the same sources are expected now. `version` is
    that of Python, such as 3.11.7. Returns how many files were copied.
    """
    ending = f".cpython-{''.join(version.split('.')[:2])}.pyc"
    count = 0
    for compiled, source, now, names in _folders(str(merged), places):
        for name in (name for name in names if name.endswith(ending)):
            file = f"{name.removesuffix(ending)}.py"
            content = _renewed(f"{compiled}/{name}", f"{source}/{file}", f"{now}/{file}")
            count += _write(f"{to}{now}", name, content) if content else 0
    return count


def _folders(merged: str, places: Mapping[Path, Path]) -> Iterator[tuple[str, str, str, list[str]]]:
    """Folders of bytecode, each with that of its sources, that where the same sources are expected now, and its
    files."""
    for folder, _, names in os.walk(merged):
        source = folder.removeprefix(merged)
        old = next((str(one) for one in places if source == str(one) or source.startswith(f"{one}/")), None)
        if names and old is not None:
            new = str(places[Path(old)])
            now = new + source.removeprefix(old)
            if os.path.realpath(now) == os.path.realpath(new) + source.removeprefix(old):  # no link on the way
                yield folder, source, now, names


def _renewed(compiled: str, source: str, now: str) -> bytes:
    """The bytecode of `source` with a header for `now`, if it is valid and both are the same; otherwise nothing."""
    code, before = _read(compiled), _read(source)
    after = before if source == now else _read(now)
    if code is None or before is None or after is None or before[1] != after[1]:
        return b""
    valid = code[1][4:HEADER] == TIMESTAMP_BASED + before[0]
    return code[1][:4] + TIMESTAMP_BASED + after[0] + code[1][HEADER:] if valid else b""


def _write(folder: str, name: str, content: bytes) -> bool:
    """Write a file; False if its path is too long, and then Python finds none there, either."""
    try:
        if not os.path.isdir(folder):
            os.makedirs(folder, mode=0o700)
        Path(folder, name).write_bytes(content)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:  # the disk is full, and the file may be cut
            raise
        return False
    return True


def _read(path: str) -> tuple[bytes, bytes] | None:
    """The time and size of a regular file as they are in a header, and its content; None for anything else, for what is
    too large, and for what cannot be read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_size > SIZE_LIMIT:
            return None
        stamp = b"".join((number & 0xFFFFFFFF).to_bytes(4, "little") for number in (int(about.st_mtime), about.st_size))
        return stamp, os.read(handle, about.st_size)
    finally:
        os.close(handle)
