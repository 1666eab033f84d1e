# SPDX-License-Identifier: Apache-2.0
"""External servers by TLS: the worker's connections, the client that loads dumps, and the project's code."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_server import external_server
from ansible.module_utils.th_walk.walk import DatasetWalk
from ansible.module_utils.th_walk.walkers import WalkLimits

from tests.kit import ROOT, boxes, toy
from tests.kit.certificates import Authority
from tests.kit.external_mysql import ExternalMySQL

from .external_jobs import Jobs

PROGRAMS = ROOT / "roles" / "run_migrations" / "files"
SETTINGS = ("ssl_ca", "ssl_cert", "ssl_key", "require_secure_transport")
SOON = 2 / 86400
CHAIN = {
    "a1": (None, ""),
    "b2": ("a1", "op.execute(\"CREATE TABLE seen AS SELECT * FROM performance_schema.session_status\")"),
    "c3": (
        "b2",
        "op.execute('CREATE TABLE large (words longtext)')\n"
        "op.execute(sa.text('INSERT INTO large VALUES (:words)').bindparams(words='x' * 3_000_000))\n"
        "assert op.get_bind().exec_driver_sql('SELECT words FROM large').scalar() == 'x' * 3_000_000",
    ),
}


class Encrypting:
    """The server, and an authority that certifies it."""

    def __init__(self, external: ExternalMySQL) -> None:
        self._external = external
        self.authority = Authority(Path(external.server.folder) / "ca")
        self._before = {name: external.ask(f"SELECT @@{name}")[0][0] for name in SETTINGS}

    def certify(self, addresses: tuple[str, ...] = ("127.0.0.1",), days: float = 365) -> None:
        """Give it another certificate."""
        files = self.authority.issue("server", addresses, days)
        self.set(ssl_ca=files.ca, ssl_cert=files.cert, ssl_key=files.key)

    def set(self, **values: Any) -> None:
        """Set variables that are about TLS."""
        for name, value in values.items():
            self._external.ask(f"SET GLOBAL {name} = {value if isinstance(value, int) else repr(str(value))}")
        self._external.ask("ALTER INSTANCE RELOAD TLS")

    def disable(self) -> None:
        """Offer no TLS, as a server whose certificate is gone."""
        self._external.ask("SET GLOBAL require_secure_transport = 0")
        self._external.ask("SET GLOBAL ssl_cert = 'none.pem'")
        self._external.ask("ALTER INSTANCE RELOAD TLS NO ROLLBACK ON ERROR")

    def restore(self) -> None:
        """Set everything back."""
        self.set(**self._before)


@pytest.fixture(scope="module")
def external(external_mysql: ExternalMySQL) -> ExternalMySQL:
    """The server of the fixtures of external_jobs.py."""
    return external_mysql


@pytest.fixture
def encrypting(external_mysql: ExternalMySQL) -> Iterator[Encrypting]:
    """A server that demands TLS, and has a certificate for its address."""
    made = Encrypting(external_mysql)
    made.certify()
    made.set(require_secure_transport=1)
    yield made
    made.restore()


@pytest.mark.parametrize("verified", [True, False])
def test_a_server_that_demands_it(encrypting: Encrypting, jobs: Jobs, verified: bool) -> None:
    if verified:
        (jobs.root / "ca.pem").write_bytes(encrypting.authority.ca.read_bytes())
        jobs.keys["server"]["ssl_ca"] = "ca.pem"
    options = jobs.options()
    facts, server = jobs.restore(options)
    assert facts["rows"] == 4 and bool(server.ssl_ca) == verified
    job_dir = Path(options["job_dir"])
    (job_dir / "results").mkdir(exist_ok=True)
    toy.write(job_dir / "src", CHAIN)
    toy.artifacts(job_dir, job_dir / "src", CHAIN)
    DatasetWalk(job_dir, "toy", toy.profile(), WalkLimits(300, 300, 100_000), PROGRAMS, boxes.settings()).run()
    events = toy.events(job_dir, "toy")
    assert events[-1] == {**events[-1], "event": "final", "version": "c3", "expected": "c3"}
    ((cipher,),) = jobs.external.ask(
        f"SELECT variable_value FROM {server.database}.seen WHERE variable_name = 'Ssl_cipher'"
    )
    assert cipher
    external_server.release(server)
    assert jobs.external.ours() == []


@pytest.mark.parametrize(
    ("addresses", "days", "said"),
    [
        (("127.0.0.2",), 365, "not valid for '127.0.0.1'"),
        ((), 365, "not valid for '127.0.0.1'"),
        (("127.0.0.1",), SOON, "certificate has expired"),
    ],
)  # fmt: skip
def test_a_certificate_that_does_not_hold(
    encrypting: Encrypting, jobs: Jobs, addresses: tuple[str, ...], days: float, said: str
) -> None:
    encrypting.certify(addresses, days)
    time.sleep(2 if days == SOON else 0)  # the server takes none that has expired already
    jobs.keys["server"]["ssl_ca"] = str(encrypting.authority.ca)
    code, text = jobs.failure()
    assert code == "server_unreachable" and said in text


def test_another_ca(encrypting: Encrypting, jobs: Jobs) -> None:
    jobs.keys["server"]["ssl_ca"] = str(Authority(jobs.root / "another").ca)
    code, text = jobs.failure()
    assert code == "server_unreachable" and "self-signed certificate" in text


@pytest.mark.parametrize(("content", "said"), [("nothing", "holds no certificate"), (None, "No such file")])
def test_a_file_that_is_no_ca(encrypting: Encrypting, jobs: Jobs, content: str | None, said: str) -> None:
    if content:
        (jobs.root / "ca.pem").write_text(content)
    jobs.keys["server"]["ssl_ca"] = "ca.pem"
    code, text = jobs.failure()
    assert code == "server_unreachable" and said in text and str(jobs.root / "ca.pem") in text


def test_a_server_without_it(encrypting: Encrypting, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    encrypting.disable()
    jobs.keys["server"]["ssl_ca"] = str(encrypting.authority.ca)
    code, text = jobs.failure()
    assert code == "server_unreachable" and "SSL is required but the server doesn't support it" in text
    del jobs.keys["server"]["ssl_ca"]
    jobs.external.ask("FLUSH PRIVILEGES")  # it forgets which passwords it has seen
    monkeypatch.setattr("pymysql._auth._have_cryptography", False)
    code, text = jobs.failure()
    assert code == "server_unreachable" and "Let the server offer TLS" in text
