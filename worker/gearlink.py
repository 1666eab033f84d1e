# SPDX-License-Identifier: Apache-2.0
"""One connection of gear's to a server, as gear's own is not: with TLS that checks the name, and never a busy loop.

gear (0.16) connects without a time limit and compares no host name with the certificate. It connects again without a
pause when a server takes connections and ends them at once, reads what is no packet for ever, and lets a thread write
to a TLS socket while another reads from it, which OpenSSL does not allow.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import time
from typing import Any

import gear

from worker import tls

SECONDS = 10.0
"""How long each step of connecting may take."""

CALM = 2.0
"""A connection that has lasted for so many seconds is one that the server has taken."""

_KEEPALIVE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4}
_TLS_HINT = "perhaps it wants TLS"


class Link(gear.Connection):  # type: ignore[misc]
    """A connection that says what is wrong with it."""

    def __init__(self, host: str, port: int, client_id: str, files: tls.Files | None) -> None:
        self._files = files
        self._trouble = ""
        self._since = -CALM
        self._answered = False
        super().__init__(host, port, client_id=client_id)

    @property
    def trouble(self) -> str:
        """Why there is no connection although somebody listens there; "" where that is not so."""
        return "" if self.connected and time.monotonic() - self._since > CALM else self._trouble

    def connect(self) -> None:
        """Connect; gear.ConnectionError, after which gear waits 2 s, when that fails or comes too soon."""
        if time.monotonic() - self._since < CALM:
            raise gear.ConnectionError("the last connection was ended at once")
        try:
            channel = tls.connect(self.host, self.port, self._files, SECONDS)
        except OSError as error:
            self._trouble = str(error) if isinstance(error, tls.RefusedError) else ""
            raise gear.ConnectionError(str(error)) from error
        channel.settimeout(None)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            channel.setsockopt(socket.IPPROTO_TCP, option, value)
        self.conn = channel
        self.connected = True
        self.connect_time = time.time()
        self.input_buffer, self.need_bytes = b"", False
        self._since, self._answered = time.monotonic(), False

    def sendRaw(self, data: bytes) -> None:  # noqa: N802
        """Send all of `data`. On a connection that nothing has come on yet, a failure is left to the reader to find."""
        try:
            with self.send_lock:
                self.conn.sendall(data)
        except OSError:
            if self._answered:
                raise

    def sendAdminRequest(self, request: Any, timeout: float = 90) -> None:  # noqa: N802
        """Send it and wait for the answer; gear.TimeoutError when there is none in time, or will be none."""
        deadline = time.monotonic() + timeout
        self.admin_requests.append(request)
        self.sendRaw(request.getCommand())
        while not request.waitForResponse(0.05):
            if self._trouble or time.monotonic() > deadline:
                raise gear.TimeoutError

    def readPacket(self) -> Any:  # noqa: N802
        """The next packet, or None: for gear, the connection is lost then, also when what came is no packet."""
        packet = None
        said = "it ended the connection before it said anything"
        try:
            packet = super().readPacket()
        except (OSError, AttributeError):
            pass  # lost, or closed by another thread
        except (LookupError, struct.error):
            said = "what answers is no Gearman server"
        if packet:
            self._answered, self._trouble = True, ""
        elif not self._answered and time.monotonic() - self._since < CALM:
            self._trouble = said if self._files else f"{said}; {_TLS_HINT}"
        return packet

    def hasPendingData(self) -> bool:  # noqa: N802
        """Whether there is more to read although poll() knows of nothing."""
        return bool(super().hasPendingData() or (isinstance(self.conn, ssl.SSLSocket) and self.conn.pending()))

    def _readRawBytes(self, bytes_to_read: int) -> bytes:  # noqa: N802
        channel = self.conn
        if not isinstance(channel, ssl.SSLSocket):
            return bytes(super()._readRawBytes(bytes_to_read))
        while True:
            # Never while another thread sends, hence without waiting in here.
            with self.send_lock:
                channel.setblocking(False)
                with contextlib.suppress(ssl.SSLWantReadError):
                    try:
                        return channel.recv(bytes_to_read)
                    finally:
                        channel.setblocking(True)
            select.select([channel], [], [])


def link(client: Any, host: str, port: int, files: tls.Files | None) -> Link:
    """Give gear's `client` its one connection; it connects, and connects again, by itself."""
    made = Link(host, port, client.client_id.decode(), files)
    with client.connections_condition:
        client.inactive_connections.append(made)
        client.connections_condition.notify_all()
    return made
