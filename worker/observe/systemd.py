# SPDX-License-Identifier: Apache-2.0
"""Notifications to systemd, as in sd_notify(3); none are sent if systemd has not started this process."""

import logging
import math
import os
import socket
import time
from collections.abc import MutableMapping

log = logging.getLogger(__name__)

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Manager:
    """The service manager, usually systemd.

    Its variables are removed from `environment`, so that no process of a job can send notifications for the worker.
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
        """Seconds between two watchdog messages, half of the watchdog's timeout; infinite without a watchdog."""
        return self._patience / 2 if self._watched else math.inf

    def ready(self) -> None:
        """Notify that the worker has started, or has reloaded its configuration."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Notify that the worker is reloading its configuration; `ready` marks the end."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Notify that the worker is stopping; this restarts the watchdog's timeout."""
        self._send("STOPPING=1\nWATCHDOG=1")

    def status(self, text: str) -> None:
        """Send a one-line status for `systemctl status`, if it has changed."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={' '.join(text.split())}")

    def alive(self) -> None:
        """Tell the watchdog that the worker is alive. May be called often: a message is sent once per `interval`."""
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
                # this must not end the worker; only the first failure is a warning
                log.log(logging.DEBUG if self._failed else logging.WARNING, "systemd cannot be notified: %s", error)
                self._failed = True
