# SPDX-License-Identifier: Apache-2.0
"""Connections to an external server: encrypted where it can do that, and without reading certificates for nothing."""

import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.connection import tls_context
from ansible.module_utils.th_walk.encryption import logged_in, packet
from ansible.module_utils.th_walk.relay import EncryptedWay, Relay, reached

from tests.kit import boxes
from tests.kit.certificates import Authority
from tests.kit.external_server import External

GREETING = b"\x0a11.4.1-MariaDB\x00" + bytes(4) + b"saltsalt\x00" + b"\xff\xff\x08\x02\x00" + bytes(19)
NO_TLS = GREETING.replace(b"\xff\xff\x08", b"\xff\xf7\x08")
LOGIN = (0x200).to_bytes(4, "little") + bytes(28) + b"somebody\x00"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA that nobody's system knows."""
    return Authority(tmp_path_factory.mktemp("authority") / "ca")


@pytest.fixture(scope="module")
def encrypting(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[External]:
    """A server with a certificate."""
    files = authority.issue("server")
    folder = tmp_path_factory.mktemp("encrypting")
    made = External(folder / "server", f"--ssl-cert={files.cert}", f"--ssl-key={files.key}")
    yield made
    made.stop()


def test_it_is_encrypted_where_the_server_can_and_reads_no_certificates(
    encrypting: External, external: External, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: Any) -> None:
        raise AssertionError("the system's certificates are read")

    account = tmp_path / "account"
    account.write_text('[client]\nuser="th"\npassword="secret word"\n')
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", read)
    contexts = set()
    for there, encrypted in ((encrypting, True), (external, False), (encrypting, True)):
        server = replace(there.server, socket="", host="127.0.0.1", port=there.port)
        with mariadb.connect(server, account) as connection:
            ((_, cipher),) = mariadb.query(connection, "SHOW STATUS LIKE 'Ssl_cipher'")
            assert bool(cipher) == encrypted
            contexts.add(connection.ctx)  # type: ignore[attr-defined]
    assert len(contexts) == 1


def test_what_leaves_a_box_is_encrypted_where_the_server_can(
    encrypting: External, external: External, authority: Authority, tmp_path: Path
) -> None:
    def log_in(external: External, ca: str, password: str = "secret word") -> str:
        with (
            Relay(EncryptedWay("127.0.0.1", external.port, ca), 1, tmp_path) as relay,
            pymysql.connect(unix_socket=str(relay.path), user="th", password=password) as connection,
        ):
            assert len(mariadb.query(connection, "SELECT REPEAT('x', 2000000)")[0][0]) == 2_000_000
            return str(mariadb.query(connection, "SHOW STATUS LIKE 'Ssl_cipher'")[0][1])

    assert log_in(encrypting, "") and log_in(encrypting, str(authority.ca)) and not log_in(external, "")
    with pytest.raises(pymysql.err.OperationalError, match=r"1045.*Access denied for user 'th'"):
        log_in(encrypting, "", "wrong")
    with pytest.raises(pymysql.err.OperationalError, match=r"2026.*TLS with .* fails: .*verify failed"):
        log_in(encrypting, str(Authority(tmp_path / "another").ca))
    with pytest.raises(pymysql.err.OperationalError, match=r"2026.*the server offers no TLS, which ssl_ca"):
        log_in(external, str(authority.ca))


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
@pytest.mark.parametrize("by_port", [False, True])
def test_the_projects_code_reaches_it_through_the_worker(
    encrypting: External, tmp_path: Path, kind: str, by_port: bool
) -> None:
    server = replace(encrypting.server, folder=str(tmp_path), socket="", host="127.0.0.1", port=encrypting.port)
    with reached(replace(server, private=False), boxes.settings(kind=kind), by_port) as address:
        place: dict[str, Any] = {"unix_socket": address.get("socket")}
        if kind == "none" and by_port:
            place = {"host": address["host"], "port": int(address["port"])}
            assert "socket" not in address and place["port"] != encrypting.port
        with pymysql.connect(user="th", password="secret word", **place) as connection:
            assert mariadb.query(connection, "SHOW STATUS LIKE 'Ssl_cipher'")[0][1]


@pytest.mark.parametrize(
    "login",
    [
        packet(1, LOGIN)[:20],
        packet(1, LOGIN[:32]),  # asks for TLS, which it was not offered
        packet(1, (0xA00).to_bytes(4, "little") + LOGIN[4:]),
        packet(1, bytes(4) + LOGIN[4:]),
        b"\xff\xff\xff\x01" + LOGIN,
        b"",
    ],
)
def test_a_client_that_does_not_log_in_as_clients_do(login: bytes) -> None:
    outside, server = socket.socketpair()
    client, inside = socket.socketpair()
    with outside, server, client, inside:
        server.sendall(packet(0, GREETING))
        client.sendall(login)
        client.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionError):
            logged_in(inside, outside, tls_context(""), "server", 300)
        outside.close()
        assert server.recv(1) == b"", "nothing of it reaches the server"
        assert client.recv(1 << 10) == packet(0, NO_TLS)


@pytest.mark.parametrize("said", [NO_TLS, b"\xff\x10\x04#08004Too many connections", b"\x09", b"\x0a", b""])
def test_a_server_that_offers_no_tls_is_left_to_the_client(said: bytes) -> None:
    outside, server = socket.socketpair()
    client, inside = socket.socketpair()
    with outside, server, client, inside:
        server.sendall(packet(0, said))
        assert logged_in(inside, outside, tls_context(""), "server", 300) is outside
        assert client.recv(1 << 10) == packet(0, said)
