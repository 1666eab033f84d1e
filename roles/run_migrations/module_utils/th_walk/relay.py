# SPDX-License-Identifier: Apache-2.0
"""The only way out of a walk's box when a dataset is on an external server: a socket that leads to that server alone.

Code in the box cannot choose the destination. The traffic is not kept, and encrypted if the server supports it.
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
from ansible.module_utils.th_server.connection import tls_context
from ansible.module_utils.th_server.mariadb import Server
from ansible.module_utils.th_server.private_server import SOCKET_PATH_LIMIT
from ansible.module_utils.th_walk.encryption import CHUNK, Channel, logged_in

CONNECT_PATIENCE = 10.0
"""Seconds to connect to the server, and to establish TLS."""

_JOIN_PATIENCE = 5.0


class Way:
    """How a relay reaches `host` and `port`: as the client speaks, with no protocol of its own."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    def connect(self) -> socket.socket:
        """A new connection. Raises OSError."""
        outside = socket.create_connection((self._host, self._port), CONNECT_PATIENCE)
        outside.settimeout(None)
        # small statements and their results must not be delayed
        outside.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return outside

    def meet(self, inside: socket.socket, outside: socket.socket) -> Channel:
        """Where a client's data goes once the two connections are there. Raises OSError."""
        return outside


class EncryptedWay(Way):
    """The same to a database server, encrypted if the server supports it; verified with a CA's file, `ca`."""

    def __init__(self, host: str, port: int, ca: str) -> None:
        super().__init__(host, port)
        self._context = tls_context(ca)

    def meet(self, inside: socket.socket, outside: socket.socket) -> Channel:
        """Let the client log in."""
        return logged_in(inside, outside, self._context, self._host, CONNECT_PATIENCE)


class SocketWay(Way):
    """The same to a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("", 0)
        self._path = path

    def connect(self) -> socket.socket:
        """A new connection. Raises OSError."""
        outside = socket.socket(socket.AF_UNIX)
        try:
            outside.connect(str(self._path))
        except OSError:
            outside.close()
            raise
        return outside


class Relay:
    """A unix socket `path` from which a `way` leads on; a context manager, closed with all its connections.

    The socket is in `folder` if the path is short enough. Without a folder it is a free `port` of 127.0.0.1 instead.
    `most` is how many connections may be open at a time (0: no limit); further ones are closed at once.
    """

    def __init__(self, way: Way, most: int, folder: Path | None) -> None:
        self._way, self._most, self._folder = way, most, folder
        self.path, self.port = Path(), 0
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
        if self._folder is None:
            self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            self.port = self._listener.getsockname()[1]
            return
        self.path = self._folder / "relay.sock"
        if len(os.fsencode(self.path)) > SOCKET_PATH_LIMIT:
            folder = short_folder()
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self.path = folder / "relay.sock"
        self.path.unlink(missing_ok=True)
        self._listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        self._listener.bind(str(self.path))
        stack.callback(self.path.unlink, missing_ok=True)

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
            with inside, self._way.connect() as outside:
                with self._lock:
                    self._open |= {inside, outside}
                try:
                    far = self._way.meet(inside, outside)
                    back = threading.Thread(target=_pump, args=(far, inside), daemon=True)
                    back.start()
                    _pump(inside, far)
                    back.join()
                finally:
                    with self._lock:
                        self._open -= {inside, outside}
        except OSError:
            pass  # the server cannot be reached: the client sees its connection closed
        finally:
            with self._lock:
                self._count -= 1


@contextlib.contextmanager
def reached(server: Server, sandbox: Settings, by_port: bool = False) -> Iterator[Mapping[str, str]]:
    """Where the project's code reaches a server, as in `Server.address`: through a relay where that takes a network.

    With `by_port` the project asks for host and port. In a box th_forward.py opens that port; without a box it is
    opened here.
    """
    address, most = server.address, sandbox.database.connections
    opens = by_port and sandbox.kind == "none"
    if "socket" in address and not opens:
        yield address
        return
    way = SocketWay(Path(server.socket)) if server.socket else EncryptedWay(server.host, server.port, server.ssl_ca)
    with Relay(way, 0 if server.socket else most, None if opens else Path(server.folder)) as relay:
        if opens:
            yield {"host": "127.0.0.1", "port": str(relay.port), **({"socket": server.socket} if server.socket else {})}
        else:
            yield {"socket": str(relay.path)}


def _pump(source: Channel, target: Channel) -> None:
    """Forward data until one side has ended; then both connections are shut down."""
    buffer = memoryview(bytearray(CHUNK))
    with contextlib.suppress(OSError):
        while size := source.recv_into(buffer):
            target.sendall(buffer[:size])
    _shut(source)
    _shut(target)


def _shut(one: Channel) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
