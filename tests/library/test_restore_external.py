# SPDX-License-Identifier: Apache-2.0
"""Datasets on an external server: a real second mariadbd on a port of this machine, with other people's data on it."""

import os
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pymysql
import pytest
from ansible.module_utils.th_dataset import rights
from ansible.module_utils.th_dataset.failure import RestoreError
from ansible.module_utils.th_dump.rewrite import without_definer
from ansible.module_utils.th_measure import meter
from ansible.module_utils.th_measure.ledger import CounterLedger
from ansible.module_utils.th_server import external_server, mariadb
from ansible.module_utils.th_server.accounts import identifier
from ansible.module_utils.th_server.counters import DATA
from ansible.module_utils.th_server.external_server import own_name
from ansible.module_utils.th_walk.walk import DatasetWalk
from ansible.module_utils.th_walk.walkers import WalkLimits

from tests.kit import ROOT, boxes, toy
from tests.kit.external_server import External
from tests.kit.waiting import PATIENCE, wait_until

from . import restoring
from .external_jobs import DUMP, Jobs, ask

PROGRAMS = ROOT / "roles" / "run_migrations" / "files"


class TestOwnDatabases:
    def test_a_dataset_is_restored_into_a_database_of_the_jobs_own(self, jobs: Jobs) -> None:
        facts, server = jobs.restore()
        name = own_name(Path(server.folder))
        assert server.database == f"{name}_shop" and server.user == name and server.running()
        assert (server.host, server.port, server.socket) == ("127.0.0.1", jobs.external.port, "")
        assert facts["version"] == ["a1"] and facts["method"] == "import" and facts["bytes"] > 0
        assert facts["server"]["flavour"] == "MariaDB" and facts["server"]["private"] is False
        assert facts["databases"] == [{"name": "", "database": f"{name}_shop", "version": ["a1"]}]
        assert len(ask(server, "SELECT * FROM users")) == 3
        assert jobs.external.ask("SHOW TABLES IN shop") == []

    def test_a_server_that_is_reached_by_its_socket(self, jobs: Jobs) -> None:
        del jobs.keys["server"]["host"], jobs.keys["server"]["port"]
        jobs.keys["server"]["socket"] = jobs.external.server.socket
        facts, server = jobs.restore()
        assert server.address == {"socket": jobs.external.server.socket} and facts["server"]["private"] is False
        assert len(ask(server, "SELECT * FROM users")) == 3
        external_server.release(server)
        assert Path(jobs.external.server.socket).exists()

    def test_what_ran_in_somebody_elses_name_runs_in_the_jobs(self, jobs: Jobs) -> None:
        _, server = jobs.restore()
        ask(server, "UPDATE users SET name = 'changed' WHERE id = 1")
        assert ask(server, "SELECT name FROM names WHERE id = 1") == [("CHANGED",)]
        assert ask(server, "SELECT event_name FROM information_schema.events") == [("nightly",)]

    def test_the_jobs_account_has_its_database_and_nothing_more(self, jobs: Jobs) -> None:
        _, server = jobs.restore()
        assert {row[0] for row in ask(server, "SHOW DATABASES")} == {"information_schema", server.database}
        for statement in ("SELECT * FROM others.t", "CREATE DATABASE th_more", "CREATE USER x", "DROP DATABASE shop"):
            with pytest.raises(pymysql.err.MySQLError, match="denied"):
                ask(server, statement)

    def test_a_dump_reaches_nobody_elses_data(self, jobs: Jobs) -> None:
        jobs.dump.write_text("DROP TABLE others.t;\n" + DUMP)
        code, text = jobs.failure()
        assert code == "seed_broken" and "denied" in text

    def test_no_password_is_copied_or_shown(self, jobs: Jobs) -> None:
        _, server = jobs.restore()
        for path in Path(server.folder).parent.parent.rglob("*"):
            assert path.is_dir() or "secret word" not in path.read_text()
        assert os.stat(server.job_file).st_mode & 0o777 == 0o600
        command = Path(f"/proc/{server.pid}/cmdline").read_bytes()
        assert b"secret word" not in command and b"th.password" not in command

    def test_jobs_side_by_side(self, jobs: Jobs) -> None:
        with ThreadPoolExecutor(2) as pool:
            (_, first), (_, second) = pool.map(jobs.restore, [jobs.options(), jobs.options()])
        ask(first, "DELETE FROM users")
        assert first.database != second.database and len(ask(second, "SELECT * FROM users")) == 3
        external_server.release(first)
        assert not first.running() and second.running()
        assert len(ask(second, "SELECT * FROM users")) == 3

    def test_what_a_dead_job_has_left_is_dropped_by_the_next(self, jobs: Jobs) -> None:
        _, dead = jobs.restore()
        _, alive = jobs.restore()
        os.kill(dead.pid, signal.SIGKILL)
        os.waitpid(dead.pid, 0)
        wait_until(lambda: jobs.external.ask(f"SELECT IS_FREE_LOCK('{dead.user}')") == [(1,)])
        assert dead.database in jobs.external.ours()
        _, third = jobs.restore()
        names = [name for server in (alive, third) for name in (server.user, server.database)]
        assert jobs.external.ours() == sorted(names)

    def test_what_a_canceled_job_has_is_dropped_at_once(self, jobs: Jobs) -> None:
        """A worker that cancels a job, or finds what a dead one has left, ends its processes."""
        _, server = jobs.restore()
        with mariadb.connect(server, server.job_file, database=server.database) as connection:
            mariadb.query(connection, "BEGIN")
            mariadb.query(connection, "UPDATE users SET name = 'x'")
            os.kill(server.pid, signal.SIGTERM)
            assert os.waitpid(server.pid, 0)[1] == 0
            assert jobs.external.ours() == []

    def test_the_locks_end_with_the_jobs_folder(self, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
        program = jobs.root / "hold_locks.py"
        options = jobs.options()
        program.write_text(Path(options["lock_program"]).read_text().replace("PERIOD = 10.0", "PERIOD = 0.1"))
        _, server = jobs.restore({**options, "lock_program": str(program)})
        assert server.running()
        Path(server.folder).rename(jobs.root / "gone")
        assert os.waitpid(server.pid, 0)[1] == 0
        assert jobs.external.ours() == []
        (jobs.root / "gone").rename(server.folder)

    def test_a_job_that_is_run_again_begins_anew(self, jobs: Jobs) -> None:
        options = jobs.options()
        _, first = jobs.restore(options)
        ask(first, "DELETE FROM users")
        _, second = jobs.restore(options)
        assert second.database == first.database and len(ask(second, "SELECT * FROM users")) == 3
        assert not first.running()

    def test_several_databases(self, jobs: Jobs) -> None:
        part = {"database": jobs.keys.pop("database"), "seed_data": jobs.keys.pop("seed_data")}
        jobs.keys["databases"] = {"main": part, "api": {**part, "database": "shop-api_" + "x" * 50}}
        facts, server = jobs.restore()
        assert facts["version"] == ["api:a1", "main:a1"]
        assert all(len(name) <= 64 and name.startswith(server.user) for name in server.databases.values())
        with mariadb.connect(server, server.admin_file) as connection:
            both = meter.read(connection, server).status[DATA]
            ask(server, f"DROP DATABASE {identifier(server.databases['api'])}")
            assert both == 2 * meter.read(connection, server).status[DATA] > 0


class TestCounters:
    def measured(self, server: mariadb.Server, *statements: str) -> dict[str, Any]:
        with mariadb.connect(server, server.admin_file) as connection:
            base = meter.read(connection, server)
            for statement in statements:
                ask(server, statement)
            return dict(meter.read(connection, server).since(base))

    def test_only_what_the_job_does_counts(self, jobs: Jobs) -> None:
        _, server = jobs.restore()
        ask(server, "CREATE TABLE numbers (id int PRIMARY KEY, text varchar(100)) ENGINE=InnoDB")
        with mariadb.connect(server, server.admin_file) as connection:
            base = meter.read(connection, server)
            jobs.external.ask("INSERT INTO others.t SELECT seq FROM others.seq_1_to_5000")
            jobs.external.ask("DELETE FROM others.t WHERE id > 1 OR id IS NULL")
            jobs.external.ask("DELETE FROM others.t")
            jobs.external.ask("INSERT INTO others.t VALUES (1)")
            counters = meter.read(connection, server).since(base)
        assert counters == {"rows_changed": 0, "rows_read": 0, "redo_bytes": None, "data_bytes": 0}
        counters = self.measured(server, "INSERT INTO numbers SELECT seq, REPEAT('x', 100) FROM seq_1_to_5000")
        assert counters["rows_changed"] == 5000 and counters["redo_bytes"] is None
        assert counters["data_bytes"] > 500_000
        assert self.measured(server, "UPDATE numbers SET text = 'y'")["rows_changed"] == 5000
        assert self.measured(server, "SELECT COUNT(text) FROM numbers")["rows_read"] == 5000
        counters = self.measured(server, "ALTER TABLE numbers MODIFY text varchar(90), ALGORITHM=COPY")
        assert counters["rows_changed"] == counters["rows_read"] == 5000

    def test_a_statement_that_is_not_counted_yet_is_waited_for(self, jobs: Jobs) -> None:
        """The server counts one a moment after it has answered it: on a busy machine, whoever read at once read 0."""
        _, server = jobs.restore()
        ask(server, "CREATE TABLE numbers (id int PRIMARY KEY, more int) AS SELECT seq AS id FROM seq_1_to_500")
        runs = "SELECT id FROM information_schema.processlist WHERE info LIKE 'UPDATE numbers%'"
        with ThreadPoolExecutor(1) as pool, mariadb.connect(server, server.admin_file) as connection:
            base = meter.read(connection, server)
            pool.submit(ask, server, "UPDATE numbers SET more = SLEEP(0.004)")
            wait_until(lambda: jobs.external.ask(runs))
            assert meter.read(connection, server).since(base)["rows_changed"] == 500

    def test_without_user_statistics_the_performance_schema_tells(self, jobs: Jobs) -> None:
        _, server = jobs.restore()
        jobs.external.ask("SET GLOBAL userstat = OFF")
        try:
            ask(server, "CREATE TABLE numbers (id int PRIMARY KEY, more int) AS SELECT seq AS id FROM seq_1_to_5000")
            jobs.external.ask("UPDATE others.t SET id = 1")
            counters = self.measured(server, "UPDATE numbers SET more = 1")
            assert counters["rows_changed"] == 5000 and 5000 <= counters["rows_read"] < 5100
            counters = self.measured(server, "ALTER TABLE numbers MODIFY more bigint, ALGORITHM=COPY")
            assert counters["rows_changed"] == 5000 and 5000 <= counters["rows_read"] < 5100
        finally:
            jobs.external.ask("SET GLOBAL userstat = ON")

    @pytest.mark.parametrize("statistics", ["ON", "OFF"])
    def test_rows_that_change_beneath_the_statements(self, jobs: Jobs, statistics: str) -> None:
        """What a foreign key does cannot be told apart from what others do there; what goes with a table can."""
        _, server = jobs.restore()
        ask(server, "CREATE TABLE numbers (id int PRIMARY KEY) AS SELECT seq AS id FROM seq_1_to_5000")
        ask(server, "CREATE TABLE up (id int PRIMARY KEY) AS SELECT seq AS id FROM seq_1_to_9")
        ask(server, "CREATE TABLE child (up int, FOREIGN KEY (up) REFERENCES up (id) ON DELETE CASCADE)")
        ask(server, "ANALYZE TABLE numbers, up, child")
        jobs.external.ask(f"SET GLOBAL userstat = {statistics}")
        try:
            found = [
                self.accounted(server, statement)
                for statement in (
                    "INSERT INTO up VALUES (10)", "DELETE FROM up WHERE id = 3", "DELETE FROM numbers WHERE id < 9",
                    "ALTER TABLE numbers FORCE", "TRUNCATE numbers", "DROP TABLE child",
                )
            ]  # fmt: skip
        finally:
            jobs.external.ask("SET GLOBAL userstat = ON")
        assert found[0] == 1 and found[1] is None and found[2:4] == [8, 0] and found[5] == 0
        assert found[4] is not None and 4500 < found[4] < 5500

    def accounted(self, server: mariadb.Server, statement: str) -> int | None:
        """The rows that a statement has changed, as a walk has them."""
        ledger = CounterLedger(server, {"": "alembic_version"})
        with mariadb.connect(server, server.admin_file) as connection:
            ledger.begin(connection)
            ask(server, statement)
            return ledger.end(connection)["rows_changed"]

    def test_an_account_that_may_see_nothing_measures_nothing(self, jobs: Jobs) -> None:
        _, server = jobs.restore()
        for right in ("PROCESS ON *.*", "SELECT ON performance_schema.*"):
            jobs.external.ask(f"REVOKE {right} FROM {jobs.external.account}")
        try:
            counters = self.measured(server, "UPDATE users SET name = 'x'")
            with mariadb.connect(server, server.admin_file) as connection:
                (note,) = rights.missing(connection, server)
                assert "lacks the right PROCESS ON *.*" in note
                jobs.external.ask("SET GLOBAL userstat = OFF")
                _, note = rights.missing(connection, server)
                assert "SELECT ON performance_schema.*" in note
        finally:
            jobs.external.ask("SET GLOBAL userstat = ON")
            for right in ("PROCESS ON *.*", "SELECT ON performance_schema.*"):
                jobs.external.ask(f"GRANT {right} TO {jobs.external.account}")
        assert counters == dict.fromkeys(meter.NAMES)


class TestWalk:
    """The walk of a dataset that is on an external server."""

    ROWS = (
        "op.execute('INSERT INTO numbers SELECT seq, seq FROM seq_1_to_1000')\n"
        "assert 'relay.sock' in op.get_context().config.get_main_option('sqlalchemy.url')"
    )
    CHAIN = {  # noqa: RUF012
        "a1": (None, ""),
        "b2": ("a1", "op.create_table('numbers', sa.Column('id', sa.Integer), sa.Column('more', sa.Integer))"),
        "c3": ("b2", ROWS),
    }

    def walk(self, options: dict[str, Any]) -> list[dict[str, Any]]:
        job_dir = Path(options["job_dir"])
        (job_dir / "results").mkdir(exist_ok=True)
        toy.write(job_dir / "src", self.CHAIN)
        toy.artifacts(job_dir, job_dir / "src", self.CHAIN)
        DatasetWalk(job_dir, "toy", toy.profile(), WalkLimits(300, 300, 100_000), PROGRAMS, boxes.settings()).run()
        return toy.events(job_dir, "toy")

    def test_each_migration_is_measured_apart_from_others_work(self, jobs: Jobs) -> None:
        options = jobs.options()
        jobs.restore(options)
        with ThreadPoolExecutor(1) as pool:
            busy = [True]

            def work() -> None:
                while busy:
                    jobs.external.ask("UPDATE others.t SET id = 3 - id")
                jobs.external.ask("UPDATE others.t SET id = 1")

            others = pool.submit(work)
            try:
                events = self.walk(options)
            finally:
                busy.clear()
            others.result()
        assert events[-1] == {**events[-1], "event": "final", "version": "c3", "expected": "c3"}
        ends = {event["to"]: event for event in events if event["event"] == "end"}
        assert list(ends) == ["b2", "c3"]
        assert not list(Path(options["job_dir"]).rglob("relay.sock"))
        counters = ends["c3"]["counters"]
        assert 1000 <= counters["rows_changed"] <= 1002, "the rows, and the version"
        assert counters["redo_bytes"] is None

    def test_a_connection_that_is_lost_ends_the_walk(self, jobs: Jobs) -> None:
        options = jobs.options()
        _, server = jobs.restore(options)
        ((connection,),) = jobs.external.ask(f"SELECT IS_USED_LOCK('{server.user}')")
        jobs.external.ask(f"KILL {connection}")
        os.kill(server.pid, signal.SIGKILL)
        os.waitpid(server.pid, 0)
        (error,) = [event for event in self.walk(options) if event["event"] == "error"]
        assert error["code"] == "server_unreachable"


    def test_the_jobs_connections_are_told_from_others(self, jobs: Jobs) -> None:
        _, server = jobs.restore()
        with mariadb.connect(server, server.admin_file) as connection:
            for statement in ("SELECT 1", "SET GLOBAL userstat = OFF"):
                jobs.external.ask(statement)
                before = meter.connections(connection, server)
                jobs.external.ask("SELECT 1")
                assert meter.connections(connection, server) == before
                ask(server, "SELECT 1")
                assert meter.connections(connection, server) == before + 1
            jobs.external.ask("SET GLOBAL userstat = ON")


class TestTrouble:
    def test_a_server_that_is_not_there(self, jobs: Jobs) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            jobs.keys["server"]["port"] = free.getsockname()[1]
        code, text = jobs.failure()
        assert code == "server_unreachable" and str(jobs.keys["server"]["port"]) in text

    def test_a_wrong_password(self, jobs: Jobs) -> None:
        jobs.password.write_text("another\n")
        code, text = jobs.failure()
        assert code == "server_unreachable" and "Access denied for user 'th'" in text

    @pytest.mark.parametrize(("mode", "words"), [(0o644, "chmod 600"), (None, "No such file")])
    def test_a_password_file_that_cannot_be_used(self, jobs: Jobs, mode: int | None, words: str) -> None:
        jobs.password.unlink() if mode is None else jobs.password.chmod(mode)
        code, text = jobs.failure()
        assert code == "server_unreachable" and words in text and str(jobs.password) in text

    @pytest.mark.parametrize("preloaded", [False, True])
    def test_an_account_that_may_only_read(self, jobs: Jobs, preloaded: bool) -> None:
        jobs.keys |= {"preloaded": preloaded}
        jobs.keys["server"]["user"] = "reader"
        code, text = jobs.failure()
        assert code == "server_unreachable" and "denied" in text and "docs/datasets.md" in text

    def test_a_dump_that_cannot_be_loaded(self, jobs: Jobs) -> None:
        jobs.dump.write_text("this is not SQL\n")
        code, text = jobs.failure()
        assert code == "seed_broken" and "syntax" in text

    def test_the_end_of_a_job_whose_server_is_gone(self, jobs: Jobs, tmp_path: Path) -> None:
        gone = External(tmp_path / "gone")
        jobs.keys["server"]["port"] = gone.port
        options = jobs.options()
        restoring.restore(options)
        server = mariadb.load(Path(options["job_dir"]) / "db" / "toy")
        mariadb.stop(gone.server, 0)
        with pytest.raises(mariadb.ServerError, match="cannot be reached"):
            external_server.release(server)
        assert not server.running()


TAMPERED = [
    ("UPDATE shop.users SET name = 'eins' WHERE id = 1", "rows of users (shop) differ"),
    ("INSERT INTO shop.users VALUES (4, 'vier', NULL)", "rows of users (shop) differ"),
    ("DELETE FROM shop.users WHERE id = 3", "rows of users (shop) differ"),
    ("ALTER TABLE shop.users ADD COLUMN more int", "the definition of table users (shop) differs"),
    ("ALTER TABLE shop.users DROP INDEX by_name", "the definition of table users (shop) differs"),
    ("ALTER TABLE shop.users AUTO_INCREMENT = 1000", "the definition of table users (shop) differs"),
    ("CREATE TRIGGER shop.more BEFORE INSERT ON shop.users FOR EACH ROW SET NEW.name = 'x'", "trigger more (shop)"),
    ("DROP TRIGGER shop.upper", "trigger upper (shop) is missing"),
    ("CREATE TABLE shop.extra (id int)", "table extra (shop) is not the seed's"),
    ("DROP TABLE shop.alembic_version", "table alembic_version (shop) is missing"),
    ("CREATE OR REPLACE VIEW shop.names AS SELECT id FROM shop.users", "the definition of view names (shop) differs"),
    ("DROP PROCEDURE shop.twice", "procedure twice (shop) is missing"),
    ("CREATE EVENT shop.e ON SCHEDULE EVERY 1 DAY DO DELETE FROM shop.users", "event e (shop) is not the seed's"),
    ("CREATE SEQUENCE shop.s", "table s (shop) is not the seed's"),
    ("ALTER DATABASE shop COLLATE latin1_bin", "the definition of database (shop) differs"),
]


class TestPreloaded:
    def test_it_is_reloaded_from_its_dump_before_each_job(self, preloaded: Jobs) -> None:
        facts, server = preloaded.restore()
        assert server.database == "shop" and server.preloaded and facts["method"] == "reload"
        assert facts["version"] == ["a1"] and facts["seconds"]["proof"] >= 0
        for statement in ("DELETE FROM users", "DROP VIEW names", "CREATE TABLE more (id int)", "DROP PROCEDURE twice"):
            ask(server, statement)
        external_server.release(server)
        assert preloaded.external.ask("SHOW TABLES IN shop"), "it stays"
        _, server = preloaded.restore()
        assert len(ask(server, "SELECT * FROM users")) == 3
        (seal,) = (preloaded.root / "snapshots" / "seals").iterdir()
        assert seal.stat().st_mode & 0o777 == 0o600

    def test_another_dump_is_another_seed(self, preloaded: Jobs) -> None:
        _, server = preloaded.restore()
        external_server.release(server)
        preloaded.dump.write_text(DUMP.replace("'one'", "'another'"))
        _, server = preloaded.restore()
        assert ask(server, "SELECT name FROM users WHERE id = 1") == [("another",)]

    def test_one_job_at_a_time(self, preloaded: Jobs) -> None:
        _, first = preloaded.restore()
        preloaded.time_limit = 1
        code, text = preloaded.failure()
        assert code == "server_unreachable" and "another job has held shop" in text
        preloaded.time_limit = 300
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(preloaded.restore)
            time.sleep(1)
            assert not second.done()
            external_server.release(first)
            assert second.result(timeout=PATIENCE)[0]["version"] == ["a1"]

    def test_two_datasets_of_one_job_do_not_wait_for_each_other(self, preloaded: Jobs) -> None:
        options = preloaded.options()
        preloaded.restore(options)
        with pytest.raises(RestoreError, match="dataset toy of this job has the preloaded") as caught:
            restoring.restore({**options, "name": "other"})
        assert caught.value.code == "seed_broken"

    def test_a_job_that_died_blocks_nobody(self, preloaded: Jobs) -> None:
        _, dead = preloaded.restore()
        os.kill(dead.pid, signal.SIGKILL)
        os.waitpid(dead.pid, 0)
        _, server = preloaded.restore()
        assert preloaded.external.ours() == [server.user]

    def test_a_database_that_is_not_there(self, preloaded: Jobs) -> None:
        preloaded.keys["database"] = "nowhere"
        code, text = preloaded.failure()
        assert code == "server_unreachable" and "nowhere" in text


class TestOperatorsReset:
    """The operator's own command makes the database the seed's again, or so it says."""

    @pytest.fixture
    def reset(self, preloaded: Jobs) -> Callable[[str], Jobs]:
        external = preloaded.external
        account = f"--defaults-file={external.server.admin_file}"
        client = [mariadb.tool("mariadb"), account, "--default-character-set=utf8mb4"]
        program = preloaded.root / "reset"
        del preloaded.keys["seed_data"]
        preloaded.keys["reset"] = ["./reset", "to the seed"]

        def write(then: str) -> Jobs:
            external.ask("DROP DATABASE IF EXISTS shop")
            external.ask("CREATE DATABASE shop")
            external.ask(f"GRANT SELECT ON mysql.* TO {external.account}")
            dump = DUMP.replace("`app`@`10.0.%`", "`owner`@`localhost`")
            (preloaded.root / "all.sql").write_text(dump)
            (preloaded.root / "then.sql").write_text(then)
            drop = "DROP DATABASE shop; CREATE DATABASE shop"
            program.write_text(
                "#!/bin/sh -e\n"
                'test "$1" = "to the seed" && test "$TH_DATASET $TH_DATABASES" = "toy shop"\n'
                f"{' '.join(client)} -e '{drop}'\n"
                f"{' '.join(client)} shop < all.sql\n{' '.join(client)} shop < then.sql\n"
            )
            program.chmod(0o755)
            return preloaded

        return write

    def test_it_is_run_before_each_job(self, reset: Callable[[str], Jobs]) -> None:
        jobs = reset("")
        facts, server = jobs.restore()
        assert facts["method"] == "reset" and facts["version"] == ["a1"]
        ask(server, "DELETE FROM users")
        external_server.release(server)
        _, server = jobs.restore()
        assert len(ask(server, "SELECT * FROM users")) == 3

    @pytest.mark.parametrize(("statement", "said"), TAMPERED)
    def test_what_is_not_the_seeds_is_found(
        self, reset: Callable[[str], Jobs], statement: str, said: str
    ) -> None:
        jobs = reset("")
        _, server = jobs.restore()
        external_server.release(server)
        (jobs.root / "then.sql").write_text(statement)
        code, text = jobs.failure()
        assert code == "seed_changed" and said in text
        (seal,) = (jobs.root / "snapshots" / "seals").iterdir()
        assert str(seal) in text
        if statement == TAMPERED[0][0]:  # the operator takes it
            seal.unlink()
            assert jobs.restore()[0]["version"] == ["a1"]

    @pytest.mark.parametrize(
        ("content", "words"),
        [("#!/bin/sh\necho no snapshot\nexit 3\n", "status 3: no snapshot"), (None, "No such file")],
    )
    def test_a_command_that_fails(self, reset: Callable[[str], Jobs], content: str | None, words: str) -> None:
        jobs = reset("")
        program = jobs.root / "reset"
        program.write_text(content) if content else program.unlink()
        code, text = jobs.failure()
        assert code == "seed_changed" and words in text


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        (b"/*!50013 DEFINER=`a``b`@`%` SQL SECURITY DEFINER */\n", b"/*!50013  SQL SECURITY DEFINER */\n"),
        (b"/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`b`*/ /*!50003 X", b"/*!50003 CREATE*/ /*!50017 */ /*!50003 X"),
        (b"CREATE DEFINER=`a`@`b` PROCEDURE x()\n", b"CREATE  PROCEDURE x()\n"),
        (b"CREATE OR REPLACE ALGORITHM=MERGE DEFINER='a'@'%' VIEW v\n", b"CREATE OR REPLACE ALGORITHM=MERGE  VIEW v\n"),
        (b"INSERT INTO t VALUES ('CREATE DEFINER=`a`@`b`');\n", b"INSERT INTO t VALUES ('CREATE DEFINER=`a`@`b`');\n"),
    ],
)  # fmt: skip
def test_definers_are_taken_out_where_a_dump_has_them(line: bytes, becomes: bytes) -> None:
    assert without_definer(line) == becomes
