# SPDX-License-Identifier: Apache-2.0
"""The one way out of a walk's box, where a dataset is on an external server: a socket that leads to that address alone.

Who is in the box cannot choose where it leads. What passes is neither read nor kept.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from pathlib import Path
from typing import Self

CHUNK = 256 << 10
CONNECT_PATIENCE = 10.0
"""Seconds to reach the server in."""

_JOIN_PATIENCE = 5.0


class Relay:
    """A unix socket `path` that is forwarded to `host` and `port`; a context manager, closed with all its connections.

    `most` is how many connections there may be at one time; further ones are closed at once.
    """

    def __init__(self, host: str, port: int, most: int) -> None:
        self._address, self._most = (host, port), most
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        # in a folder of its own with a short name: a socket's path has at most 107 bytes (unix(7))
        self._folder = tempfile.TemporaryDirectory(prefix="th-relay-")
        self.path = Path(self._folder.name) / "mysql.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            self._listener.bind(str(self.path))
            self._listener.listen(128)
        except BaseException:
            self._listener.close()
            self._folder.cleanup()
            raise
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        _shut(self._listener)
        self._accepting.join(_JOIN_PATIENCE)
        self._listener.close()
        with self._lock:
            for one in self._open:
                _shut(one)
        self._folder.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                inside, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                full = len(self._open) >= 2 * self._most > 0
            if full:
                inside.close()
            else:
                threading.Thread(target=self._serve, args=(inside,), daemon=True).start()

    def _serve(self, inside: socket.socket) -> None:
        with (
            inside,
            contextlib.suppress(OSError),
            socket.create_connection(self._address, CONNECT_PATIENCE) as outside,
        ):
            outside.settimeout(None)
            # small statements and their answers are not to wait for more
            outside.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {inside, outside}
            try:
                back = threading.Thread(target=_pump, args=(outside, inside), daemon=True)
                back.start()
                _pump(inside, outside)
                back.join()
            finally:
                with self._lock:
                    self._open -= {inside, outside}


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes, until one side has no more to say or is gone; both are told then."""
    buffer = memoryview(bytearray(CHUNK))
    with contextlib.suppress(OSError):
        while size := source.recv_into(buffer):
            target.sendall(buffer[:size])
    _shut(source)
    _shut(target)


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
