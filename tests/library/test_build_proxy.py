# SPDX-License-Identifier: Apache-2.0
"""The way out of a build's box: what it connects to, what it refuses, and what it makes of a client that cheats."""

import http.client
import ipaddress
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_egress.http import Request
from ansible.module_utils.th_egress.proxy import Proxy
from ansible.module_utils.th_egress.rules import Named, RefusedError, Rules, index_values, local_folders, own_addresses
from ansible.module_utils.th_egress.upstream import Upstream, Upstreams

from tests.kit.proxies import CompanyProxy, Listener
from tests.kit.waiting import free_port


class Server(Listener):
    """A web server that remembers the bytes it was sent, and answers each connection once."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer, self.seen = answer, b""
        self.ended = threading.Semaphore(0)

    def take(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.settimeout(300)
            self.seen += client.recv(65536)
            client.settimeout(1)
            with suppress(TimeoutError):
                while more := client.recv(65536):
                    self.seen += more
            client.sendall(self.answer)
        self.ended.release()


@dataclass
class Outside:
    """A proxy as a box has it: `port` is where it is to be asked."""

    proxy: Proxy
    port: int
    log: list[str]

    def ask(self, head: str) -> str:
        """Send this and read all of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), 300) as client:
            client.sendall(head.encode("latin-1"))
            answer = b""
            with suppress(ConnectionResetError):
                while more := client.recv(65536):
                    answer += more
        return answer.decode("latin-1")

    def status(self, target: str, method: str = "CONNECT") -> int:
        """The status of the answer to a request without more."""
        answer = self.ask(f"{method} {target} HTTP/1.1\r\n\r\n")
        return int(answer.split(" ")[1])


@contextmanager
def outside(*hosts: str, urls: tuple[str, ...] = (), **environment: str) -> Iterator[Outside]:
    log: list[str] = []
    with (
        Proxy(Rules.of(hosts, urls), Upstreams.of(environment), log.append) as proxy,
        proxy.door() as handle,
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(fileno=handle) as channel,
    ):
        socket.send_fds(channel, [b"\n"], [listener.fileno()])
        channel.detach()
        yield Outside(proxy, int(listener.getsockname()[1]), log)


LOCAL = [
    "127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "localhost", "LocalHost.", "[::1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
    "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "0.0.0.0", "0", "[::]", "10.1.2.3",
    "172.16.0.1", "192.168.0.1", "[fd00:ec2::254]", "169.254.169.254", "[fe80::1]", "100.100.100.200", "168.63.129.16",
    "192.0.0.192", "224.0.0.1", "255.255.255.255", "[ff02::1]",
]  # fmt: skip


@pytest.fixture(scope="module")
def web() -> Iterator[Outside]:
    """A way out to what is outside, and nothing else."""
    with outside() as started:
        yield started


@pytest.mark.parametrize("host", LOCAL)
def test_what_is_not_outside_is_refused_however_it_is_spelled(web: Outside, host: str) -> None:
    assert web.status(f"{host}:443") == 403
    assert web.status(f"http://{host}/latest/meta-data/", "GET") == 403


def test_the_machines_own_addresses_are_refused() -> None:
    rules = Rules.of((), ())
    assert ipaddress.ip_address("127.0.0.1") in own_addresses()
    public = ipaddress.ip_address("203.0.113.7")
    rules.check(public)
    rules.check(ipaddress.ip_address("2001:4860:4860::8888"))
    with pytest.raises(RefusedError, match=r"203\.0\.113\.7 is not outside"):
        Rules(rules.named, rules.indexes, frozenset([public])).check(public)


def test_ports_that_are_not_the_webs_are_refused_and_told_once(web: Outside) -> None:
    for _ in range(2):
        assert web.status("203.0.113.7:4730") == 403
    assert web.log.count("refused: 203.0.113.7:4730 (neither port 80 nor 443; sandbox_build_hosts)") == 1
    assert web.proxy.refused["203.0.113.7:4730"] == "neither port 80 nor 443; sandbox_build_hosts"


BAD = [
    "GET / HTTP/1.1\r\n\r\n",
    "GET /x HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "GET https://example.org/ HTTP/1.1\r\n\r\n",
    "GET ftp://example.org/ HTTP/1.1\r\n\r\n",
    "GET http://user@example.org/ HTTP/1.1\r\n\r\n",
    "GET http://exa\xe4mple.org/ HTTP/1.1\r\n\r\n",
    "GET http://example.org:99999/ HTTP/1.1\r\n\r\n",
    "GET http://example.org/ HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
    "GET http://example.org/ HTTP/1.1\r\nA: b\nC: d\r\n\r\n",
    "GET http://example.org/ HTTP/1.1\r\nA : b\r\n\r\n",
    "GET http://example.org/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "GET http://example.org/ HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
    "POST http://example.org/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "CONNECT example.org HTTP/1.1\r\n\r\n",
    "CONNECT example.org:443/x HTTP/1.1\r\n\r\n",
    "CONNECT a@example.org:443 HTTP/1.1\r\n\r\n",
    "SSH-2.0-x\r\n\r\n",
]


@pytest.mark.parametrize("head", BAD)
def test_what_can_be_read_in_two_ways_is_not_passed_on(web: Outside, head: str) -> None:
    assert web.ask(head).startswith("HTTP/1.1 400 ")


def test_a_head_without_end_is_dropped(web: Outside) -> None:
    assert web.ask("GET http://example.org/ HTTP/1.1\r\nA: " + "x" * 2**18) == ""


PAGE = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\nProxy-Connection: keep-alive\r\n"
    b"X-A: b\r\n\r\nhello"
)


