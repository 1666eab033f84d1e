# SPDX-License-Identifier: Apache-2.0
"""Resolving host names and connecting to their addresses, for the proxy of a build's box."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from concurrent.futures import ThreadPoolExecutor

from ansible.module_utils.th_egress.rules import Address

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

LIMIT = 64 * 1024
"""Bytes that are buffered for a connection."""
CONNECT_TIME = 10.0
"""Seconds that one address, or a name server, may take to answer."""
NAME_TIME = 60.0
"""Seconds for which a name's addresses are kept."""
REMEMBERED = 100
THREADS = 8


class UnreachableError(Exception):
    """An allowed host cannot be connected to; `status` is the HTTP status for that."""

    def __init__(self, problem: str, status: str = "502 Bad Gateway") -> None:
        super().__init__(problem)
        self.status = status


class Resolver:
    """Asks for the addresses of names, each once a minute: a build makes dozens of connections at once, and a name
    server may delay a client that asks that often.

    Names that the operator has named have threads of their own: a build that asks for many names that nobody answers
    for does not keep the index from being found.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asked: dict[tuple[str, bool], tuple[float, asyncio.Task[list[Address]]]] = {}
        self._threads = {trusted: ThreadPoolExecutor(THREADS) for trusted in (True, False)}

    def close(self) -> None:
        """Abandon the threads and their pending look-ups."""
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)

    async def addresses(self, host: str, trusted: bool) -> list[Address]:
        """The addresses of a host, which may be an address itself. Raises UnreachableError."""
        now = self._loop.time()
        since, answer = self._asked.get((host, trusted), (now, None))
        if answer is None or now - since > NAME_TIME or _has_failed(answer):
            if len(self._asked) >= REMEMBERED:
                self._asked = {key: asked for key, asked in self._asked.items() if key[1]}
            answer = asyncio.create_task(self._ask(host, trusted))
            answer.add_done_callback(_has_failed)  # nobody may be waiting for it any more
            self._asked[host, trusted] = now, answer
        return await asyncio.shield(answer)

    async def _ask(self, host: str, trusted: bool) -> list[Address]:
        def ask() -> list[str]:
            return [str(one[4][0]) for one in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]

        try:
            async with asyncio.timeout(CONNECT_TIME):
                found = await self._loop.run_in_executor(self._threads[trusted], ask)
        except TimeoutError:
            raise UnreachableError("the name is not resolved in time", "504 Gateway Timeout") from None
        except (OSError, UnicodeError) as error:
            raise UnreachableError(f"the name is not resolved: {getattr(error, 'strerror', '') or error}") from None
        return [ipaddress.ip_address(one.partition("%")[0]) for one in found]


async def connect(host: str, port: int, addresses: list[Address]) -> Streams:
    """A connection to the first of a host's addresses that answers. Raises UnreachableError."""
    problem = UnreachableError(f"{host} has no address")
    for address in addresses:
        try:
            async with asyncio.timeout(CONNECT_TIME):
                return await asyncio.open_connection(str(address), port, limit=LIMIT)
        except TimeoutError:
            problem = UnreachableError("no answer in time", "504 Gateway Timeout")
        except OSError as error:
            problem = UnreachableError(os.strerror(error.errno) if error.errno else str(error))
    raise problem


def _has_failed(answer: asyncio.Task[list[Address]]) -> bool:
    return answer.done() and (answer.cancelled() or answer.exception() is not None)
