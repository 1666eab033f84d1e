# SPDX-License-Identifier: Apache-2.0
"""The only way out of a walk's box when a dataset is on an external server: a socket that leads to that server alone.

Code in the box cannot choose the destination. The traffic is neither read nor kept.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from ansible.module_utils.th_core.mark import short_folder
from ansible.module_utils.th_sandbox.box import Settings
from ansible.module_utils.th_server.mariadb import Server
from ansible.module_utils.th_server.private_server import SOCKET_PATH_LIMIT

CHUNK = 256 << 10
CONNECT_PATIENCE = 10.0
"""Seconds to connect to the server."""

_JOIN_PATIENCE = 5.0


class Relay:
    """A unix socket `path` that is forwarded to `host` and `port`; a context manager, closed with all its connections.

    The socket is in `folder` if the path is short enough. `most` is how many connections may be open at a time (0: no
    limit); further ones are closed at once.
    """

    def __init__(self, folder: Path, host: str, port: int, most: int) -> None:
        self._address, self._most = (host, port), most
        self.path = folder / "relay.sock"
        self._open: set[socket.socket] = set()
        self._count = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._listen(stack)
            self._listener.listen(128)
            self._made = stack.pop_all()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def _listen(self, stack: contextlib.ExitStack) -> None:
        if len(os.fsencode(self.path)) > SOCKET_PATH_LIMIT:
            folder = short_folder()
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self.path = folder / "relay.sock"
        self.path.unlink(missing_ok=True)
        self._listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        self._listener.bind(str(self.path))
        stack.callback(self.path.unlink, missing_ok=True)

    def _reach(self) -> socket.socket:
        outside = socket.create_connection(self._address, CONNECT_PATIENCE)
        outside.settimeout(None)
        # small statements and their results must not be delayed
        outside.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return outside

    def __exit__(self, *_: object) -> None:
        _shut(self._listener)
        self._accepting.join(_JOIN_PATIENCE)
        with self._lock:
            for one in self._open:
                _shut(one)
        self._made.close()

    def _accept(self) -> None:
        while True:
            try:
                inside, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                full = self._count >= self._most > 0
                self._count += not full
            if full:
                inside.close()
            else:
                threading.Thread(target=self._serve, args=(inside,), daemon=True).start()

    def _serve(self, inside: socket.socket) -> None:
        try:
            with inside, self._reach() as outside:
                with self._lock:
                    self._open |= {inside, outside}
                back = threading.Thread(target=_pump, args=(outside, inside), daemon=True)
                back.start()
                _pump(inside, outside)
                back.join()
                with self._lock:
                    self._open -= {inside, outside}
        except OSError:
            pass  # the server cannot be reached: the client sees its connection closed
        finally:
            with self._lock:
                self._count -= 1


class PortRelay(Relay):
    """A free `port` of 127.0.0.1 that is forwarded to a unix socket, without a limit on connections."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.parent, "", 0, 0)
        self._socket_path = path
        self.port = 0

    def _listen(self, stack: contextlib.ExitStack) -> None:
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.port = self._listener.getsockname()[1]

    def _reach(self) -> socket.socket:
        outside = socket.socket(socket.AF_UNIX)
        try:
            outside.connect(str(self._socket_path))
        except OSError:
            outside.close()
            raise
        return outside


@contextlib.contextmanager
def reached(server: Server, sandbox: Settings, by_port: bool = False) -> Iterator[Mapping[str, str]]:
    """Where a walk's box reaches a server, as in `Server.address`: through a relay where that would take a network.

    With `by_port` the project asks for host and port. In a box th_forward.py opens that port; without a box it is
    opened here.
    """
    address = server.address
    if by_port and "socket" in address and sandbox.kind == "none":
        with PortRelay(Path(address["socket"])) as relay:
            yield {**address, "host": "127.0.0.1", "port": str(relay.port)}
        return
    if "socket" in address or sandbox.kind == "none":
        yield address
        return
    most = sandbox.database.connections
    with Relay(Path(server.folder), address["host"], int(address["port"]), most) as relay:
        yield {"socket": str(relay.path)}


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Forward data until one side has ended; then both connections are shut down."""
    buffer = memoryview(bytearray(CHUNK))
    with contextlib.suppress(OSError):
        while size := source.recv_into(buffer):
            target.sendall(buffer[:size])
    _shut(source)
    _shut(target)


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
