# SPDX-License-Identifier: Apache-2.0
"""Projects that reach the database by host and port, on a server that has only a socket."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_walk.walkers import asks_for_a_port

from tests.kit import toy

FORWARD = toy.PROGRAMS / "th_forward.py"
PASSWORD = "secret"
ENV_PY = """
import os
from alembic import context
from sqlalchemy import create_engine, pool

engine = create_engine(os.environ["DATABASE_URL"], poolclass=pool.NullPool)
with engine.connect() as connection:
    print("connected by", connection.connection.dbapi_connection.host_info)
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
URL = "mysql+pymysql://{user}:{password}@{host}:{port}/{database}?charset=utf8mb4"
COMMAND = """
import sys, pymysql
user, password, host, port, name, version = sys.argv[1:]
connection = pymysql.connect(user=user, password=password, host=host, port=int(port), database=name, autocommit=True)
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE IF NOT EXISTS alembic_version (version_num varchar(32))")
    cursor.execute("DELETE FROM alembic_version")
    cursor.execute("INSERT INTO alembic_version VALUES (%s)", version)
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mariadb.Server]:
    server = toy.start(tmp_path_factory.mktemp("server") / "db", PASSWORD)
    yield server
    mariadb.stop(server, 0)


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
def test_alembic_by_host_and_port(job_dir: Path, running: mariadb.Server, kind: str) -> None:
    toy.emptied(running, job_dir)
    database = {**toy.DATABASE, "environment": {"DATABASE_URL": URL}}
    events = toy.walk(job_dir, toy.CHAIN, database, ENV_PY, sandbox={"kind": kind})
    assert events[-1]["event"] == "final" and events[-1]["version"] == "c3", events
    assert "connected by socket 127.0.0.1:" in (job_dir / "results" / "toy.log").read_text()


@pytest.mark.parametrize("where", ["command", "files"])
def test_a_command_by_host_and_port(job_dir: Path, running: mariadb.Server, where: str) -> None:
    toy.emptied(running, job_dir)
    (job_dir / "src").mkdir()
    (job_dir / "src" / "migrate.py").write_text(COMMAND)
    database: dict[str, Any] = {"tool": "command", "version_locations": ["migrations/versions"]}
    fields = ["{user}", "{password}", "{host}", "{port}", "{database}"]
    if where == "command":
        database["command"] = ["python", "migrate.py", *fields, "{version}"]
    else:
        script = 'exec python migrate.py $(cat "$1") "$2"'
        database["files"] = [{"path": "address", "content": " ".join(fields)}]
        database["command"] = ["sh", "-c", script, "sh", "{files}/address", "{version}"]
    events = toy.walk(job_dir, toy.CHAIN, database)
    assert events[-1]["event"] == "final" and events[-1]["version"] == "c3", events


def test_what_is_forwarded_arrives_whole_and_the_command_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"

    def echo(one: socket.socket) -> None:
        with one:
            while heard := one.recv(1 << 16):
                one.sendall(heard)

    def accept() -> None:
        while True:
            try:
                one, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(one,), daemon=True).start()

    client = """
import os, socket, sys, threading
said = os.urandom(3 << 20)
def talk():
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as one:
        threading.Thread(target=one.sendall, args=(said,), daemon=True).start()
        heard = b""
        while len(heard) < len(said) and (chunk := one.recv(1 << 16)):
            heard += chunk
        assert heard == said, len(heard)
talks = [threading.Thread(target=talk) for _ in range(5)]
for one in talks: one.start()
for one in talks: one.join()
print(sorted(map(int, os.listdir("/proc/self/fd")))[:3], sys.stdin.read())
sys.exit(7)
"""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(8)
        threading.Thread(target=accept, daemon=True).start()
        words = [sys.executable, "-I", "-S", str(FORWARD), str(path), port, sys.executable, "-c", client, port]
        # its end is seen although the port is still there
        done = subprocess.run(words, input="given", capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout.strip(), done.stderr) == (7, "[0, 1, 2] given", "")
        ended(path, port)
        listener.shutdown(socket.SHUT_RDWR)


def ended(path: Path, port: str) -> None:
    """End the process that is left, as the end of its box does."""
    found = subprocess.run(["pgrep", "-f", f"{FORWARD} {path} {port} "], capture_output=True, text=True).stdout.split()
    assert len(found) == 1
    subprocess.run(["kill", "-KILL", *found], check=True)


@pytest.mark.parametrize(
    ("profile", "asks"),
    [
        ([{"environment": {"A": "x{port}"}}], True),
        ([{"command": ["go", "--host={host}"]}], True),
        ([{"files": [{"path": "x", "content": "{socket}"}]}], False),
        ([{"environment": {"A": "{{port}}"}, "heads": 1}], False),
        ([{"section": "{"}], False),
    ],
)
def test_whether_a_profile_asks_for_a_port(profile: Any, asks: bool) -> None:
    assert asks_for_a_port(profile) is asks
