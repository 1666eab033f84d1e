# SPDX-License-Identifier: Apache-2.0
"""What a change can do with the job's own account of the database: each statement first works as the administrator,
where that is safe, then gets the job's user nowhere. And the limits of the server, each gone over and then raised."""

from __future__ import annotations

import re
import resource
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import pytest
from ansible.module_utils.th_sandbox.box import Settings
from ansible.module_utils.th_server import mariadb, private_server
from ansible.module_utils.th_server.engine import Engine, of_machine
from ansible.module_utils.th_server.mariadb import Server
from ansible.module_utils.th_walk.walk import DatasetWalk
from ansible.module_utils.th_walk.walkers import WalkLimits

from tests.kit import boxes, toy
from tests.kit.waiting import wait_until

from .world import is_root

SECRET = "1\t7h3-s3cr3t\n"
REFUSED = r"denied|not owner|Unknown thread id|need \(at least one of\)"


@dataclass(frozen=True)
class Attempt:
    """Statements of the job's user. `works` says whether the administrator's get somewhere, and `undo` takes it back;
    `refused` is what the server says to the user, None where it only gives nothing away."""

    tries: str
    sql: str
    stopped: str = "no right to do it"
    refused: str | None = REFUSED
    works: bool = True
    undo: str = ""
    expected: Any = None


DEFINER = "CREATE DEFINER=root@localhost"
ATTEMPTS = (
    Attempt("to write a file", "SELECT 'x' INTO OUTFILE '{tmp}/out'", "no right FILE"),
    Attempt("to read a file", "SELECT LOAD_FILE('{tmp}/secret')", "no right FILE", None, expected=[(None,)]),
    Attempt("to load a file", "LOAD DATA INFILE '{tmp}/secret' INTO TABLE t", "no right FILE", undo="DELETE FROM t"),
    Attempt(
        "to load a file outside the one folder", "LOAD DATA INFILE '/etc/passwd' INTO TABLE t", works=False,
        stopped="no right FILE, and secure_file_priv for who has it",
    ),
    Attempt("to load a library", "CREATE FUNCTION f RETURNS STRING SONAME 'f.so'", works=False),
    Attempt("to install a plugin", "INSTALL SONAME 'ha_spider'", works=False),
    Attempt("to change the server", "SET GLOBAL long_query_time = 9", undo="SET GLOBAL long_query_time = 10"),
    Attempt("to allow local files", "SET GLOBAL local_infile = ON", undo="SET GLOBAL local_infile = OFF"),
    Attempt("to start the scheduler", "SET GLOBAL event_scheduler = ON", undo="SET GLOBAL event_scheduler = OFF"),
    Attempt(
        "to redirect the log of slow statements", "SET GLOBAL slow_query_log_file = '{data}/x.log'",
        undo="SET GLOBAL slow_query_log_file = DEFAULT",
    ),
    Attempt("to shut the server down", "SHUTDOWN", works=False),
    Attempt("to end the measuring connection", "KILL {measuring}", "it is not the user's own"),
    Attempt("to make an account", "CREATE USER more@localhost", undo="DROP USER more@localhost"),
    Attempt("to rename an account", "RENAME USER root@localhost TO x@localhost", works=False),
    Attempt("to take the administrator's password", "SET PASSWORD FOR root@localhost = ''", works=False),
    Attempt(
        "to grant itself rights", "GRANT FILE ON *.* TO toy@localhost",
        undo="REVOKE FILE ON *.* FROM toy@localhost",
    ),
    Attempt("to share its rights", "GRANT ALL ON toy.* TO 'mariadb.sys'@localhost", works=False),
    Attempt("to make a role", "CREATE ROLE r", undo="DROP ROLE r"),
    Attempt("to take a role", "SET ROLE root", "there is none", "Invalid role", works=False),
    Attempt("to read passwords", "SELECT * FROM mysql.global_priv"),
    Attempt("to write to the accounts", "UPDATE mysql.global_priv SET Priv = Priv"),
    Attempt("to open a system table", "HANDLER mysql.proc OPEN", works=False),
    Attempt(
        "to see what others do", "SELECT COUNT(*) FROM information_schema.processlist WHERE user <> 'toy'",
        "no right PROCESS", None, expected=[(0,)],
    ),
    Attempt("to make another database", "CREATE DATABASE other", undo="DROP DATABASE other"),
    Attempt("to make an administrator's view", f"{DEFINER} VIEW v AS SELECT 1", undo="DROP VIEW v"),
    Attempt("to make an administrator's procedure", f"{DEFINER} PROCEDURE p() SELECT 1", undo="DROP PROCEDURE p"),
    Attempt(
        "to make an administrator's function", f"{DEFINER} FUNCTION f() RETURNS INT RETURN 1", undo="DROP FUNCTION f"
    ),
    Attempt(
        "to make an administrator's trigger", f"{DEFINER} TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.id = 1",
        undo="DROP TRIGGER g",
    ),
    Attempt(
        "to make an administrator's event", f"{DEFINER} EVENT e ON SCHEDULE EVERY 1 DAY DO DO 1", undo="DROP EVENT e"
    ),
    Attempt(
        "to name another server", "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST '127.0.0.1')",
        undo="DROP SERVER s",
    ),
    Attempt("to follow another server", "CHANGE MASTER TO MASTER_HOST = '127.0.0.1'", works=False),
    Attempt(
        "to read a file as a table", "CREATE TABLE c (a int) ENGINE=CONNECT FILE_NAME='/etc/passwd'",
        "the engine is not there", "Unknown storage engine", works=False,
    ),
    Attempt(
        "to reach a server through a table", "CREATE TABLE c (a int) ENGINE=FEDERATED CONNECTION='mysql://x@127.0.0.1/x'",
        "the engine is not there", "Unknown storage engine", works=False,
    ),
    Attempt("to lock everybody out", "FLUSH TABLES WITH READ LOCK", undo="UNLOCK TABLES"),
    Attempt("to lock a system table", "LOCK TABLES mysql.global_priv WRITE", undo="UNLOCK TABLES"),
    Attempt("to stop all writing", "BACKUP STAGE START", undo="BACKUP STAGE END"),
    Attempt(
        "to name a file above its folder", "SELECT * FROM `#mysql50#../mysql/global_priv`", "it is no name of a table",
        "Incorrect table name", works=False,
    ),
)  # fmt: skip


