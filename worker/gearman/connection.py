# SPDX-License-Identifier: Apache-2.0
"""A connection for gear that, unlike gear's own, verifies the host name with TLS and never runs into a busy loop.

gear (0.16) connects without a timeout and does not compare the host name with the certificate. It retries every 2 s
forever, and without any pause if a server accepts connections and closes them at once. It never stops reading data that
is not a packet, and lets one thread write to a TLS socket while another reads from it, which OpenSSL does not allow.
"""

from __future__ import annotations

import contextlib
import logging
import random
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import gear

from worker.config import tls

SECONDS = 10.0
"""Timeout of each step of connecting."""

CALM = 2.0
"""Seconds after which a connection counts as accepted by the server."""

FIRST, LONGEST = 1.0, 30.0
"""Back-off: the seconds between the first two attempts to connect, and the maximum between later ones; each is randomly
shortened by up to a half."""

_KEEPALIVE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4}
_TLS_HINT = "perhaps it wants TLS"


class Pace:
    """Shared by the connections to one server: once one of them succeeds, the others retry at once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.arrivals = 0

    def arrived(self) -> None:
        """Note that the server has answered."""
        with self._changed:
            self.arrivals += 1
            self._changed.notify_all()

    def wake(self) -> None:
        """Make the waiting connections check `running` again."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, seconds: float, seen: int | None, running: Callable[[], bool]) -> None:
        """Wait until `running` is false, `arrivals` is no longer `seen` (None: ignore it), or `seconds` have passed."""
        with self._changed:
            self._changed.wait_for(lambda: not running() or seen not in (None, self.arrivals), seconds)


class Link(gear.Connection):  # type: ignore[misc]
    """A connection that records why it failed, and decides when to retry."""

    def __init__(
        self, host: str, port: int, client_id: str, files: tls.Files | None, pace: Pace | None = None
    ) -> None:
        self._files, self.pace = files, pace or Pace()
        self._tries = 0  # attempts since the last lasting connection
        self._seen = 0
        self._trouble = ""
        self._since = -CALM
        self._answered = False
        super().__init__(host, port, client_id=client_id)

    @property
    def trouble(self) -> str:
        """Why there is no connection although something listens at the address; "" otherwise."""
        return "" if self.connected and time.monotonic() - self._since > CALM else self._trouble

    def wait(self, running: Callable[[], bool]) -> None:
        """Wait until it is time for the next attempt, or no longer `running`.

        After a lasting connection, the first attempt is made at once, and further ones with increasing back-off. A
        connection that the server has accepted and dropped waits the full time, even if another one was answered.
        """
        taken = bool(self.connected)  # gear does not reset it before it disconnects
        if taken and time.monotonic() - self._since >= CALM:
            self._tries = 0
        self.disconnect()
        if self._tries:
            longest = min(LONGEST, FIRST * 2 ** min(self._tries - 1, 16))
            self.pace.wait(longest * random.uniform(0.5, 1.0), None if taken else self._seen, running)  # noqa: S311

    def connect(self) -> None:
        """Connect. Raises gear.ConnectionError."""
        self._tries += 1
        self._seen = self.pace.arrivals
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
        """Send all of `data`. Errors are ignored until something was received: the reading thread finds the reason."""
        try:
            with self.send_lock:
                self.conn.sendall(data)
        except OSError:
            if self._answered:
                raise

    def sendAdminRequest(self, request: Any, timeout: float = 90) -> None:  # noqa: N802
        """Send the request and wait for the answer. Raises gear.TimeoutError on a timeout or a broken connection."""
        deadline = time.monotonic() + timeout
        self.admin_requests.append(request)
        self.sendRaw(request.getCommand())
        while not request.waitForResponse(0.05):
            if self._trouble or time.monotonic() > deadline:
                raise gear.TimeoutError

    def readPacket(self) -> Any:  # noqa: N802
        """Read a packet. Returns None, which makes gear drop the connection, if it is lost or the data is no packet."""
        packet = None
        problem = "it closed the connection without an answer"
        try:
            packet = super().readPacket()
        except (OSError, AttributeError):
            pass  # lost, or closed by another thread
        except (LookupError, struct.error):
            problem = "what answers is not a Gearman server"
        if packet:
            if not self._answered:
                self._answered = True
                self.pace.arrived()
            self._trouble = ""
        elif not self._answered and time.monotonic() - self._since < CALM:
            self._trouble = problem if self._files else f"{problem}; {_TLS_HINT}"
        return packet

    def hasPendingData(self) -> bool:  # noqa: N802
        """Whether there is buffered data that poll() does not see."""
        return bool(super().hasPendingData() or (isinstance(self.conn, ssl.SSLSocket) and self.conn.pending()))

    def _readRawBytes(self, bytes_to_read: int) -> bytes:  # noqa: N802
        channel = self.conn
        if not isinstance(channel, ssl.SSLSocket):
            return bytes(super()._readRawBytes(bytes_to_read))
        while True:
            # not while another thread sends; non-blocking, so that the lock is not held for long
            with self.send_lock:
                channel.setblocking(False)
                with contextlib.suppress(ssl.SSLWantReadError):
                    try:
                        return channel.recv(bytes_to_read)
                    finally:
                        channel.setblocking(True)
            select.select([channel], [], [])


class Returning:
    """Mixin for gear's clients: they reconnect when their `Link` allows it, and shut down at once while they wait."""

    running: bool
    active_connections: list[Link]
    inactive_connections: list[Link]
    connections_condition: threading.Condition
    log: logging.Logger

    def _doConnectLoop(self) -> None:  # noqa: N802
        while self.running:
            with self.connections_condition:
                self.connections_condition.wait_for(lambda: self.inactive_connections or not self.running)
            for lost in self.inactive_connections[:]:
                lost.wait(lambda: self.running)
            try:
                if self.running:
                    self._connectLoop()  # type: ignore[attr-defined]
            except Exception:
                self.log.exception("Exception in connect loop:")

    def _shutdown(self) -> None:
        super()._shutdown()  # type: ignore[misc]
        for lost in self.inactive_connections[:]:
            lost.pace.wake()


def link(client: Any, host: str, port: int, files: tls.Files | None, pace: Pace | None = None) -> Link:
    """Add its only connection to gear's `client`, a `Returning`; it connects and reconnects automatically."""
    made = Link(host, port, client.client_id.decode(), files, pace)
    with client.connections_condition:
        client.inactive_connections.append(made)
        client.connections_condition.notify_all()
    return made
