# SPDX-License-Identifier: Apache-2.0
"""The only network access of a build's box: an HTTP proxy that connects only to allowed destinations.

It resolves names itself and connects to the address that it has checked, or passes that to another proxy, so that no
later DNS answer can change it. It accepts connections on a socket of the box's loopback, which files/with_way_out.py
passes out of the box before any code of the project runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Self

from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_egress.http import Request, answered, authority, passed_on, read_head, tunnel
from ansible.module_utils.th_egress.resolver import LIMIT, Resolver, Streams, UnreachableError, connect
from ansible.module_utils.th_egress.rules import RefusedError, Rules
from ansible.module_utils.th_egress.upstream import Upstream, Upstreams

HEAD_LIMIT = LIMIT
CONNECTIONS = 200
"""Maximum number of concurrent connections; more have to wait."""
HEAD_TIME = 60.0
REMEMBERED = 100
ADDRESSES_TRIED = 4
"""Maximum number of a name's addresses that are tried through another proxy."""


class Proxy:
    """The proxy of one build, in a thread of its own.

    `refused`, `unreachable` and `failed_indexes` are the results. Use it as a context manager, and in it `door` for
    each command. `log_line` is called with lines for the log, from the thread.
    """

    def __init__(self, rules: Rules, upstreams: Upstreams, log_line: Callable[[str], None]) -> None:
        self._rules, self._upstreams, self._log_line = rules, upstreams, log_line
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.refused: dict[str, str] = {}
        self.not_outside: set[tuple[str, int]] = set()
        self.unreachable: dict[str, str] = {}
        self.failed_indexes: set[tuple[str, int]] = set()
        self._names = Resolver(self._loop)

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
        """The descriptor for files/with_way_out.py to inherit; it is closed on leaving."""
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
        """Cancel the remaining tasks, which are name look-ups."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self._names.close()

    async def _serve(self, channel: socket.socket, over: asyncio.Event) -> None:
        tasks: set[asyncio.Task[None]] = set()
        accepting = asyncio.create_task(self._accept(channel, tasks))
        await over.wait()
        for task in (accepting, *tasks):
            task.cancel()
        await asyncio.gather(accepting, *tasks, return_exceptions=True)

    async def _accept(self, channel: socket.socket, tasks: set[asyncio.Task[None]]) -> None:
        readable = asyncio.Event()
        self._loop.add_reader(channel, readable.set)
        try:
            await readable.wait()
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
            self._log_line(line)

    async def _outward(self, request: Request) -> Streams:
        """A connection to the destination of the request, and the first bytes to send. Raises RefusedError,
        UnreachableError."""
        trusted = self._rules.trusts(request.host, request.port)
        upstream = self._upstreams.towards(request.host, request.port, request.tunnel)
        try:
            if upstream is None:
                server = await self._direct(request, trusted)
            elif trusted:
                server = await self._through(upstream, request.authority if request.tunnel else "")
            else:
                server = await self._through_to_address(upstream, request)
        except UnreachableError:
            if (request.host, request.port) in self._rules.indexes:
                self.failed_indexes.add((request.host, request.port))
            raise
        if not request.tunnel:
            by_name = upstream is not None and trusted
            server[1].write(request.onward(by_name, upstream.authorization if upstream and by_name else ""))
        return server

    async def _direct(self, request: Request, trusted: bool) -> Streams:
        found = await self._names.addresses(request.host, trusted)
        if not trusted:
            for address in found:  # a name that means both has no business here
                self._rules.check(address)
        return await connect(request.host, request.port, found)

    async def _through_to_address(self, upstream: Upstream, request: Request) -> Streams:
        """A tunnel through another proxy to the checked address. Given a name, that proxy could resolve it to an
        address in its own network; a plain request contains the name, so it needs a tunnel, too."""
        try:
            found = await self._names.addresses(request.host, False)
        except UnreachableError as error:
            raise RefusedError(f"{error}, and where the proxy would find it cannot be checked") from None
        for address in found:
            self._rules.check(address)
        problem = UnreachableError(f"{request.host} has no address")
        for address in found[:ADDRESSES_TRIED]:
            try:
                return await self._through(upstream, authority(str(address), request.port))
            except UnreachableError as error:
                problem = error
        raise problem

    async def _through(self, upstream: Upstream, tunnel_to: str) -> Streams:
        """A connection to another proxy, or through its tunnel to a host and port."""
        server = await connect(upstream.host, upstream.port, await self._names.addresses(upstream.host, True))
        if tunnel_to:
            server[1].write(tunnel(tunnel_to, upstream.authorization))
            await _let_through(server, upstream)
        return server


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
    """Copy `length` bytes, or everything up to the end, which is then signalled to the other side."""
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
    """Copy the only response, marked as the last one."""
    interim = True
    while interim:
        try:
            first, headers = read_head(await source.readuntil(b"\r\n\r\n"))
            interim = first[8:10] == " 1"
            if first[8:12] == " 101":
                raise ValueError("nobody has asked for another protocol")
            kept = passed_on(headers) if interim else [*answered(headers), ("Connection", "close")]
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            target.transport.abort()
            return
        lines = [first, *(f"{name}: {value}" for name, value in kept)]
        target.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
    await _copy(source, target)


async def _say(writer: asyncio.StreamWriter, status: str, text: str) -> None:
    body = f"{printable(text)}\n".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
