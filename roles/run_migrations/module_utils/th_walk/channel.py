# SPDX-License-Identifier: Apache-2.0
"""The conversation with a walking process: one JSON object a line, of limited size whatever that process sends."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.th_walk.walkers import TICK

MESSAGE_LIMIT = 4 << 20
_CHUNK = 65536


class Channel:
    """The measuring side's end of the conversation; `other` is the end to hand to the process, and to close here then.

    `on_tick` is called about once a second while waiting for a message, also when the other side never stops sending.
    """

    def __init__(self, on_tick: Callable[[], object]) -> None:
        self._socket, self.other = socket.socketpair()
        self._socket.setblocking(False)
        self._on_tick, self._ticked = on_tick, time.monotonic()
        self._received = bytearray()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; that the other side has gone shows in the next `receive`."""
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            pass

    def receive(self, time_limit: float, lives: Callable[[], bool]) -> dict[str, Any] | None:
        """The next message; {} for a line that is none, None when the other side has gone. Raises TimeoutError."""
        deadline, searched = time.monotonic() + time_limit, 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            ready = select.select([self._socket], [], [], min(left, TICK))[0]
            if not ready or time.monotonic() - self._ticked >= TICK:
                self._ticked = time.monotonic()
                self._on_tick()
            if not ready and lives():
                continue
            try:
                chunk = self._socket.recv(_CHUNK)
            except OSError:  # also BlockingIOError: the process has gone, although a child of it still holds the socket
                chunk = b""
            if not chunk or searched > MESSAGE_LIMIT:
                return None
            self._received += chunk
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return {}
        return message if isinstance(message, dict) else {}


def text(value: object, limit: int) -> str:
    """The beginning of a text from the other side; "" for anything else."""
    return value[:limit] if isinstance(value, str) else ""


def line_number(value: object) -> int:
    """A line number from the other side; 0 for anything else."""
    return value if isinstance(value, int) and 0 < value < 1 << 31 else 0