def test_a_page_of_the_index_comes_through_and_only_one() -> None:
    with Server(PAGE).running() as server, outside(urls=(f"http://127.0.0.1:{server.port}/simple",)) as way:
        url = f"http://127.0.0.1:{server.port}/a?b=c"
        answer = way.ask(
            f"POST {url} HTTP/1.1\r\nHost: elsewhere\r\nX-Y: z\r\nConnection: x-gone\r\nX-Gone: 1\r\n"
            "Proxy-Authorization: Basic x\r\nContent-Length: 4\r\n\r\nbody"
            "GET http://169.254.169.254/ HTTP/1.1\r\n\r\n"
        )
    assert answer == "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\nConnection: close\r\n\r\nhello"
    assert server.seen.decode() == (
        f"POST /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nX-Y: z\r\nContent-Length: 4\r\n"
        "Connection: close\r\n\r\nbody"
    )


def test_a_tunnel_to_the_index() -> None:
    with Server(b"pong").running() as server, outside(urls=(f"https://127.0.0.1:{server.port}/",)) as way:
        answer = way.ask(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n\r\nping")
    assert (answer, server.seen) == ("HTTP/1.1 200 Connection established\r\n\r\npong", b"ping")


def test_what_cannot_be_reached_is_told() -> None:
    port = free_port()
    with outside(urls=(f"http://127.0.0.1:{port}/", "https://no-such-host.invalid/")) as way:
        assert way.status(f"127.0.0.1:{port}") == 502
        assert way.status("no-such-host.invalid:443") == 502
    assert way.proxy.unreachable[f"127.0.0.1:{port}"] == "Connection refused"
    assert "the name is not resolved" in way.proxy.unreachable["no-such-host.invalid:443"]
    assert way.log[0] == f"127.0.0.1:{port}: Connection refused"


def test_a_name_is_asked_for_once_and_again_after_it_was_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, ask = [], socket.getaddrinfo

    def counted(host: Any, *words: Any, **more: Any) -> Any:
        asked.append(host)
        return ask(host, *words, **more)

    monkeypatch.setattr(socket, "getaddrinfo", counted)
    port = free_port()
    with outside(urls=(f"http://localhost:{port}/", "https://no-such-host.invalid/")) as way:
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda _: way.status(f"localhost:{port}"), range(16))) == {502}
        assert [way.status("no-such-host.invalid:443") for _ in range(2)] == [502, 502]
    assert (asked.count("localhost"), asked.count("no-such-host.invalid")) == (1, 2)


def test_connections_that_are_left_open_do_not_hold_up_the_end() -> None:
    with Server(PAGE).running(), outside() as way:
        held = [socket.create_connection(("127.0.0.1", way.port)) for _ in range(250)]
    for one in held:
        one.close()


@pytest.mark.parametrize(
    ("entry", "host", "port", "trusted"),
    [
        ("git.example.org", "git.example.org", 443, True),
        ("Git.Example.org", "git.example.org", 80, True),
        ("git.example.org:8443", "git.example.org", 8443, True),
        ("[::1]:8080", "::1", 8080, True),
        ("*.example.org", "git.example.org", 443, False),
        ("*.example.org:8443", "git.example.org", 8443, False),
        ("*", "anything.example", 443, False),
        ("git.example.org", "git.example.org", 8443, None),
        ("git.example.org:8443", "git.example.org", 443, None),
        ("git.example.org", "other.example.org", 443, None),
        ("*.example.org", "example.org", 443, None),
        ("*.example.org", "badexample.org", 443, None),
    ],
)
def test_named_hosts(entry: str, host: str, port: int, trusted: bool | None) -> None:
    """Given a host that the operator has named, it may be anywhere; one that only fits may be outside."""
    rules = Rules.of([entry], ["https://index.example:8443/simple"])
    assert rules.trusts("index.example", 8443)
    if trusted is None:
        with pytest.raises(RefusedError, match="sandbox_build_hosts"):
            rules.trusts(host, port)
    else:
        assert rules.trusts(host, port) is trusted


def test_a_name_that_only_fits_is_refused_where_it_is_local() -> None:
    with outside("*", "localhost:81") as way:
        assert way.status("localhost:80") == 403
        assert way.status("localhost:81") == 502