class Bench:
    """A job's server, others beside it, and a folder for walks; MariaDB, unless there is another `engine`."""

    def __init__(self, root: Path, engine: Engine | None = None, options: Sequence[str] = toy.OPTIONS) -> None:
        self.root, self.engine, self.options = root, engine or of_machine(), options
        made = root / "made"
        made.mkdir()
        private_server.create_data(made, self.engine, options, 300, boxes.settings())
        self.empty = made / "data"
        self.server = self.start("one", "x")
        self.tmp = Path(self.server.folder) / "tmp"

    def start(self, name: str, password: str, sandbox: Settings | None = None) -> Server:
        """Another server, of the job `name`."""
        folder = self.root / name / toy.NAME
        folder.mkdir(parents=True)
        shutil.copytree(self.empty, folder / "data")
        return private_server.start(
            folder, self.engine,
            databases={"": "toy"}, user="toy", password=password, options=self.options, time_limit=300,
            sandbox=sandbox or boxes.settings(),
        )  # fmt: skip

    def ask(self, account: Path, *statements: str, server: Server | None = None, database: str | None = "toy") -> Any:
        """The last statement's rows."""
        server, rows = server or self.server, None
        with mariadb.connect(server, account, database=database) as connection:
            mariadb.query(connection, "SET SESSION sql_mode = @@GLOBAL.sql_mode")  # as the project's code has it
            for statement in filter(None, statements):
                rows = mariadb.query(connection, statement)
        return rows

    def admin(self, *statements: str) -> Any:
        """As the administrator."""
        return self.ask(self.server.admin_file, *statements)

    def user(self, *statements: str) -> Any:
        """As the job's user."""
        return self.ask(self.server.job_file, *statements)

    def clean(self) -> None:
        """An empty database, and a file with a secret where the server may read."""
        self.ask(self.server.admin_file, "DROP DATABASE IF EXISTS toy", "CREATE DATABASE toy", database=None)
        (self.tmp / "out").unlink(missing_ok=True)
        (self.tmp / "secret").write_text(SECRET)

    def walk(self, body: str, at_start: bool = False, **limits: int) -> dict[str, Any]:
        """Walk a change whose last migration does `body`, with limits of the database; the last event.

        Those that hold `at_start` are given to a server that is started for it.
        """
        self.clean()
        job_dir = self.root / "job"
        (job_dir / "db").mkdir(parents=True)
        sandbox = boxes.settings(**{f"database_{name}": value for name, value in limits.items()})
        try:
            chain = {"a1": (None, toy.FIRST), "b2": ("a1", body)}
            toy.write(job_dir / "src", chain)
            toy.artifacts(job_dir, job_dir / "src", chain)
            with self._server_for(job_dir / "db" / toy.NAME, sandbox if at_start else None):
                limits = WalkLimits(toy.PATIENCE, toy.PATIENCE, 100_000)
                DatasetWalk(job_dir, toy.NAME, toy.profile(), limits, toy.PROGRAMS, sandbox).run()
            return toy.events(job_dir, toy.NAME)[-1]
        finally:
            shutil.rmtree(job_dir)


    @contextmanager
    def _server_for(self, folder: Path, sandbox: Settings | None) -> Iterator[None]:
        if sandbox is None:
            folder.symlink_to(self.server.folder)
            yield
            return
        server = self.start("limited", "x", sandbox)
        try:
            folder.symlink_to(server.folder)
            yield
        finally:
            mariadb.stop(server, 0)
            shutil.rmtree(self.root / "limited")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("bench"))
    yield made
    mariadb.stop(made.server, 0)


