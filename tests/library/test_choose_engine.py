# SPDX-License-Identifier: Apache-2.0
"""Which engine a dataset is restored on, by what it names and where its dumps come from."""

import gzip
from pathlib import Path

import pytest
from ansible.module_utils.th_dataset.choose_engine import choose_engine
from ansible.module_utils.th_dataset.dataset import read_dataset
from ansible.module_utils.th_dataset.restore import RestoreOptions
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_server.engine import EngineError

from tests.kit import engines

from .test_restore import Home

MYSQL = "-- MySQL dump 10.13  Distrib {0}, for Linux (x86_64)\n-- Server version\t{0}\nCREATE TABLE t (id int);\n"
MARIADB = "-- MariaDB dump 10.19-{0}, for Linux (x86_64)\n-- Server version\t{0}\nCREATE TABLE t (id int);\n"
BARE = "CREATE TABLE t (id int);\n"


class Machine:
    """Engines, each a program that prints a version, and a dataset."""

    def __init__(self, root: Path) -> None:
        self.root, self.home = root, Home(root)
        self.entries: dict[str, dict[str, str]] = {}
        self.add("system", "mariadb", "10.11.19-MariaDB")

    def add(self, name: str, family: str, version: str) -> None:
        program = self.root / "engines" / name / "sbin" / "server"
        program.parent.mkdir(parents=True)
        program.write_text(engines.server(version, family))
        program.chmod(0o755)
        self.entries[name] = {"family": family, "program": str(program)}

    def choose(self, dump: str | None = None, **more: str) -> str:
        if dump is not None:
            self.home.dump.write_text(dump)
        options = self.home.options() | {"engines": self.entries, **more}
        given = RestoreOptions.of(options)
        return choose_engine(given, read_dataset(Path(given.config), given.names, given.engine)).name


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def refused(machine: Machine, dump: str) -> str:
    with pytest.raises(SeedError) as caught:
        machine.choose(dump)
    assert caught.value.code == "seed_broken" and str(machine.home.config) in str(caught.value)
    return str(caught.value)


def test_the_machines_own_where_the_dump_does_not_say_or_it_suits(machine: Machine) -> None:
    machine.add("mariadb-11.8", "mariadb", "11.8.3-MariaDB")
    machine.add("mysql-9.7", "mysql", "9.7.4")
    for dump in (BARE, MARIADB.format("10.11.19-MariaDB"), MARIADB.format("10.4.1-MariaDB")):
        assert machine.choose(dump) == "system"


def test_the_oldest_that_is_not_older_than_the_dumps_server(machine: Machine) -> None:
    for name, family, version in (
        ("nine", "mysql", "9.7.4"),
        ("eight", "mysql", "8.0.43-34"),
        ("eight-four", "mysql", "8.4.7"),
        ("eleven", "mariadb", "11.8.3-MariaDB"),
    ):
        machine.add(name, family, version)
    # what is not on this machine cannot be chosen
    machine.entries["five"] = {"family": "mysql", "program": str(machine.root / "nowhere" / "mysqld")}
    chosen = {"5.7.44": "eight", "8.0.50": "eight", "8.1.0": "eight-four", "8.4.2": "eight-four", "9.0.1": "nine"}
    for version, name in chosen.items():
        assert machine.choose(MYSQL.format(version)) == name
    assert machine.choose(MARIADB.format("11.4.2-MariaDB")) == "eleven"
    # mariadb-dump at a server of MySQL
    assert machine.choose(MARIADB.format("11.4.2-MariaDB").replace("n\t11.4.2-MariaDB", "n\t8.4.2")) == "eight-four"


def test_a_packed_dump_says_it_too(machine: Machine) -> None:
    machine.add("mysql-9.7", "mysql", "9.7.4")
    (machine.root / "toy.sql.gz").write_bytes(gzip.compress(MYSQL.format("8.0.36").encode()))
    machine.home.keys["seed_data"] = "toy.sql.gz"
    assert machine.choose() == "mysql-9.7"


def test_where_none_suits_the_remedy_is_a_command(machine: Machine) -> None:
    said = refused(machine, MYSQL.format("8.0.36"))
    assert "MySQL 8.0" in said and "engines.yaml" in said and "mysql_dump_into_mariadb" in said
    machine.entries["mysql-9.7"] = {"family": "mysql"}
    said = refused(machine, MYSQL.format("8.0.36"))
    assert "MySQL 8.0" in said and "playbooks/prepare-engine.yaml -e engine=mysql-9.7" in said
    said = refused(machine, MARIADB.format("11.8.3-MariaDB"))
    assert "MariaDB 11.8" in said and "key engine" in said
    del machine.entries["mysql-9.7"]
    machine.add("mysql-8", "mysql", "8.0.43")  # there, and too old
    said = refused(machine, MYSQL.format("9.7.4"))
    assert "MySQL 9.7" in said and "engines.yaml" in said and "mysql-8" not in said


def test_dumps_of_several_servers(machine: Machine) -> None:
    machine.home.several()
    (machine.root / "main.sql").write_text(MYSQL.format("8.4.1"))
    machine.add("eight", "mysql", "8.0.43")
    machine.add("nine", "mysql", "9.7.4")
    assert machine.choose(MYSQL.format("8.0.36")) == "nine"
    assert machine.choose(BARE) == "nine"
    said = refused(machine, MARIADB.format("10.11.19-MariaDB"))
    assert "MariaDB 10.11 and MySQL 8.4" in said and "key engine" in said
    machine.home.keys["engine"] = "nine"
    assert machine.choose() == "nine"


def test_the_engine_that_is_named_is_the_one(machine: Machine) -> None:
    machine.add("mysql-9.7", "mysql", "9.7.4")
    machine.add("mysql-8", "mysql", "8.0.43")
    machine.home.keys["engine"] = "mysql-9.7"
    assert machine.choose(MYSQL.format("8.0.36")) == machine.choose(MARIADB.format("10.11.19-MariaDB")) == "mysql-9.7"
    del machine.home.keys["engine"]
    machine.home.keys["engines"] = ["mysql-8", "system"]
    assert machine.choose(BARE, engine="mysql-8") == "mysql-8" and machine.choose(engine="system") == "system"
    del machine.home.keys["engines"]
    machine.home.keys["engine"] = "mysql-26"
    with pytest.raises(EngineError, match=r"no engine 'mysql-26' in engines\.yaml, which has mysql-8, mysql-9.7"):
        machine.choose()
