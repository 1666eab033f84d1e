# SPDX-License-Identifier: Apache-2.0
"""How long a Gearman server takes to hand a job out when many workers wait: ``python -m benchmarks.dispatch``.

The workers are connections that do what th-worker does while it waits, and answer a job at once; they are all in one
process beside the server's, so what is measured is the server and the way there, on loopback. A job's latency is the
time from handing it in to its first WORK_DATA, by which Zuul takes it as started.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import queue
import selectors
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from demo.tools import DemoError, free_port, gearmand, listens

HOST = "127.0.0.1"
FUNCTION = b"build:benchmark"
CONNECTIONS = (1, 10, 100, 400)
JOBS = 100
BURST = 500
_PATIENCE = 300.0

# The kinds of packets, from the protocol's document.
_CAN_DO, _PRE_SLEEP, _NOOP, _SUBMIT_JOB, _GRAB_JOB_UNIQ = 1, 4, 6, 7, 30
_NO_JOB, _WORK_COMPLETE, _WORK_DATA, _JOB_ASSIGN_UNIQ = 10, 13, 28, 31
_HEADER = struct.Struct(">4sII")


@dataclass(frozen=True)
class Row:
    """What was measured with so many connections: seconds, jobs a second, and bytes of the server's memory."""

    server: str
    connections: int
    median: float
    slowest: float
    jobs_per_second: float
    memory: int


class Connection:
    """One connection, and what has come of a packet that is not whole yet."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), _PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def send(self, *packets: tuple[int, bytes]) -> None:
        """Send requests."""
        self.socket.sendall(b"".join(_HEADER.pack(b"\0REQ", kind, len(data)) + data for kind, data in packets))

    def receive(self) -> Iterator[tuple[int, bytes]]:
        """Wait for data; the packets that are whole by then."""
        data = self.socket.recv(65536)
        if not data:
            raise DemoError("the Gearman server has closed a connection")
        self._rest += data
        while len(self._rest) >= _HEADER.size:
            _, kind, length = _HEADER.unpack_from(self._rest)
            end = _HEADER.size + length
            if len(self._rest) < end:
                return
            packet, self._rest = self._rest[_HEADER.size : end], self._rest[end:]
            yield kind, packet


def serve(port: int, count: int, ready: Any) -> None:
    """Be `count` workers, until the process is ended; puts something into the queue `ready` once all wait."""
    selector = selectors.DefaultSelector()
    for _ in range(count):
        connection = Connection(port)
        connection.send((_CAN_DO, FUNCTION), (_GRAB_JOB_UNIQ, b""))
        # One after the other: gear's server keeps so few waiting at its door that the kernel sends others away.
        while not any(kind == _NO_JOB for kind, _ in connection.receive()):
            pass
        connection.send((_PRE_SLEEP, b""))
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    ready.put(count)
    while True:
        for key, _ in selector.select():
            for kind, packet in key.data.receive():
                if kind == _NOOP:
                    key.data.send((_GRAB_JOB_UNIQ, b""))
                elif kind == _NO_JOB:
                    key.data.send((_PRE_SLEEP, b""))
                elif kind == _JOB_ASSIGN_UNIQ:
                    handle = packet.partition(b"\0")[0]
                    done = [(_WORK_DATA, handle + b"\0{}"), (_WORK_COMPLETE, handle + b"\0")]
                    key.data.send(*done, (_GRAB_JOB_UNIQ, b""))


def one_by_one(port: int, jobs: int) -> list[float]:
    """Hand in one job after the other; the latency of each, in seconds."""
    client, found = Connection(port), []
    for number in range(jobs):
        begun = time.perf_counter()
        client.send((_SUBMIT_JOB, b"%s\0one-%d\0{}" % (FUNCTION, number)))
        seen: collections.Counter[int] = collections.Counter()
        while not seen[_WORK_COMPLETE]:
            for kind, _ in client.receive():
                if kind == _WORK_DATA:
                    found.append(time.perf_counter() - begun)
                seen[kind] += 1
    return found


def at_once(port: int, jobs: int) -> float:
    """Hand in many jobs at once; how many of them end in a second."""
    client = Connection(port)
    begun, ended = time.perf_counter(), 0
    client.send(*((_SUBMIT_JOB, b"%s\0many-%d\0{}" % (FUNCTION, number)) for number in range(jobs)))
    while ended < jobs:
        ended += sum(kind == _WORK_COMPLETE for kind, _ in client.receive())
    return jobs / (time.perf_counter() - begun)


def _gear(port: int) -> list[str]:
    # gear's server, of which Zuul 2.x embeds one
    code = f"import gear, threading; gear.Server({port}, host={HOST!r}); threading.Event().wait()"
    return [sys.executable, "-c", code]


def _gearmand(port: int) -> list[str]:
    return [gearmand(), "--listen", HOST, "--port", str(port), "--log-file", "none"]


SERVERS: dict[str, Callable[[int], list[str]]] = {"gearmand": _gearmand, "gear": _gear}


@contextmanager
def running(command: Sequence[str], port: int) -> Iterator[int]:
    """Run a server until the end of the block; gives its process's number."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _PATIENCE
        while not listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"{command[0]} did not start")
            time.sleep(0.02)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def measure(server: str, connections: int, jobs: int = JOBS, burst: int = BURST) -> Row:
    """Measure one server with so many workers that wait."""
    port, context = free_port(), multiprocessing.get_context("spawn")
    with running(SERVERS[server](port), port) as pid:
        ready = context.Queue()
        workers = context.Process(target=serve, args=(port, connections, ready), daemon=True)
        workers.start()
        try:
            ready.get(timeout=_PATIENCE)
            one_by_one(port, 3)
            latencies = one_by_one(port, jobs)
            rate = at_once(port, burst)
            memory = psutil.Process(pid).memory_info().rss
            return Row(server, connections, statistics.median(latencies), max(latencies), rate, memory)
        except queue.Empty:
            raise DemoError(f"{connections} connections to {server} were not there after {_PATIENCE:g} s") from None
        finally:
            workers.kill()
            workers.join()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns 0, or 3 when something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dispatch", description="A server with many workers.")
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS, help="how many workers wait")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    try:
        rows = [measure(server, count) for server in SERVERS for count in options.connections]
    except (DemoError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 3
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return 0
    print(f"{'server':10}{'waiting':>8}{'median':>10}{'slowest':>10}{'jobs/s':>9}{'memory':>9}")
    for row in rows:
        times = f"{row.median * 1000:7.1f} ms{row.slowest * 1000:7.1f} ms"
        print(f"{row.server:10}{row.connections:8}{times}{row.jobs_per_second:9.0f}{row.memory / 1e6:6.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