def refuse(bench: Bench, attempt: Attempt) -> None:
    """Have the administrator try it first, then the job's user, who must get nowhere."""
    bench.clean()
    bench.admin("CREATE TABLE t (id int, name varchar(99))")
    server, told = bench.server, {"tmp": bench.tmp, "data": bench.server.datadir}
    with mariadb.connect(server, server.admin_file) as measuring:
        sql = attempt.sql.format(**told, measuring=measuring.thread_id())
        if attempt.works and "{measuring}" not in attempt.sql:
            if attempt.expected is None:
                bench.admin(sql, attempt.undo)
            else:
                assert bench.admin(sql) != attempt.expected
            (bench.tmp / "out").unlink(missing_ok=True)
        if attempt.refused is None:
            assert bench.user(sql) == attempt.expected
        else:
            with pytest.raises(pymysql.err.MySQLError, match=attempt.refused):
                bench.user(sql)
        assert mariadb.query(measuring, "SELECT 1") == [(1,)]
        if attempt.works and "{measuring}" in attempt.sql:
            bench.admin(sql)
            with pytest.raises(pymysql.err.MySQLError):
                mariadb.query(measuring, "SELECT 1")
    assert not (bench.tmp / "out").exists()


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.tries)
def test_the_jobs_user_tries(bench: Bench, attempt: Attempt, stopped_by: Callable[[str], None]) -> None:
    refuse(bench, attempt)
    stopped_by(attempt.stopped)


def refuse_a_local_file(bench: Bench, folder: Path, refused: str) -> None:
    """See that a file of the client's is loaded where the server lets it, and refused where it does not."""
    bench.clean()
    (folder / "secret").write_text(SECRET)
    account = mariadb.read_account(bench.server.job_file)

    def load() -> None:
        client = pymysql.connect(
            user=account["user"], password=account["password"], unix_socket=bench.server.socket, ssl_disabled=True,
            database="toy", local_infile=True, autocommit=True,
        )  # fmt: skip
        with client, client.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS t (id int, name varchar(99))")
            cursor.execute(f"LOAD DATA LOCAL INFILE '{folder / 'secret'}' INTO TABLE t")

    bench.admin("SET GLOBAL local_infile = ON")
    load()
    assert bench.user("SELECT * FROM t") == [(1, "7h3-s3cr3t")]
    bench.admin("SET GLOBAL local_infile = OFF")
    with pytest.raises(pymysql.err.MySQLError, match=refused):
        load()


def test_a_file_of_the_clients_is_not_loaded(bench: Bench, stopped_by: Callable[[str], None], tmp_path: Path) -> None:
    refuse_a_local_file(bench, tmp_path, "disabled the local infile")
    stopped_by("a server without local_infile")


def test_a_table_stays_in_its_folder(bench: Bench, stopped_by: Callable[[str], None]) -> None:
    bench.clean()
    before = set(Path(bench.server.folder).iterdir()) | set(bench.server.datadir.iterdir())
    for number, rest in enumerate(("", " ENGINE=MyISAM", " PARTITION BY HASH(a) (PARTITION p {place})", " ENGINE=CSV")):
        place = f"DATA DIRECTORY='{bench.root}'"
        table = f"CREATE TABLE x{number} (a int not null)"
        sql = table + (rest.format(place=place) if "{place}" in rest else f"{rest} {place}")
        bench.user(sql, f"INSERT INTO x{number} VALUES (1)")
    for name in ("../../../../x", "/x", "..\\x", "x\x01", "toy.x/../../y"):
        bench.user(f"CREATE TABLE `{name}` (a int)")
    assert {path.name for path in bench.root.iterdir()} == {"made", "one"}
    assert set(Path(bench.server.folder).iterdir()) | set(bench.server.datadir.iterdir()) == before
    stopped_by("a server that follows no links and writes names in an alphabet of its own")


