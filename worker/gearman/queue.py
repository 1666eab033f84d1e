# SPDX-License-Identifier: Apache-2.0
"""The number of jobs waiting at the Gearman server, from its `status` command on a separate connection."""

import time
from collections.abc import Mapping

from worker.config import tls

_MOST_BYTES = 4 * 1024 * 1024


def ask(host: str, port: int, files: tls.Files | None, seconds: float) -> Mapping[str, int]:
    """The number of jobs that no worker has taken yet, by function.

    `files` are the files for TLS, None without TLS. Raises OSError if there is no answer within `seconds`.
    """
    deadline = time.monotonic() + seconds
    with tls.connect(host, port, files, seconds) as channel:
        channel.sendall(b"status\n")
        answer = b""
        while not (answer == b".\n" or answer.endswith(b"\n.\n")):
            channel.settimeout(max(deadline - time.monotonic(), 0.001))
            more = channel.recv(65536)
            answer += more
            if not more or len(answer) > _MOST_BYTES:
                raise OSError("the answer has no end")
    return dict(filter(None, map(_function, answer.decode("utf-8", "replace").splitlines())))


def _function(line: str) -> tuple[str, int] | None:
    name, *numbers = line.split("\t")
    if len(numbers) != 3 or not all(number.isascii() and number.isdigit() and len(number) < 18 for number in numbers):
        return None
    total, running, _workers = map(int, numbers)
    return name, max(total - running, 0)
