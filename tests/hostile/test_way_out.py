# SPDX-License-Identifier: Apache-2.0
"""Builds that try to get somewhere by the one way out of their box, or to make an index look as if it had failed."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.kit.proxies import CompanyProxy
from tests.library.test_build_proxy import PAGE, Server, outside

PUBLIC = "203.0.113.9"
SECOND = "GET /admin HTTP/1.1\r\nHost: inside\r\n\r\n"
SMUGGLED = [
    "Connection: content-length\r\nContent-Length: {}",
    "Connection: close, Content-Length\r\nContent-Length: {}",
    "connection: x,\tCONTENT-LENGTH\t\r\ncontent-length: {}",
    "Connection: x\r\nConnection: content-length\r\nContent-Length: {}",
    "Proxy-Connection: content-length\r\nContent-Length: {}",
    "Connection: transfer-encoding\r\nContent-Length: {}",
    "Connection: host\r\nHost: elsewhere\r\nContent-Length: {}",
    "Connection: expect\r\nExpect: 100-continue\r\nContent-Length: {}",
    "Content-Length: {0}\r\nContent-Length: {0}",
    "Content-Length: 0{}",
    "Content-Length: {0}, {0}",
    "Content-Length: {}\r\nContent_Length: 0",
    "Content-Length: {}\r\nTransfer_Encoding: chunked",
    "Content-Length: {}\r\nTransfer-Encoding: identity",
    "Content-Length: {}\r\nTE: trailers\r\nTrailer: Content-Length",
    "Content-Length: {}\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\nConnection: Upgrade, HTTP2-Settings",
]


def requests(seen: bytes) -> list[str]:
    """The first lines of the requests in what a server was sent, as one reads it that heeds lengths."""
    found = []
    while seen:
        head, _, rest = seen.partition(b"\r\n\r\n")
        rows = head.decode("latin-1").split("\r\n")
        found.append(rows[0])
        lengths = [row.partition(":")[2].strip() for row in rows if row.lower().startswith("content-length:")]
        assert len(lengths) <= 1, rows
        seen = rest[int(lengths[0]) if lengths else 0 :]
    return found


@pytest.mark.parametrize("headers", SMUGGLED)
def test_a_build_tries_to_send_a_second_request_in_the_body_of_the_first(
    headers: str, stopped_by: Callable[[str], None]
) -> None:
    said = headers.format(len(SECOND))
    with Server(PAGE).running() as server, outside(urls=(f"http://127.0.0.1:{server.port}/",)) as way:
        answer = way.ask(f"POST http://127.0.0.1:{server.port}/a HTTP/1.1\r\n{said}\r\n\r\n{SECOND}")
    refused = answer.startswith("HTTP/1.1 400 ")
    assert requests(server.seen) == ([] if refused else ["POST /a HTTP/1.1"])
    for row in server.seen.decode("latin-1").partition("\r\n\r\n")[0].split("\r\n"):
        assert row.partition(":")[0].lower() not in ("upgrade", "http2-settings", "te", "trailer", "transfer-encoding")
    stopped_by("a length that is read once and written anew")


ANSWERS = [
    (b"Content-Length: 5\r\nConnection: content-length\r\n\r\nhello", b"Content-Length: 5\r\nConnection: close"),
    (b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", b"Content-Length: 5\r\nConnection: close"),
    (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"Transfer-Encoding: chunked\r\nConn"),
    (b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", b""),
    (b"Content-Length: x\r\n\r\nhello!", b""),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\nhello!", b""),
]


@pytest.mark.parametrize(("answer", "passed"), ANSWERS)
def test_a_server_answers_so_that_its_end_can_be_read_in_two_ways(
    answer: bytes, passed: bytes, stopped_by: Callable[[str], None]
) -> None:
    with Server(b"HTTP/1.1 200 OK\r\n" + answer).running() as server, outside(f"127.0.0.1:{server.port}") as way:
        head = way.ask(f"GET http://127.0.0.1:{server.port}/ HTTP/1.1\r\n\r\n").partition("\r\n\r\n")[0]
    assert passed.decode() in head if passed else head == ""
    stopped_by("an answer with one end, or none")


class Names(dict[str, str]):
    """Names that are resolved here, each to an address; for "" no name server answers until it is `over`."""

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()
        self.waiting = 0
        self._ask = socket.getaddrinfo

    def resolved(self, host: Any, *words: Any, **more: Any) -> Any:
        if self.get(host) == "":
            self.waiting += 1
            self.over.wait(300)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return self._ask(self.get(host, host), *words, **more)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    made = Names()
    monkeypatch.setattr(socket, "getaddrinfo", made.resolved)
    yield made
    made.over.set()


def test_a_build_names_a_host_that_another_proxy_finds_elsewhere(
    names: Names, stopped_by: Callable[[str], None]
) -> None:
    """Given a name that is a public address here, and a machine of the company's own network to its proxy."""
    names["rebound.example"] = PUBLIC
    with Server(b"pong").running() as server, Server(PAGE).running() as inside:
        leads = {PUBLIC: server.port, "rebound.example": inside.port, "intranet.example": inside.port}
        company = CompanyProxy(leads=leads)
        place = f"127.0.0.1:{company.port}"
        with company.running(), outside(http_proxy=f"http://u:p@{place}", all_proxy=place) as way:
            assert way.ask("CONNECT rebound.example:443 HTTP/1.1\r\n\r\nping").endswith("\r\n\r\npong")
            way.ask("GET http://rebound.example/a HTTP/1.1\r\nX: y\r\n\r\n")
            for name in ("intranet.example", "metadata.invalid", "localhost", "intranet"):
                assert way.status(f"{name}:443") == 403
                assert way.status(f"http://{name}/", "GET") == 403
    assert inside.seen == b""
    assert server.seen.startswith(b"ping")
    assert b"GET /a HTTP/1.1\r\nHost: rebound.example\r\nX: y\r\nConnection: close\r\n\r\n" in server.seen
    assert [head.split("\r\n")[0] for head in company.heads] == [
        f"CONNECT {PUBLIC}:443 HTTP/1.1",
        f"CONNECT {PUBLIC}:80 HTTP/1.1",
    ]
    assert "Proxy-Authorization: Basic dTpw" in company.heads[1] and b"Proxy-Auth" not in server.seen
    assert "where the proxy would find it cannot be checked" in way.proxy.refused["intranet.example:443"]
    stopped_by("the address that was checked being handed on, and no name")


def test_a_build_keeps_all_names_from_being_resolved(names: Names, stopped_by: Callable[[str], None]) -> None:
    """Given many names for which no name server answers, so that an index would seem to have failed."""
    names.update({f"slow-{number}.example": "" for number in range(60)}, **{"index.example": "127.0.0.1"})
    server = Server(PAGE)
    index = f"http://index.example:{server.port}/"
    with server.running(), outside(urls=(index,)) as way, ThreadPoolExecutor(60) as pool:
        asking = [pool.submit(way.status, f"{name}:443") for name in names if name.startswith("slow")]
        while names.waiting < 6:  # as many as asyncio has threads on a small machine
            time.sleep(0.01)
        answer = way.ask(f"GET {index} HTTP/1.1\r\n\r\n")
        names.over.set()
    assert answer.endswith("hello"), answer
    assert not way.proxy.failed_indexes and {one.result() for one in asking} == {502}
    stopped_by("threads that only ask for what the operator has named")