def test_an_event_never_comes(bench: Bench, stopped_by: Callable[[str], None]) -> None:
    bench.clean()
    bench.user("CREATE TABLE t (id int)", "CREATE EVENT e ON SCHEDULE EVERY 1 SECOND DO INSERT INTO t VALUES (1)")
    event = "SELECT status, last_executed FROM information_schema.events"
    assert bench.user("DO SLEEP(1.5)", event) == [("ENABLED", None)]
    bench.admin("SET GLOBAL event_scheduler = ON")
    try:
        wait_until(lambda: bench.user("SELECT COUNT(*) > 0 FROM t") == [(1,)])
    finally:
        bench.admin("SET GLOBAL event_scheduler = OFF")
    stopped_by("a server whose scheduler does not run")


READER = r"""
op.execute("CREATE TABLE seen (who varchar(99)) ENGINE=MyISAM")
op.execute("CREATE TABLE kept AS SELECT version_num FROM alembic_version")
op.execute("CREATE FUNCTION spy() RETURNS varchar(32) MODIFIES SQL DATA SQL SECURITY INVOKER "
           "BEGIN INSERT INTO seen VALUES (CURRENT_USER()); RETURN 'b2'; END")
op.execute("DROP TABLE alembic_version")
op.execute("CREATE SQL SECURITY INVOKER VIEW alembic_version AS SELECT spy() AS version_num")
import os; os._exit(0)
"""


def test_the_version_is_read_without_the_administrators_rights(bench: Bench, stopped_by: Callable[[str], None]) -> None:
    event = bench.walk(READER)
    assert event["event"] == "error"
    assert set(bench.user("SELECT who FROM seen")) <= {("toy@localhost",)}
    bench.user("SELECT * FROM alembic_version")
    assert set(bench.user("SELECT who FROM seen")) == {("toy@localhost",)}
    (administrator,) = bench.admin("SELECT * FROM alembic_version", "SELECT CURRENT_USER()")
    assert administrator in bench.user("SELECT who FROM seen"), "who reads it is who it runs as"
    stopped_by("a walk that reads tables alone, and with the job's own account")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("CREATE VIEW alembic_version AS SELECT REPEAT('x', 100000) AS version_num FROM seq_1_to_1000000", "is longer"),
        ("CREATE VIEW alembic_version AS SELECT version_num FROM nowhere", "references invalid"),
    ],
)
def test_a_version_table_that_is_a_trap(
    bench: Bench, body: str, words: str, stopped_by: Callable[[str], None]
) -> None:
    first = "op.execute('CREATE TABLE nowhere (version_num int)')\nop.execute('DROP TABLE alembic_version')\n"
    event = bench.walk(
        f'{first}op.execute("{body}")\nop.execute("DROP TABLE nowhere")\nimport os; os._exit(0)'
    )
    assert event["code"] == "walk_failed" or "migration_ended" in event["code"], event
    with (
        mariadb.connect(bench.server, bench.server.job_file, database="toy") as connection,
        pytest.raises((mariadb.ServerError, pymysql.err.MySQLError), match=words),
    ):
        mariadb.read_version(connection, "SELECT version_num FROM alembic_version")
    assert bench.server.running()
    stopped_by("a limit on what is read as a version")


def test_a_version_table_that_is_locked(bench: Bench, stopped_by: Callable[[str], None], monkeypatch: Any) -> None:
    from ansible.module_utils.th_walk import server_probe

    monkeypatch.setattr(server_probe, "READ_PATIENCE", 1.0)
    event = bench.walk("op.execute('LOCK TABLES t WRITE, alembic_version WRITE')")
    assert event["code"] == "walk_failed" and "cannot be read" in event["detail"], event
    assert bench.user("SELECT COUNT(*) FROM information_schema.processlist") == [(1,)]
    stopped_by("a time limit of the reading connection")


def test_a_database_that_is_dropped(bench: Bench, stopped_by: Callable[[str], None]) -> None:
    event = bench.walk("op.execute('DROP DATABASE toy')")
    assert event["event"] == "error" and event["code"].startswith(("migration_", "version_")), event
    stopped_by("nothing: it is the job's own copy, and the walk says that the migration has failed")


