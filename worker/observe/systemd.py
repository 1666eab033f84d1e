# SPDX-License-Identifier: Apache-2.0
"""What systemd is notified of, as sd_notify(3) says; nothing, where it is not systemd that has started us."""

import logging
import math
import os
import socket
import time
from collections.abc import MutableMapping

log = logging.getLogger(__name__)

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Manager:
    """The service's manager.

    The variables that tell of it are taken out of `environment`: no process of a job should speak for the worker.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        address, usec, pid = (environment.pop(name, "") for name in _VARIABLES)
        # a leading @ stands for the zero byte of an abstract socket
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watched = usec.isdecimal() and int(usec) > 0 and pid in ("", str(os.getpid()))
        self._patience = int(usec) / 1e6 if self._watched else 0.0
        self._status = ""
        self._failed = False
        self._fed = 0.0

    @property
    def interval(self) -> float:
        """The seconds after which it wants to hear that all is well: half of its patience; infinite, if it does not."""
        return self._patience / 2 if self._watched else math.inf

    def ready(self) -> None:
        """The worker has started, or has read again what it was told to."""
        self._send("READY=1")

    def reloading(self) -> None:
        """It reads something again; `ready` says when that is over."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """It ends, and has the whole of the manager's patience for that."""
        self._send("STOPPING=1\nWATCHDOG=1")

    def status(self, text: str) -> None:
        """What it is doing, in one line, for `systemctl status`; sent when it has changed."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={' '.join(text.split())}")

    def alive(self) -> None:
        """All is well. Call it as often as you like: it is sent when half of the patience is over."""
        now = time.monotonic()
        if now - self._fed >= self.interval * 0.9:
            self._fed = now
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if self._address:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                    channel.settimeout(1.0)
                    channel.sendto(text.encode(), self._address)
            except OSError as error:
                # it must not end the worker, and once is enough to find it
                log.log(logging.DEBUG if self._failed else logging.WARNING, "systemd cannot be notified: %s", error)
                self._failed = True
