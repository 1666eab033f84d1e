# SPDX-License-Identifier: Apache-2.0
"""The unix socket that reports what a worker is doing: one JSON document a connection, then it is closed.

It is for the worker's user alone (0600). A lock beside it says whose it is, so that what a dead worker has left is
replaced, and what a living one has is not.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from worker.errors import ConfigError, TurboHipsterError
from worker.status import WorkerStatus

log = logging.getLogger(__name__)

READ_SECONDS = 1.0
"""How long a client may take to read the document; the others wait for it."""

ASK_SECONDS = 5.0
"""How long a worker may take to answer."""

MAX_BYTES = 4 * 1024 * 1024
"""What a client reads at most."""


class NoWorkerError(TurboHipsterError):
    """No worker answers at a socket."""

    exit_code = 1


class StatusSocket:
    """The worker's end. It is there from the start, but answers only once `serve` was called."""

    def __init__(self, config: Path, path: Path) -> None:
        """Listen at `path`; ConfigError when a living worker does, or when it cannot be made."""
        self.path = path
        remedy = "change the key"
        try:
            self._lock = open(f"{path}.lock", "a+", encoding="ascii")  # noqa: SIM115 - locked to the end
        except OSError as error:
            problem = f"{path}.lock cannot be written ({error.strerror})"
            raise ConfigError(config, "status_socket", problem, remedy) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._socket = _listening(path)
        except BlockingIOError:
            self._lock.seek(0)
            owner = self._lock.read(20).strip() or "unknown"
            self._lock.close()
            problem = f"{path} belongs to a worker that runs, process {owner}"
            raise ConfigError(config, "status_socket", problem, "stop that first, or give this one another") from None
        except OSError as error:
            self._lock.close()
            problem = f"{path} cannot be made ({error.strerror})"
            raise ConfigError(config, "status_socket", problem, remedy) from error

    @property
    def files(self) -> list[IO[Any] | socket.socket]:
        """What must stay open when the process goes to the background."""
        return [self._lock, self._socket]

    def serve(self, snapshot: Callable[[], WorkerStatus]) -> None:
        """Answer with what `snapshot` gives, in a thread of its own."""
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()
        threading.Thread(target=self._loop, args=(snapshot,), name="status", daemon=True).start()

    def close(self) -> None:
        """Stop answering, and remove the socket."""
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._lock.close()

    def _loop(self, snapshot: Callable[[], WorkerStatus]) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.EBADF):  # closed
                    return
                time.sleep(0.1)  # such as no more open files
                continue
            with client:
                try:
                    client.settimeout(READ_SECONDS)
                    client.sendall(json.dumps(snapshot().document()).encode() + b"\n")
                except OSError:
                    pass  # it has gone away, or does not read
                except Exception:
                    log.exception("what the worker is doing could not be reported")


def ask(path: Path) -> bytes:
    """What the worker at the socket says. Raises NoWorkerError, in a sentence for a person."""
    data = b""
    try:
        with socket.socket(socket.AF_UNIX) as client, _short(path) as address:
            client.settimeout(ASK_SECONDS)
            client.connect(address)
            while piece := client.recv(65536):
                data += piece
                if len(data) > MAX_BYTES:
                    raise NoWorkerError(f"what answers at {path} says too much to be a worker")
    except TimeoutError as error:
        raise NoWorkerError(f"the worker at {path} does not answer within {ASK_SECONDS:g} s") from error
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
        why = "there is no such socket" if isinstance(error, FileNotFoundError) else "nobody listens there"
        raise NoWorkerError(f"no worker runs at {path}: {why}") from error
    except PermissionError as error:
        raise NoWorkerError(f"{path} is for another user: ask as the worker's, or as root") from error
    except OSError as error:
        raise NoWorkerError(f"the worker at {path} cannot be asked: {error.strerror}") from error
    return data


def _listening(path: Path) -> socket.socket:
    # we have the lock: whatever is there is of a worker that has died
    if path.is_socket():
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        with _short(path) as address:
            listener.bind(address)
        listener.listen(16)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """An address for a path that may be longer than the 107 bytes of one."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