def test_two_jobs_side_by_side(bench: Bench, stopped_by: Callable[[str], None]) -> None:
    """The other's socket is not in the box, and for who is where it is, the password is another."""
    bench.clean()
    with ExitStack() as stack:
        other = bench.start("two", "another")
        stack.callback(shutil.rmtree, bench.root / "two")
        stack.callback(mariadb.stop, other, 0)
        account = mariadb.read_account(bench.server.job_file)
        reach = (
            "import os, socket\n"
            "there = socket.socket(socket.AF_UNIX)\n"
            f"there.connect({other.socket!r})\n"
            "raise RuntimeError('REACHED')"
        )
        with socket.socket(socket.AF_UNIX) as plain:
            plain.connect(other.socket)
        event = bench.walk(reach)
        assert event["code"] == "migration_raised" and "No such file" in event["detail"], event
        for file in (bench.server.job_file, bench.server.admin_file):
            with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
                bench.ask(file, "SELECT 1", server=other)
        folder = str(bench.root / "two")
        for pid, seen in ((bench.server.pid, False), (other.pid, True)):
            inside = Path(f"/proc/{pid}/root{folder}")
            assert inside.exists() == seen
            assert not Path(f"/proc/{pid}/root{other.admin_file}").exists()
        assert account["user"] == "toy"
    stopped_by("sockets, passwords and boxes of each one's own")


def test_a_server_sees_its_own_folder_alone(bench: Bench, stopped_by: Callable[[str], None]) -> None:
    """Whoever takes over the server itself has a user without rights, without a network, and no other file."""
    status = Path(f"/proc/{bench.server.pid}/status").read_text()
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE) and re.search(r"^CapBnd:\t0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE) and re.search(r"^Seccomp:\t2$", status, re.MULTILINE)
    assert re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE)
    process = Path(f"/proc/{bench.server.pid}")
    _, _, *devices = (process / "net" / "dev").read_text().splitlines()
    assert [line.partition(":")[0].strip() for line in devices] == ["lo"]
    inside = process / "root"
    here = Path(bench.server.folder).relative_to("/")
    assert sorted(path.name for path in (inside / here).iterdir()) == ["data", "init.sql", "run", "server.log", "tmp"]
    assert (inside / here / "init.sql").read_text() == "" and not (Path(bench.server.folder) / "init.sql").exists()
    secrets = [mariadb.read_account(file)["password"] for file in (bench.server.admin_file, bench.server.job_file)]
    assert secrets == [secret for secret in secrets if secret]
    for path in filter(Path.is_file, (inside / here).rglob("*")):
        assert secrets[0].encode() not in path.read_bytes(), path
    assert not (inside / "etc" / "shadow").exists() and not (inside / "root" / ".ssh").exists()
    stopped_by("a box of the server's own")


FILL = "op.execute(\"CREATE TABLE big AS SELECT REPEAT('x', 1000) AS a FROM seq_1_to_60000\")"
FOR_LONG = f"{FILL}\nop.execute('DO SLEEP(3600)')"
CONNECT = """
from sqlalchemy import create_engine, pool
engine = create_engine(op.get_context().config.get_main_option('sqlalchemy.url'), poolclass=pool.NullPool)
held = [engine.connect() for _ in range({})]
"""


SORT = """
import time
from sqlalchemy import text
rows = "SELECT seq, REPEAT(seq, 200) AS a FROM seq_1_to_120000 ORDER BY MD5(seq), a"
told = op.get_bind().execution_options(stream_results=True).execute(text(rows))
told.fetchone()
"""
"""What is sorted is in a file without a name until all of it has been fetched."""
MANY_ROWS = "SELECT seq AS id, REPEAT(MD5(seq), 30) AS a FROM seq_1_to_120000"
TALK = """
import os, threading, time
def talk():
    while True:
        os.write(int(number), b' ')
        time.sleep(0.2)
number = open('/proc/self/cmdline').read().split(chr(0))[2]
threading.Thread(target=talk, daemon=True).start()
"""
"""Says something all the time, so that there is always something to hear."""
ON_THE_SIDE = """
import threading, time
from sqlalchemy import create_engine, text
engine = create_engine(op.get_context().config.get_main_option('sqlalchemy.url'))
def fill():
    with engine.begin() as other:
        for number in range(1000):
            other.execute(text(f"CREATE TABLE side{number} AS SELECT REPEAT('x', 1000) AS a FROM seq_1_to_30000"))
threading.Thread(target=fill).start()
time.sleep(1)
op.execute('LOCK TABLES alembic_version WRITE')
"""
"""Goes on writing while the version cannot be read."""
FILLING = {
    "and has ended": FILL,
    "and goes on": FOR_LONG,
    "with what it sorts": f"{SORT}time.sleep(3600)",
    "with a table for a moment": f"op.execute('CREATE TEMPORARY TABLE x AS {MANY_ROWS}')",
    "with a table of another engine's": f"op.execute('CREATE TABLE x ENGINE=Aria AS {MANY_ROWS}')",
    "and never stops talking": f"{TALK}{FOR_LONG}",
    "while nothing can be asked": ON_THE_SIDE,
}


