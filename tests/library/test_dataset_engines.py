# SPDX-License-Identifier: Apache-2.0
"""A dataset's file read for one of its engines, and what may be restored on it."""

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_dataset import choose_engine
from ansible.module_utils.th_dataset.dataset import Dataset, read_dataset
from ansible.module_utils.th_dataset.restore import RestoreOptions
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_server import private_server
from ansible.module_utils.th_server.engine import Engine
from ansible.module_utils.th_server.family_mariadb import MARIADB
from ansible.module_utils.th_server.family_mysql import MYSQL
from ansible.module_utils.th_server.mariadb import Server

MYSQL_DUMP = "-- MySQL dump 10.13  Distrib 9.7.4, for Linux (x86_64)\n--\n-- Server version\t9.7.4\n"
LIMIT = {"default": 10, "a->b": 5, "warn_only": True, "mysql-9.7": {"default": 20, "b->c": 30, "warn_only": False}}
BOTH = {"engines": ["system", "mysql-9.7"]}


def read(folder: Path, wanted: str = "", dump: str = "SELECT 1;", **keys: Any) -> Dataset:
    (folder / "seed.sql").write_text(dump)
    document = {"db_user": "u", "db_pass": "p", "database": "shop", "seed_data": "seed.sql", **keys}
    (folder / "user_001.json").write_text(json.dumps(document))
    return read_dataset(folder / "user_001.json", [""], wanted)


@pytest.mark.parametrize(
    ("keys", "engine", "found"),
    [
        ({}, "", ""),
        ({}, "mysql-9.7", "mysql-9.7"),
        ({"engine": "mysql-9.7"}, "", "mysql-9.7"),
        ({"engine": "mysql-9.7"}, "mysql-9.7", "mysql-9.7"),
        ({"engines": ["mysql-9.7"]}, "", "mysql-9.7"),
        (BOTH, "mysql-9.7", "mysql-9.7"),
        (BOTH, "system", "system"),
    ],
)
def test_the_limits_are_those_of_the_engine(tmp_path: Path, keys: dict[str, Any], engine: str, found: str) -> None:
    dataset = read(tmp_path, engine, maximum_redo_bytes=LIMIT, Innodb_rows_read={"default": 1}, **keys)
    assert dataset.engine == found
    general = {"default": 10, "a->b": 5, "warn_only": True}
    own = {"default": 20, "a->b": 5, "b->c": 30, "warn_only": False}
    limits = {"maximum_redo_bytes": own if found == "mysql-9.7" else general, "Innodb_rows_read": {"default": 1}}
    assert dataset.for_verdict["limits"] == limits


@pytest.mark.parametrize(
    ("keys", "engine", "said"),
    [
        (BOTH, "", "needs an item for each, such as {name: user_001@system, config: .*user_001.json, engine: system}"),
        (BOTH, "mysql-8.0", "is for the engines system, mysql-9.7, and not for the engine mysql-8.0: add it"),
        ({"engine": "system"}, "mysql-9.7", "is for the engine system, and not"),
        ({"server": {"host": "db"}}, "mysql-9.7", "external server: leave engine out"),
    ],
)
def test_an_engine_that_it_is_not_for(tmp_path: Path, keys: dict[str, Any], engine: str, said: str) -> None:
    with pytest.raises(SeedError, match=said) as raised:
        read(tmp_path, engine, **keys)
    assert raised.value.code == "seed_broken"


@pytest.mark.parametrize(
    ("keys", "dump", "found"),
    [
        ({"engine": "system"}, "SELECT 1;", "system"),
        ({"engine": "mysql-9.7"}, MYSQL_DUMP, "mysql-9.7"),
        ({"engine": "system"}, MYSQL_DUMP, "mysql_dump_into_mariadb"),
        ({"engine": "system", "mysql_dump_into_mariadb": True}, MYSQL_DUMP, "system"),
        ({"mysql_dump_into_mariadb": True}, MYSQL_DUMP, "system"),
        ({}, MYSQL_DUMP, "add one to engines.yaml .*mysql_dump_into_mariadb"),
        ({}, "SELECT 1;", "system"),
    ],
)
def test_a_dump_of_mysql_is_loaded_into_mariadb_only_where_the_dataset_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], dump: str, found: str
) -> None:
    def engine(given: RestoreOptions, name: str) -> Engine:
        return Engine(name, MYSQL if name.startswith("mysql") else MARIADB, "/usr/sbin/mysqld")

    monkeypatch.setattr(choose_engine, "find_engine", engine)
    monkeypatch.setattr(choose_engine, "number", lambda engine: (8, 4, 0))
    engines = {"system": {"family": "mariadb"}, "mysql-8.4": {"family": "mysql"}}
    given = RestoreOptions("", "", "", [], "", "", {}, [], 1, 1, engines=engines)
    dataset = read(tmp_path, dump=dump, **keys)
    if found in ("system", "mysql-9.7"):
        assert choose_engine.choose_engine(given, dataset).name == found
    else:
        with pytest.raises(SeedError, match=found):
            choose_engine.choose_engine(given, dataset)


def test_the_path_of_a_socket_needs_no_quotes_in_a_url(tmp_path: Path) -> None:
    folder = Path("/srv/1/db")
    assert private_server._socket_path(Server(f"{folder}/a", "", {}, "u")) == "/srv/1/db/a/run/server.sock"
    path = Path(private_server._socket_path(Server(f"{folder}/a@mysql-9.7", "", {}, "u")))
    assert path.parent.parent == Path("/tmp") and path.name == "server.sock"
    path.parent.rmdir()
