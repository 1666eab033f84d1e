# SPDX-License-Identifier: Apache-2.0
"""Checks whether the Gearman server serves all connections of the worker, and logs changes."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from worker.gearman.client import Receiver
from worker.gearman.connection import LONGEST
from worker.status import GearmanState

log = logging.getLogger(__name__)

ABSENT_SECONDS = 3.0
"""Seconds; a shorter absence of the server, such as a restart, is not logged."""


class Presence:
    """The availability of the server at `host` and `port` to the worker's connections."""

    def __init__(self, host: str, port: int, tls: bool) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._connected = False
        self._since = time.time()
        self._absent_since = time.monotonic()
        self._reported: str | None = None  # the logged reason for its absence

    def state(self, receivers: Sequence[Receiver]) -> GearmanState:
        """The current state."""
        connected = all(receiver.connected for receiver in receivers)
        trouble = next((receiver.trouble for receiver in receivers if receiver.trouble), "")
        if connected != self._connected:
            self._connected, self._since = connected, time.time()
        return GearmanState(self._host, self._port, self._tls, connected, trouble, self._since)

    def check(self, receivers: Sequence[Receiver]) -> None:
        """Log once when the server is absent or does not serve the worker, and when it is back."""
        state = self.state(receivers)
        if state.connected:
            if self._reported is not None:
                log.info("the Gearman server %s:%d is there again", self._host, self._port)
            self._absent_since, self._reported = time.monotonic(), None
            return
        absent = time.monotonic() - self._absent_since > ABSENT_SECONDS
        if state.trouble not in ("", self._reported) or (absent and self._reported is None):
            why = f": {state.trouble}" if state.trouble else ""
            text = "no Gearman server at %s:%d%s; trying again with increasing back-off, up to every %d s"
            log.error(text, self._host, self._port, why, LONGEST)
            self._reported = state.trouble