@pytest.mark.parametrize("how", FILLING)
def test_a_database_that_fills_the_disk(bench: Bench, how: str, stopped_by: Callable[[str], None]) -> None:
    event = bench.walk(FILLING[how], disk=30 << 20)
    assert event["code"] == "over_limit" and "sandbox_database_disk" in event["detail"], event["detail"]
    stopped_by("sandbox_database_disk")


def test_a_server_is_ended_after_the_code_that_uses_it_and_before_all_else(bench: Bench) -> None:
    own = int(Path("/proc/self/oom_score_adj").read_text())
    assert int(Path(f"/proc/{bench.server.pid}/oom_score_adj").read_text()) == max(own, 900)
    event = bench.walk("raise RuntimeError('it is ' + open('/proc/self/oom_score_adj').read())")
    assert "it is 1000" in event["detail"], event


def test_a_database_that_stays_below_its_limit_of_the_disk(bench: Bench) -> None:
    assert bench.walk(f"{FILL}{SORT}", disk=1 << 30)["event"] == "final"
    assert resource.prlimit(bench.server.pid, resource.RLIMIT_FSIZE) == (resource.RLIM_INFINITY,) * 2


@dataclass(frozen=True)
class Bomb:
    """What goes over a limit of the server's and stays below another, and the limit's name and two values."""

    body: str
    limit: str
    low: int
    high: int


OPENED = """
op.execute("CREATE TABLE m (id int) ENGINE=MyISAM PARTITION BY HASH(id) PARTITIONS 150")
op.execute("INSERT INTO m SELECT seq FROM seq_1_to_300")
"""
FULL = """
op.execute("SET SESSION max_heap_table_size = 1 << 32")
op.execute("CREATE TABLE m (a char(200), b char(200)) ENGINE=MEMORY")
op.execute("INSERT INTO m SELECT 'a', 'b' FROM seq_1_to_100000")
"""
BOMBS = (
    Bomb(CONNECT.format(8), "connections", 5, 20),
    Bomb(FULL, "memory", 560 << 20, 2 << 30),
    Bomb(OPENED, "open_files", 200, 1000),
    # the kernel does not count root's
    *([] if is_root() else [Bomb(CONNECT.format(30), "processes", 30, 200)]),
)


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.limit)
def test_a_change_that_uses_too_much(bench: Bench, bomb: Bomb, stopped_by: Callable[[str], None]) -> None:
    for value, over in ((bomb.low, True), (bomb.high, False)):
        event = bench.walk(bomb.body, at_start=True, **{bomb.limit: value})
        if over:
            assert event["code"] == "over_limit", event["detail"]
            assert f"(sandbox_database_{bomb.limit}): " in event["detail"]
        else:
            assert event["event"] == "final", event
    stopped_by(f"sandbox_database_{bomb.limit}")


SAYS = """
import json, os
number = int(open('/proc/self/cmdline').read().split(chr(0))[2])
said = json.dumps({{'error': {{'text': '(errno: 1 ' * {count}}}}}).encode() + b'\\n'
while said:
    said = said[os.write(number, said):]
os._exit(1)
"""


def test_an_error_text_that_takes_long_to_read(bench: Bench, stopped_by: Callable[[str], None]) -> None:
    """The walk's own processor time, for as long as which nobody else of its process gets anywhere."""
    costs = []
    for count in (1_000, 20_000):
        begun = time.process_time()
        event = bench.walk(SAYS.format(count=count))
        costs.append(time.process_time() - begun)
        assert event["code"] == "migration_raised" and len(event["detail"]) <= 4000, event
    assert costs[1] < 8 * costs[0]
    stopped_by("a text that is cut where it comes in")
