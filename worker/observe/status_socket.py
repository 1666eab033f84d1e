# SPDX-License-Identifier: Apache-2.0
"""The Unix socket that reports what a worker is doing: each connection gets one JSON document and is then closed.

Only the worker's user may connect (0600). A lock file next to it shows whether its worker is alive: a dead worker's
socket is replaced, a living one's is not.
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
"""Seconds that a client may take to read the document; other clients wait for it."""

ASK_SECONDS = 5.0
"""Seconds that a worker may take to answer."""

MAX_BYTES = 4 * 1024 * 1024
"""The maximum number of bytes that a client reads."""


class NoWorkerError(TurboHipsterError):
    """No worker answers at a socket."""

    exit_code = 1


class StatusSocket:
    """The worker's end of the socket. It listens from the start, but answers only after `serve` was called."""

    def __init__(self, config: Path, path: Path) -> None:
        """Listen at `path`. Raises ConfigError if a living worker does already, or if the socket cannot be created."""
        self.path = path
        remedy = "change the key"
        try:
            self._lock = open(f"{path}.lock", "a+", encoding="ascii")  # noqa: SIM115 - stays open, and so locked
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
        """The files that must stay open when the process goes to the background."""
        return [self._lock, self._socket]

    def serve(self, snapshot: Callable[[], WorkerStatus]) -> None:
        """Answer with the result of `snapshot`, in a separate thread."""
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
                time.sleep(0.1)  # a passing error, such as too many open files
                continue
            with client:
                try:
                    client.settimeout(READ_SECONDS)
                    client.sendall(json.dumps(snapshot().document()).encode() + b"\n")
                except OSError:
                    pass  # the client has closed the connection, or does not read
                except Exception:
                    log.exception("what the worker is doing could not be reported")


def ask(path: Path) -> bytes:
    """The answer of the worker at the socket. Raises NoWorkerError, with a message for the user."""
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
    # this worker has the lock, so an existing socket was left by a dead one
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
    """An address for a socket's path, which may be longer than the 107 bytes that an address can have."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
