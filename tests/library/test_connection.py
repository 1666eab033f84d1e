# SPDX-License-Identifier: Apache-2.0
"""Connections to an external server: encrypted where it can do that, and without reading certificates for nothing."""

import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_server import mariadb

from tests.kit.certificates import Authority
from tests.kit.external_server import External


@pytest.fixture
def encrypting(tmp_path: Path) -> Iterator[External]:
    """A server with a certificate that nobody's system knows."""
    files = Authority(tmp_path / "ca").issue("server")
    made = External(tmp_path / "server", f"--ssl-cert={files.cert}", f"--ssl-key={files.key}")
    yield made
    mariadb.stop(made.server, 0)


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
