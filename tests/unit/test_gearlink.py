# SPDX-License-Identifier: Apache-2.0
"""When a connection is tried again."""

import socket
import threading
import time
from collections.abc import Callable

import gear
import pytest

from worker.gearman import connection
from worker.gearman.connection import Link, Pace

HOST = "127.0.0.1"


class Recorded(Pace):
    """Waits for nothing, and keeps how long it would have been."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[tuple[float, int | None]] = []

    def wait(self, seconds: float, seen: int | None, running: Callable[[], bool]) -> None:
        self.waits.append((seconds, seen))


def nobody() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def attempt(link: Link) -> None:
    link.wait(lambda: True)
    with pytest.raises(gear.ConnectionError):
        link.connect()


def test_the_first_try_is_due_at_once_and_the_others_ever_more_seldom() -> None:
    pace = Recorded()
    link = Link(HOST, nobody(), "test", None, pace)
    for _ in range(8):
        attempt(link)
    waits = [seconds for seconds, _ in pace.waits]
    longest = [1, 2, 4, 8, 16, 30, 30]
    assert [most / 2 <= wait <= most for wait, most in zip(waits, longest, strict=True)] == [True] * 7
    assert len({wait / most for wait, most in zip(waits, longest, strict=True)}) > 3, "not all workers at once"
    assert link.trouble == ""


def test_a_connection_that_has_lasted_begins_anew_and_one_that_has_not_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "CALM", 3600.0)
    pace = Recorded()
    with socket.create_server((HOST, 0)) as listener:
        link = Link(HOST, listener.getsockname()[1], "test", None, pace)
        for _ in range(3):
            link.wait(lambda: True)
            link.connect()
        assert [(0.5 <= first <= 1, seen) for first, seen in pace.waits[:1]] == [(True, None)]
        assert 1 <= pace.waits[1][0] <= 2
        monkeypatch.setattr(connection, "CALM", 0.0)
        link.wait(lambda: True)
        assert len(pace.waits) == 2
        assert not link.connected


class TestPace:
    def wait(self, pace: Pace, seen: int | None, running: Callable[[], bool] = lambda: True) -> threading.Thread:
        thread = threading.Thread(target=pace.wait, args=(3600.0, seen, running), daemon=True)
        thread.start()
        return thread

    def test_who_has_found_nobody_tries_once_another_is_answered(self) -> None:
        pace = Pace()
        waiting, taken_before = self.wait(pace, pace.arrivals), self.wait(pace, None)
        time.sleep(0.05)
        assert waiting.is_alive()
        pace.arrived()
        waiting.join(300)
        assert not waiting.is_alive()
        assert taken_before.is_alive(), "else connections that a server drops would wake each other for ever"
        late = self.wait(pace, 0)
        late.join(300)
        assert not late.is_alive(), "it was answered while the other was still trying"

    def test_who_ends_does_not_wait(self) -> None:
        pace, running = Pace(), [True]
        waiting = self.wait(pace, 0, lambda: bool(running))
        running.clear()
        pace.wake()
        waiting.join(300)
        assert not waiting.is_alive()
