# SPDX-License-Identifier: Apache-2.0
"""One connection of gear's to a server, as gear's own is not: with TLS that checks the name, and never a busy loop.

gear (0.16) connects without a time limit and compares no host name with the certificate. It tries again every 2 s for
ever, without any pause when a server takes connections and ends them at once, reads what is no packet for ever, and
lets a thread write to a TLS socket while another reads from it, which OpenSSL does not allow.
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
"""How long each step of connecting may take."""

CALM = 2.0
"""A connection that has lasted for so many seconds is one that the server has taken."""

FIRST, LONGEST = 1.0, 30.0
"""Seconds between the first two tries to connect, and at most between later ones; each is cut by up to a half."""

_KEEPALIVE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4}
_TLS_HINT = "perhaps it wants TLS"


class Pace:
    """What connections to one server share: once one has reached the server, those that had not try at once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.arrivals = 0

    def arrived(self) -> None:
        """The server has answered."""
        with self._changed:
            self.arrivals += 1
            self._changed.notify_all()

    def wake(self) -> None:
        """Let those that wait look at `running` again."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, seconds: float, seen: int | None, running: Callable[[], bool]) -> None:
        """Wait, but no longer than while `running`, or `arrivals` is what was `seen` (None: whatever it is)."""
        with self._changed:
            self._changed.wait_for(lambda: not running() or seen not in (None, self.arrivals), seconds)


class Link(gear.Connection):  # type: ignore[misc]
    """A connection that says what is wrong with it, and knows when to try again."""

    def __init__(
        self, host: str, port: int, client_id: str, files: tls.Files | None, pace: Pace | None = None
    ) -> None:
        self._files, self.pace = files, pace or Pace()
        self._tries = 0  # since the last connection that has lasted
        self._seen = 0
        self._trouble = ""
        self._since = -CALM
        self._answered = False
        super().__init__(host, port, client_id=client_id)

    @property
    def trouble(self) -> str:
        """Why there is no connection although a server listens there; ""  where that is not so."""
        return "" if self.connected and time.monotonic() - self._since > CALM else self._trouble

    def wait(self, running: Callable[[], bool]) -> None:
        """Wait until it is time for the next try, or no longer `running`.

        The first one after a connection that has lasted is due at once, the others with increasing back-off. Whom the
        server takes and drops waits to the end: that another was answered says nothing about him.
        """
        taken = bool(self.connected)  # gear leaves it so until it disconnects
        if taken and time.monotonic() - self._since >= CALM:
            self._tries = 0
        self.disconnect()
        if self._tries:
            longest = min(LONGEST, FIRST * 2 ** min(self._tries - 1, 16))
            self.pace.wait(longest * random.uniform(0.5, 1.0), None if taken else self._seen, running)  # noqa: S311

    def connect(self) -> None:
        """Connect; gear.ConnectionError when that fails."""
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
            if not self._answered:
                self._answered = True
                self.pace.arrived()
            self._trouble = ""
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


class Returning:
    """What makes gear's clients try again at the pace of their `Link`, and end at once also while they wait for it."""

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
    """Give gear's `client`, which is `Returning`, its one connection; it connects, and connects again, by itself."""
    made = Link(host, port, client.client_id.decode(), files, pace)
    with client.connections_condition:
        client.inactive_connections.append(made)
        client.connections_condition.notify_all()
    return made
