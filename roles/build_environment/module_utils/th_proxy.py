# SPDX-License-Identifier: Apache-2.0
"""The one way out of a build's box: an HTTP proxy that connects only to where a build may.

It resolves names itself and connects to the very address that it has checked, so no answer of a name server comes
between. It takes connections that are made in the box, on a socket of the box's loopback that files/with_way_out.py
hands out before anything of the project runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Self

from ansible.module_utils.th_http import Request, passed_on, read_head
from ansible.module_utils.th_outside import Address, RefusedError, Rules
from ansible.module_utils.th_text import printable
from ansible.module_utils.th_upstream import Upstream, Upstreams

HEAD_LIMIT = 64 * 1024
CONNECTIONS = 200
"""How many there are at once; more wait."""
CONNECT_TIME = 10.0
"""Seconds that one address may take to answer."""
NAME_TIME = 60.0
"""Seconds for which a name's addresses are kept."""
HEAD_TIME = 60.0
REMEMBERED = 100

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class UnreachableError(Exception):
    """A host that may be connected to, and cannot be; `status` is what HTTP says for it."""

    def __init__(self, problem: str, status: str = "502 Bad Gateway") -> None:
        super().__init__(problem)
        self.status = status


class Proxy:
    """The way out of one build, in a thread of its own. `refused` and `unreachable` say what came of it.

    Use as a context manager, and in it `door` for each command. `tell` is called with lines for the log, from the
    thread.
    """

    def __init__(self, rules: Rules, upstreams: Upstreams, tell: Callable[[str], None]) -> None:
        self._rules, self._upstreams, self._tell = rules, upstreams, tell
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.refused: dict[str, str] = {}
        self.not_outside: set[tuple[str, int]] = set()
        self.unreachable: dict[str, str] = {}
        self._asked: dict[str, tuple[float, asyncio.Task[list[Address]]]] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextlib.contextmanager
    def door(self) -> Iterator[int]:
        """The number of the file that files/with_way_out.py is to inherit; closed again on leaving."""
        ours, theirs = socket.socketpair()
        over = asyncio.Event()
        with ours, theirs:
            ours.setblocking(False)
            serving = asyncio.run_coroutine_threadsafe(self._serve(ours, over), self._loop)
            try:
                yield theirs.fileno()
            finally:
                self._loop.call_soon_threadsafe(over.set)
                serving.result()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _end(self) -> None:
        """End what no door waits for any more: questions for names."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._loop.shutdown_default_executor()

    async def _serve(self, channel: socket.socket, over: asyncio.Event) -> None:
        tasks: set[asyncio.Task[None]] = set()
        accepting = asyncio.create_task(self._accept(channel, tasks))
        await over.wait()
        for task in (accepting, *tasks):
            task.cancel()
        await asyncio.gather(accepting, *tasks, return_exceptions=True)

    async def _accept(self, channel: socket.socket, tasks: set[asyncio.Task[None]]) -> None:
        told = asyncio.Event()
        self._loop.add_reader(channel, told.set)
        try:
            await told.wait()
        finally:
            self._loop.remove_reader(channel)
        _, handles, _, _ = socket.recv_fds(channel, 1, 1)
        if not handles:
            return
        free = asyncio.Semaphore(CONNECTIONS)
        with socket.socket(fileno=handles[0]) as listener:
            listener.setblocking(False)
            while True:
                await free.acquire()
                connection, _ = await self._loop.sock_accept(listener)
                task = asyncio.create_task(self._take(connection))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                task.add_done_callback(lambda _: free.release())

    async def _take(self, connection: socket.socket) -> None:
        async with contextlib.AsyncExitStack() as stack:
            client = await asyncio.open_connection(sock=connection, limit=HEAD_LIMIT)
            stack.push(_ending(client[1]))
            with contextlib.suppress(OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
                await self._answer(client, stack)

    async def _answer(self, client: Streams, stack: contextlib.AsyncExitStack) -> None:
        async with asyncio.timeout(HEAD_TIME):
            head = await client[0].readuntil(b"\r\n\r\n")
        try:
            request = Request.of(head)
            server = await self._outward(request)
        except ValueError as error:
            await _say(client[1], "400 Bad Request", str(error))
            return
        except RefusedError as error:
            self._note(self.refused, request, str(error), f"refused: {request.host}:{request.port} ({error})")
            if not error.outside and len(self.not_outside) < REMEMBERED:
                self.not_outside.add((request.host, request.port))
            await _say(client[1], "403 Forbidden", f"refused: {error}")
            return
        except UnreachableError as error:
            self._note(self.unreachable, request, str(error), f"{request.host}:{request.port}: {error}")
            await _say(client[1], error.status, str(error))
            return
        stack.push(_ending(server[1]))
        if request.tunnel:
            client[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _both(_copy(client[0], server[1]), _copy(server[0], client[1]))
        else:
            await _both(_copy(client[0], server[1], request.length), _copy_response(server[0], client[1]))

    def _note(self, where: dict[str, str], request: Request, problem: str, line: str) -> None:
        key = printable(f"{request.host}:{request.port}"[:300])
        if key not in where and len(where) < REMEMBERED:
            where[key] = problem
            self._tell(line)

    async def _outward(self, request: Request) -> Streams:
        """A connection to where the request goes, with what is said first. Raises RefusedError, UnreachableError."""
        trusted = self._rules.trusts(request.host, request.port)
        upstream = self._upstreams.towards(request.host, request.port, request.tunnel)
        if upstream is None:
            server = await self._direct(request, trusted)
        else:
            if not trusted:
                await self._not_local(request)
            server = await self._connect(upstream.host, upstream.port, await self._resolve(upstream.host))
        if upstream is not None or not request.tunnel:
            server[1].write(request.onward(upstream is not None, upstream.authorization if upstream else ""))
        if upstream is not None and request.tunnel:
            await _let_through(server, upstream)
        return server

    async def _direct(self, request: Request, trusted: bool) -> Streams:
        found = await self._resolve(request.host)
        if not trusted:
            for address in found:  # a name that means both has no business here
                self._rules.check(address)
        return await self._connect(request.host, request.port, found)

    async def _not_local(self, request: Request) -> None:
        """What another proxy is not to be asked for: it would find another place by that name, one of its own."""
        if "." not in request.host and ":" not in request.host:
            raise RefusedError("a name of a local network")
        try:
            found = await self._resolve(request.host)
        except UnreachableError:
            return  # only the other one knows the name
        for address in found:
            self._rules.check(address)

    async def _resolve(self, host: str) -> list[Address]:
        """Its addresses. All connections of a minute share one question: a build makes dozens at once, and a name
        server may keep somebody waiting who asks that often."""
        now = self._loop.time()
        since, answer = self._asked.get(host, (now, None))
        if answer is None or now - since > NAME_TIME or _has_failed(answer):
            if len(self._asked) >= REMEMBERED:
                self._asked.clear()
            answer = asyncio.create_task(self._ask(host))
            answer.add_done_callback(_has_failed)  # it may be that nobody waits for it any more
            self._asked[host] = now, answer
        return await asyncio.shield(answer)

    async def _ask(self, host: str) -> list[Address]:
        try:
            async with asyncio.timeout(CONNECT_TIME):
                found = await self._loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise UnreachableError("the name is not resolved in time", "504 Gateway Timeout") from None
        except (OSError, UnicodeError) as error:
            raise UnreachableError(f"the name is not resolved: {getattr(error, 'strerror', '') or error}") from None
        return [ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found]

    async def _connect(self, host: str, port: int, addresses: list[Address]) -> Streams:
        problem = UnreachableError(f"{host} has no address")
        for address in addresses:
            try:
                async with asyncio.timeout(CONNECT_TIME):
                    return await asyncio.open_connection(str(address), port, limit=HEAD_LIMIT)
            except TimeoutError:
                problem = UnreachableError("no answer in time", "504 Gateway Timeout")
            except OSError as error:
                problem = UnreachableError(os.strerror(error.errno) if error.errno else str(error))
        raise problem


def _has_failed(answer: asyncio.Task[list[Address]]) -> bool:
    return answer.done() and (answer.cancelled() or answer.exception() is not None)


def _ending(writer: asyncio.StreamWriter) -> Callable[..., None]:
    """What closes a connection: with what is still to be sent, or at once where nobody waits for that."""

    def end(kind: type[BaseException] | None, *_: object) -> None:
        writer.close() if kind is None else writer.transport.abort()

    return end


async def _let_through(server: Streams, upstream: Upstream) -> None:
    """Wait for the other proxy's answer to CONNECT. Raises UnreachableError."""
    try:
        async with asyncio.timeout(HEAD_TIME):
            first, _ = read_head(await server[0].readuntil(b"\r\n\r\n"))
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
        first = "nothing"
    if first.split(" ")[1:2] != ["200"]:
        server[1].close()
        raise UnreachableError(f"the proxy {upstream.host}:{upstream.port} answers: {printable(first[:100])}")


