# SPDX-License-Identifier: Apache-2.0
"""The lines of a log file, however it was compressed or encoded, in constant memory."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import io
import lzma
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Protocol

from worker.errors import UsageError

MAX_LINE = 16 * 1024
"""Bytes that are kept of one line; the rest of it is dropped."""

MAX_LOG = 16 << 30
"""Bytes that are read of one log, after unpacking: so that a small file that unpacks to anything comes to an end."""

_CHUNK = 256 * 1024
_MEMORY = 256 << 20  # what unpacking may take
_MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}
_WIDE = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


@dataclass
class Condition:
    """What is to say of a log as a file. `cut` is why not all of it could be read, or ""; `bytes` are unpacked."""

    bytes: int = 0
    cut: str = ""


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


@contextlib.contextmanager
def opened(name: str) -> Iterator[IO[bytes]]:
    """The log of that name; ``-`` is stdin. Raises UsageError when it cannot be opened."""
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = open(name, "rb")  # noqa: SIM115 - what is raised while it is used is not about opening it
    except OSError as error:
        raise UsageError(f"{name}: cannot be read ({error.strerror})") from error
    with stream:
        yield stream


def lines(stream: IO[bytes], condition: Condition) -> Iterator[bytes]:
    """The lines of a log in UTF-8, without their ends. A compressed log is known by its content, not by its name.

    A log that breaks off or is damaged gives what comes before; `condition` says so. Raises UsageError for one that
    cannot be unpacked here at all.
    """
    rest, dropping = b"", False
    for chunk in _decoded(_unpacked(stream, condition), condition):
        pieces = (rest + chunk).split(b"\n")
        rest = pieces.pop()
        for piece in pieces:
            if not dropping:
                yield piece[:MAX_LINE].rstrip(b"\r")
            dropping = False
        if len(rest) > MAX_LINE:
            if not dropping:
                yield rest[:MAX_LINE]
            rest, dropping = b"", True
    if rest and not dropping:
        yield rest.rstrip(b"\r")


def _decoded(chunks: Iterator[bytes], condition: Condition) -> Iterator[bytes]:
    decoder: codecs.IncrementalDecoder | None = None
    for chunk in chunks:
        if not condition.bytes:
            if chunk[:2] in _WIDE:
                decoder = codecs.getincrementaldecoder(_WIDE[chunk[:2]])("replace")
                chunk = chunk[2:]
            chunk = chunk.removeprefix(codecs.BOM_UTF8)
        condition.bytes += len(chunk)
        yield decoder.decode(chunk).encode("utf-8", "replace") if decoder else chunk
        if condition.bytes > MAX_LOG:
            condition.cut = f"only the first {condition.bytes:,} bytes were read"
            return


def _unpacked(stream: IO[bytes], condition: Condition) -> Iterator[bytes]:
    first = stream.read(_CHUNK)
    kind = next((kind for magic, kind in _MAGIC.items() if first.startswith(magic)), "")
    source = _chained(first, stream)
    if kind == "zstd":
        yield from _zstd(first, stream, condition)
    elif kind:
        try:
            yield from _inflated(kind, source, condition)
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            condition.cut = f"the {kind} file is damaged ({error})"
    else:
        yield from source


def _chained(first: bytes, stream: IO[bytes]) -> Iterator[bytes]:
    chunk = first
    while chunk:
        yield chunk
        chunk = stream.read(_CHUNK)


class _Gunzip:
    """zlib's decompressor with the interface of bz2's and lzma's."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _unpacker(kind: str) -> _Unpacker:
    if kind == "gzip":
        return _Gunzip()
    return bz2.BZ2Decompressor() if kind == "bzip2" else lzma.LZMADecompressor(memlimit=_MEMORY)


def _inflated(kind: str, source: Iterator[bytes], condition: Condition) -> Iterator[bytes]:
    """All members of a compressed file, never more than a chunk at a time."""
    unpacker = _unpacker(kind)
    for data in source:
        while True:
            if unpacker.eof:
                data = unpacker.unused_data + data if data else unpacker.unused_data
                if not data.strip(b"\0"):
                    break
                unpacker = _unpacker(kind)
            unpacked = unpacker.decompress(data, _CHUNK)
            data = b""
            if unpacked:
                yield unpacked
            elif not unpacker.eof:
                break
    if not unpacker.eof:
        condition.cut = f"the {kind} file breaks off"


def _zstd(first: bytes, stream: IO[bytes], condition: Condition) -> Iterator[bytes]:
    """What the program zstd makes of it: the standard library cannot. It reads the file itself, hence not stdin."""
    try:
        stream.seek(0)
        number = stream.fileno()
    except (OSError, io.UnsupportedOperation) as error:
        raise UsageError("a log on stdin that is packed by zstd: pipe it through zstd -dc") from error
    try:
        process = subprocess.Popen(
            ["zstd", "-dcq", f"--memory={_MEMORY >> 20}MB"],
            stdin=number,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise UsageError("a log that is packed by zstd: install the program zstd, or unpack the log") from error
    with process:
        assert process.stdout
        try:
            yield from _chained(process.stdout.read(_CHUNK), process.stdout)
        except BaseException:  # who reads has had enough
            process.kill()
            raise
    if process.returncode:
        condition.cut = "the zstd file breaks off or is damaged"
