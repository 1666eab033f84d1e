# SPDX-License-Identifier: Apache-2.0
"""Reads the lines of a log file, in any supported compression and encoding, in constant memory."""

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
"""The maximum length of a line, in bytes; the rest of the line is dropped."""

MAX_LOG = 16 << 30
"""The maximum number of uncompressed bytes read from one log, as a guard against decompression bombs."""

_CHUNK = 256 * 1024
_MEMORY = 256 << 20  # bytes that a decompressor may use
_MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}
_WIDE = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


@dataclass
class Condition:
    """How reading a log file went. `cut` is why it could not be read to its end, or ""; `bytes` counts uncompressed
    bytes."""

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
    """Open the log of that name; ``-`` is stdin. Raises UsageError if it cannot be opened."""
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = open(name, "rb")  # noqa: SIM115 - errors while it is used must not be caught here
    except OSError as error:
        raise UsageError(f"{name}: cannot be read ({error.strerror})") from error
    with stream:
        yield stream


def lines(stream: IO[bytes], condition: Condition) -> Iterator[bytes]:
    """The lines of a log in UTF-8, without line ends. Compression is detected by content, not by name.

    If a log is truncated or damaged, yields the lines before that, and `condition` says so. Raises UsageError if it
    cannot be decompressed on this machine.
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
    """zlib's decompressor with the interface of those of bz2 and lzma."""

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
    """Decompress all members of a file, at most one chunk at a time."""
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
    """Decompress with the program zstd. It reads from the open file, which must be seekable, so not from stdin."""
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
        except BaseException:  # such as GeneratorExit, when the caller stops reading
            process.kill()
            raise
    if process.returncode:
        condition.cut = "the zstd file breaks off or is damaged"
