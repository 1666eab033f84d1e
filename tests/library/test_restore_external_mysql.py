# SPDX-License-Identifier: Apache-2.0
"""Datasets on an external MySQL, which is as its package sets it up: what it does otherwise than MariaDB."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest
from ansible.module_utils.th_dataset import lent_rights
from ansible.module_utils.th_measure import meter
from ansible.module_utils.th_server import external_server, mariadb
from ansible.module_utils.th_walk import leftovers
from ansible.module_utils.th_walk.walk import DatasetWalk
from ansible.module_utils.th_walk.walkers import WalkError, WalkLimits

from tests.kit import ROOT, boxes, toy
from tests.kit.external_mysql import ExternalMySQL
from tests.kit.waiting import wait_until

from .external_jobs import DUMP, Jobs, ask

PROGRAMS = ROOT / "roles" / "run_migrations" / "files"
SEQUENCE = "WITH RECURSIVE s (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM s WHERE seq < 1000) SELECT seq FROM s"
SEED = DUMP.replace("`app`@`10.0.%`", "`owner`@`localhost`") + (
    "CREATE TABLE more (id int PRIMARY KEY, about json, place vector(3));\n"
    "INSERT INTO more VALUES (1, '{\"a\": [1, 2]}', TO_VECTOR('[1, 2, 3]')), (2, NULL, NULL);\n"
)


@pytest.fixture(scope="module")
def external(external_mysql: ExternalMySQL) -> ExternalMySQL:
    """The server of the fixtures of external_jobs.py."""
    return external_mysql


def prepare(server: mariadb.Server, name: str, statement: str) -> None:
    """Leave a transaction that is prepared, and ends neither with its connection nor with its process."""
    with mariadb.connect(server, server.job_file, database=server.database) as connection:
        for said in (f"XA START '{name}'", statement, f"XA END '{name}'", f"XA PREPARE '{name}'"):
            mariadb.query(connection, said)


class TestOwnDatabases:
    def test_a_job_has_its_database_and_nothing_more(self, jobs: Jobs) -> None:
        former = "/*!50003 SET sql_mode = 'STRICT_TRANS_TABLES,NO_AUTO_CREATE_USER' */ ;\n"  # of MySQL 5.7
        jobs.dump.write_text(DUMP.replace("DELIMITER ;;\n", f"{former}DELIMITER ;;\n"))
        facts, server = jobs.restore()
        assert facts["server"]["flavour"] == "MySQL" and facts["version"] == ["a1"] and facts["notes"] == []
        ask(server, "UPDATE users SET name = 'changed' WHERE id = 1")
        assert ask(server, "SELECT name FROM names WHERE id = 1") == [("CHANGED",)]
        assert ask(server, "SELECT definer FROM information_schema.events") == [(f"{server.user}@%",)]
        schemas = {row[0] for row in ask(server, "SHOW DATABASES")}
        assert schemas == {"information_schema", "performance_schema", server.database}
        for statement in ("SELECT * FROM others.t", "CREATE DATABASE th_more", "CREATE USER x", "DROP DATABASE shop"):
            with pytest.raises(pymysql.err.MySQLError, match="denied"):
                ask(server, statement)
        external_server.release(server)
        assert jobs.external.ours() == []

    def test_what_jobs_leave_is_dropped(self, jobs: Jobs) -> None:
        """Even where a transaction that belongs to no connection any more has locked a table."""
        _, dead = jobs.restore()
        os.kill(dead.pid, signal.SIGKILL)
        os.waitpid(dead.pid, 0)
        wait_until(lambda: jobs.external.ask(f"SELECT IS_FREE_LOCK('{dead.user}')") == [(1,)])
        _, canceled = jobs.restore()
        assert jobs.external.ours() == sorted([canceled.user, canceled.database])
        prepare(canceled, "canceled", "DELETE FROM users")
        os.kill(canceled.pid, signal.SIGTERM)
        assert os.waitpid(canceled.pid, 0)[1] == 0
        assert jobs.external.ours() == [] and jobs.external.ask("XA RECOVER") == []
        _, ended = jobs.restore()
        prepare(ended, "ended", "DELETE FROM users")
        with (
            pytest.raises(mariadb.UnreachableError, match="XA_RECOVER_ADMIN"),
            external_server.administrating(ended) as connection,
        ):
            mariadb.query(connection, "SET SESSION lock_wait_timeout = 1")
            mariadb.query(connection, f"DROP DATABASE {ended.database}")
        external_server.release(ended)
        assert jobs.external.ask("XA RECOVER") == []

    def test_names_that_stand_for_themselves_in_grants(self, jobs: Jobs) -> None:
        """With partial revokes, GRANT ON `a\\_b`.* is about no database that is named a_b."""
        jobs.external.ask("CREATE DATABASE my_shop")
        jobs.external.ask("SET GLOBAL partial_revokes = ON")
        jobs.external.ask(f"GRANT ALL ON my_shop.* TO {jobs.external.account} WITH GRANT OPTION")
        jobs.keys |= {"preloaded": True, "database": "my_shop"}
        try:
            _, server = jobs.restore()
            assert len(ask(server, "SELECT * FROM users")) == 3
            external_server.release(server)
        finally:
            for right in ("ALL", "GRANT OPTION"):
                jobs.external.ask(f"REVOKE {right} ON my_shop.* FROM {jobs.external.account}")
            jobs.external.ask("SET GLOBAL partial_revokes = OFF")
            jobs.external.ask("FLUSH PRIVILEGES")
            jobs.external.ask("DROP DATABASE my_shop")

    def test_roles_that_every_account_gets(self, jobs: Jobs) -> None:
        jobs.external.ask("CREATE ROLE everybody")
        jobs.external.ask("GRANT SELECT ON others.* TO everybody")
        jobs.external.ask("SET GLOBAL mandatory_roles = 'everybody'")
        try:
            code, text = jobs.failure()
        finally:
            jobs.external.ask("SET GLOBAL mandatory_roles = ''")
            jobs.external.ask("DROP ROLE everybody")
        assert code == "server_unreachable" and "GRANT `everybody`" in text and "mandatory_roles" in text


class TestRights:
    @pytest.mark.parametrize(
        ("right", "preloaded", "said"),
        [
            ("CREATE USER ON *.*", False, "the CREATE USER privilege"),
            (r"ALL ON `th\_%`.*", False, "denied for user 'th'@'%' to database 'th_"),
            ("ALL ON shop.*", True, "denied for user 'th'@'%' to database 'shop'"),
            ("SHOW_ROUTINE ON *.*", True, "SHOW CREATE PROCEDURE `shop`.`twice` shows nothing to this account"),
        ],
    )
    def test_one_that_a_restore_needs(self, jobs: Jobs, right: str, preloaded: bool, said: str) -> None:
        jobs.keys["preloaded"] = preloaded
        with self.without(jobs, right):
            code, text = jobs.failure()
        assert code == "server_unreachable" and said in text and "docs/datasets.md" in text

    def test_those_without_which_something_is_missed(self, jobs: Jobs) -> None:
        rights = (
            "PROCESS ON *.*", "CONNECTION_ADMIN ON *.*", "XA_RECOVER_ADMIN ON *.*", "SELECT ON mysql.user",
            "SELECT ON performance_schema.*",
        )  # fmt: skip
        with contextlib.ExitStack() as stack:
            for right in rights:
                stack.enter_context(self.without(jobs, right))
            facts, server = jobs.restore()
            with mariadb.connect(server, server.admin_file) as connection:
                assert meter.read(connection, server).since(meter.read(connection, server)) == meter.unmeasured()
        said = facts["notes"]
        assert all(any(right.removesuffix(" ON *.*") in note for note in said) for right in rights) and len(said) == 5

    @contextlib.contextmanager
    def without(self, jobs: Jobs, right: str) -> Iterator[None]:
        option = " WITH GRANT OPTION" if right.startswith("ALL") else ""
        jobs.external.ask(f"REVOKE {right} FROM {jobs.external.account}")
        try:
            yield
        finally:
            jobs.external.ask(f"GRANT {right} TO {jobs.external.account}{option}")


class TestPreloaded:
    def test_its_objects_do_not_keep_the_account_of_a_job(self, preloaded: Jobs) -> None:
        """MySQL does not drop an account in whose name something runs."""
        facts, server = preloaded.restore()
        assert facts["method"] == "reload" and server.database == "shop"
        external_server.release(server)
        assert preloaded.external.ours() == [] and preloaded.external.ask("SHOW TABLES IN shop")
        _, dead = preloaded.restore()
        os.kill(dead.pid, signal.SIGKILL)
        os.waitpid(dead.pid, 0)
        wait_until(lambda: preloaded.external.ask(f"SELECT IS_FREE_LOCK('{dead.user}')") == [(1,)])
        preloaded.keys["preloaded"] = False
        _, server = preloaded.restore()
        assert preloaded.external.ours() == sorted([server.user, server.database])
        preloaded.keys["preloaded"] = True
        _, canceled = preloaded.restore()
        os.kill(canceled.pid, signal.SIGTERM)
        assert os.waitpid(canceled.pid, 0)[1] == 0
        assert preloaded.external.ours() == sorted([server.user, server.database])

    def test_it_is_proved(self, preloaded: Jobs) -> None:
        external, program = preloaded.external, preloaded.root / "reset"
        client = f"{mariadb.tool('mariadb')} --defaults-file={external.server.admin_file}"
        client += " --default-character-set=utf8mb4"
        (preloaded.root / "seed.sql").write_text(SEED)
        program.write_text(
            "#!/bin/sh -e\n"
            f"{client} -e 'DROP DATABASE shop; CREATE DATABASE shop'\n"
            f"{client} shop < seed.sql\n{client} shop < then.sql\n"
        )
        program.chmod(0o755)
        del preloaded.keys["seed_data"]
        preloaded.keys["reset"] = ["./reset"]
        for statement, said in (
            ("", ""),
            ("UPDATE users SET name = 'eins' WHERE id = 1", "rows of users (shop) differ"),
            ("UPDATE more SET about = JSON_SET(about, '$.a', 2) WHERE id = 1", "rows of more (shop) differ"),
            ("UPDATE more SET place = TO_VECTOR('[1, 2, 4]') WHERE id = 1", "rows of more (shop) differ"),
            ("ALTER TABLE users AUTO_INCREMENT = 1000", "the definition of table users (shop) differs"),
            ("DROP TRIGGER upper", "trigger upper (shop) is missing"),
            ("DROP PROCEDURE twice", "procedure twice (shop) is missing"),
            ("ALTER DATABASE shop COLLATE latin1_bin", "the definition of database (shop) differs"),
            ("", ""),
        ):
            (preloaded.root / "then.sql").write_text(statement)
            if said:
                code, text = preloaded.failure()
                assert code == "seed_changed" and said in text
            else:
                external_server.release(preloaded.restore()[1])

    @pytest.mark.parametrize("right", ["SELECT ON *.*", "SELECT (id) ON others.t", "'lender'", "ROLE_ADMIN ON *.*"])
    def test_rights_that_a_definer_would_lend(self, preloaded: Jobs, right: str) -> None:
        external = preloaded.external
        external.ask("CREATE ROLE lender")
        external.ask("CREATE USER rich@localhost ACCOUNT LOCK")
        external.ask("GRANT ALL ON shop.* TO rich@localhost")
        external.ask("CREATE TABLE IF NOT EXISTS shop.alembic_version (version_num varchar(32) PRIMARY KEY)")
        external.ask("CREATE DEFINER = rich@localhost VIEW shop.rich AS SELECT 1")
        try:
            with external_server.administrating(self.described(preloaded)) as connection:
                assert lent_rights.lenders(connection, ["shop"], "") == []
                external.ask(f"GRANT {right} TO rich@localhost")
                (said,) = lent_rights.lenders(connection, ["shop"], "")
        finally:
            external.ask("DROP VIEW shop.rich")
            external.ask("DROP USER rich@localhost")
            external.ask("DROP ROLE lender")
        assert "rich@localhost, who has" in said

    def described(self, jobs: Jobs) -> mariadb.Server:
        server = {**jobs.keys["server"], "password_file": str(jobs.password)}
        return external_server.describe(jobs.root, server, {"": "shop"}, preloaded=True)


class TestWalk:
    CHAIN = {  # noqa: RUF012
        "a1": (None, ""),
        "b2": ("a1", "op.execute('CREATE TABLE numbers (id int PRIMARY KEY, up int, KEY (up))')"),
        "c3": (
            "b2",
            "numbers = sa.table('numbers', sa.column('id'), sa.column('up'))\n"
            "op.bulk_insert(numbers, [{'id': number, 'up': 1} for number in range(1000)])",
        ),
        "d4": (
            "c3",
            "op.execute('ALTER TABLE numbers ADD FOREIGN KEY (up) REFERENCES users (id) ON DELETE CASCADE')\n"
            "op.execute('DELETE FROM users WHERE id = 1')",
        ),
    }

    def test_each_migration_is_measured(self, jobs: Jobs) -> None:
        options = jobs.options()
        jobs.restore(options)
        job_dir = Path(options["job_dir"])
        (job_dir / "results").mkdir(exist_ok=True)
        toy.write(job_dir / "src", self.CHAIN)
        toy.artifacts(job_dir, job_dir / "src", self.CHAIN)
        jobs.external.ask(f"INSERT INTO others.t SELECT seq FROM ({SEQUENCE}) AS s")
        DatasetWalk(job_dir, "toy", toy.profile(), WalkLimits(300, 300, 100_000), PROGRAMS, boxes.settings()).run()
        jobs.external.ask("DELETE FROM others.t")
        jobs.external.ask("INSERT INTO others.t VALUES (1)")
        events = toy.events(job_dir, "toy")
        assert events[-1] == {**events[-1], "event": "final", "version": "d4", "expected": "d4"}
        ends = {event["to"]: event["counters"] for event in events if event["event"] == "end"}
        assert 1000 <= ends["c3"]["rows_changed"] <= 1002 and ends["c3"]["redo_bytes"] is None
        assert ends["c3"]["data_bytes"] is not None and ends["d4"]["rows_changed"] is None, "a foreign key has acted"

    def test_what_the_projects_code_leaves_is_found(self, jobs: Jobs) -> None:
        _, server = jobs.restore()
        with mariadb.connect(server, server.admin_file) as connection:
            with mariadb.connect(server, server.job_file, database=server.database) as job:
                mariadb.query(job, "BEGIN")
                mariadb.query(job, "DELETE FROM users")
                leftovers.end_connections(connection, server, 30)
            assert len(ask(server, "SELECT * FROM users")) == 3
            leftovers.delayed(connection, server)
            leftovers.nothing_prepared(connection, server)
            prepare(server, "left", "DELETE FROM users")
            with pytest.raises(WalkError, match="which locks the table"):
                leftovers.nothing_prepared(connection, server)