async def _both(*ways: Coroutine[Any, Any, None]) -> None:
    async with asyncio.TaskGroup() as group:
        for way in ways:
            group.create_task(way)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, length: int | None = None) -> None:
    """Copy `length` bytes, or all; after all, the other side hears that nothing more comes."""
    try:
        while length is None or length > 0:
            data = await source.read(HEAD_LIMIT if length is None else min(length, HEAD_LIMIT))
            if not data:
                break
            target.write(data)
            await target.drain()
            length = None if length is None else length - len(data)
        if length is None and target.can_write_eof():
            target.write_eof()
    except OSError:
        target.transport.abort()  # so the way back ends as well


async def _copy_response(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Copy the one response, and say that it is the last."""
    interim = True
    while interim:
        try:
            first, headers = read_head(await source.readuntil(b"\r\n\r\n"))
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            target.transport.abort()
            return
        interim = first[8:10] == " 1"
        kept = headers if interim else [*_of_response(headers), ("Connection", "close")]
        lines = [first, *(f"{name}: {value}" for name, value in kept)]
        target.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
    await _copy(source, target)


def _of_response(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    coded = [(name, value) for name, value in headers if name.lower() == "transfer-encoding"]
    return passed_on(headers) + coded


async def _say(writer: asyncio.StreamWriter, status: str, text: str) -> None:
    body = f"{printable(text)}\n".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
