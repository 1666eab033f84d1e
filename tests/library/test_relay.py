# SPDX-License-Identifier: Apache-2.0
"""The relay of a walk whose dataset is on an external server."""

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import conftest  # noqa: F401 - ansible.module_utils knows the roles' helpers

PATIENCE = 300.0


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says all that it hears, until it hears no more."""

    def serve(one: socket.socket) -> None:
        with one:
            while heard := one.recv(1 << 16):
                one.sendall(heard)

    def accept() -> None:
        while True:
            try:
                one, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(one,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def connected(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(PATIENCE)
    client.connect(str(path))
    return client


def answer(client: socket.socket, said: bytes) -> bytes:
    """What comes back of it, as much as was said."""

    def say() -> None:
        with contextlib.suppress(OSError):  # the other side, or this one, has hung up
            client.sendall(said)

    threading.Thread(target=say, daemon=True).start()
    heard = b""
    with contextlib.suppress(ConnectionError):
        while len(heard) < len(said) and (chunk := client.recv(1 << 16)):
            heard += chunk
    return heard


@pytest.mark.parametrize("deep", [False, True], ids=["short", "long"])
def test_what_is_said_arrives_whole(tmp_path: Path, echo: int, deep: bool) -> None:
    from ansible.module_utils.th_walk.relay import Relay, Way

    folder = tmp_path / ("x" * 100 if deep else "x")
    folder.mkdir()
    said = hashlib.shake_256(b"").digest(4 << 20)
    with Relay(Way("127.0.0.1", echo), 0, folder) as relay:
        assert (relay.path.parent == folder) == (not deep)
        with connected(relay.path) as one, connected(relay.path) as other:
            assert answer(one, b"one") == b"one"
            assert answer(other, said) == said
            other.close()
            assert answer(one, b"again") == b"again"
            path = relay.path
            relay.__exit__()
            assert one.recv(1) == b"", "nothing outlives it"
    assert not path.exists() and list(folder.iterdir()) == []


def test_there_are_only_so_many_connections(tmp_path: Path, echo: int) -> None:
    from ansible.module_utils.th_walk.relay import Relay, Way

    with Relay(Way("127.0.0.1", echo), 2, tmp_path) as relay, connected(relay.path) as first:
        assert answer(first, b"x") == b"x"
        with connected(relay.path) as second, connected(relay.path) as third:
            assert answer(second, b"x") == b"x"
            assert third.recv(1) == b""
        deadline = time.monotonic() + PATIENCE
        while True:  # the end of the second is heard of a moment later
            with connected(relay.path) as fourth:
                if answer(fourth, b"x") == b"x":
                    break
            assert time.monotonic() < deadline


def test_a_server_that_is_gone_ends_the_connection(tmp_path: Path) -> None:
    from ansible.module_utils.th_walk.relay import Relay, Way

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Relay(Way("127.0.0.1", port), 1, tmp_path) as relay, connected(relay.path) as client:
        assert client.recv(1) == b""