@pytest.mark.parametrize("entry", ["https://example.org", "example.org/x", "", "a b", "*x", "a:0", "a:99999", "::1"])
def test_entries_that_are_no_hosts(entry: str) -> None:
    with pytest.raises(StepError, match="sandbox_build_hosts: ") as caught:
        Named.of(entry)
    assert caught.value.code == "playbook_failed"


def test_a_company_proxy_is_asked_with_its_password_for_what_is_not_local() -> None:
    with CompanyProxy().running() as company, Server(PAGE).running() as server:
        url = f"http://us%65r:p%40ss@127.0.0.1:{company.port}"
        index = f"http://127.0.0.1:{server.port}"
        with outside("localhost", urls=(index, "http://direct.invalid"), http_proxy=url, ALL_PROXY=url,
                     no_proxy="10.0.0.0/8, .invalid") as way:  # fmt: skip
            assert way.ask(f"GET {index}/x HTTP/1.1\r\n\r\n").endswith("hello")
            assert way.ask(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n\r\nping").endswith("hello")
            for host in ("169.254.169.254", "127.1", "metadata", "[::1]"):
                assert way.status(f"http://{host}/", "GET") == 403
            assert way.status("http://direct.invalid/", "GET") == 502
    assert [head.split(" HTTP")[0] for head in company.heads] == [f"GET {index}/x", f"CONNECT 127.0.0.1:{server.port}"]
    assert all("\r\nProxy-Authorization: Basic dXNlcjpwQHNz\r\n" in head for head in company.heads)


def test_a_company_proxy_that_refuses() -> None:
    with CompanyProxy("407 Proxy Authentication Required").running() as company:
        urls = ("https://index.example/simple",)
        with outside(urls=urls, https_proxy=f"http://127.0.0.1:{company.port}") as way:
            assert way.status("index.example:443") == 502
    said = f"the proxy 127.0.0.1:{company.port} answers: HTTP/1.1 407 Proxy Authentication Required"
    assert way.proxy.unreachable == {"index.example:443": said}


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1080", "https://proxy.example", "http://", "http://a:b:c"])
def test_proxies_that_builds_cannot_go_through(url: str) -> None:
    with pytest.raises(StepError, match=r"^ALL_PROXY of the worker's environment has to be http://") as caught:
        Upstreams.of({"ALL_PROXY": url})
    assert caught.value.code == "playbook_failed"


def test_which_proxy_is_taken() -> None:
    environment = {"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:2", "all_proxy": "c:3"}
    environment["no_proxy"] = "example.org,10.0.0.0/8,[x,*.corp:8443"
    found = Upstreams.of(environment)
    assert found.towards("x.example", 443, True) == Upstream("a", 1, "")
    assert found.towards("x.example", 80, False) == Upstream("c", 3, "")
    for host, port in (("example.org", 443), ("www.example.org", 443), ("10.9.8.7", 443), ("x.corp", 8443)):
        assert found.towards(host, port, True) is None
    assert found.towards("x.corp", 443, True) is not None
    assert found.towards("badexample.org", 443, True) is not None
    assert Upstreams.of({**environment, "no_proxy": "*"}).towards("x.example", 443, True) is None


def test_the_variables_of_indexes() -> None:
    values = index_values({
        "UV_DEFAULT_INDEX": "https://user:x@index.example:8443/simple",
        "UV_INDEX": "mine=https://other.example/simple file:///srv/a%20b",
        "UV_FIND_LINKS": "/srv/wheels,https://links.example/",
        "PIP_EXTRA_INDEX_URL": "http://[::1]:3141/x",
    })  # fmt: skip
    expected = {("index.example", 8443), ("other.example", 443), ("links.example", 443), ("::1", 3141)}
    assert Rules.of((), values).indexes == expected
    assert list(map(str, local_folders(values))) == ["/srv/a b", "/srv/wheels"]


def test_a_request_as_it_is_sent_on() -> None:
    request = Request.of(b"GET http://[2001:DB8::1]:80/?q HTTP/1.1\r\nA: b\r\n\r\n")
    assert (request.host, request.port, request.path) == ("2001:db8::1", 80, "/?q")
    assert request.onward(True, "Basic x").decode() == (
        "GET http://[2001:db8::1]/?q HTTP/1.1\r\nHost: [2001:db8::1]\r\nProxy-Authorization: Basic x\r\nA: b\r\n"
        "Connection: close\r\n\r\n"
    )


def test_interim_answers_are_passed_on() -> None:
    answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    with Server(answer).running() as server, outside(f"127.0.0.1:{server.port}") as way:
        client = http.client.HTTPConnection("127.0.0.1", way.port)
        client.request("POST", f"http://127.0.0.1:{server.port}/", b"x", {"Expect": "100-continue"})
        response = client.getresponse()
        assert (response.status, response.read()) == (200, b"ok")
        client.close()
