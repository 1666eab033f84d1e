# SPDX-License-Identifier: Apache-2.0
"""Waiting for a state, of a machine however slow, and for loopback."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import IO, Any

import psutil

HOST = "127.0.0.1"
PATIENCE = 300.0
"""Seconds that a test waits for a state. Only a test that fails waits so long, so it suits the slowest machine."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"did not happen within {patience} s")


def read_until(stream: IO[str], text: str) -> str:
    """What a process says on `stream` up to the line that has `text` in it, which is waited for."""
    lines: list[str] = []

    def read() -> None:
        while text not in (line := stream.readline()) and line:
            lines.append(line)
        lines.append(line)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    said = "".join(lines)
    assert text in said, f"it never said {text!r}, but: {said}"
    return said


def listening(port: int) -> bool:
    """Whether somebody listens at the port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), PATIENCE):
        return True
    return False


def gone(process: psutil.Process) -> bool:
    """Whether a process has ended. What is left of one may stay for long: tests become the parents of orphans."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
