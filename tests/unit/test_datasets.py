# SPDX-License-Identifier: Apache-2.0
"""The datasets' files: what they may say, and errors that name file and key."""

import json
from pathlib import Path
from typing import Any

import pytest

from worker.config import datasets
from worker.config.dataset_file import ExternalServer, Part
from worker.errors import DatasetError

GOOD = {
    "project": "library/catalog",
    "type": "mysql",
    "db_user": "nova",
    "db_pass": "tester",
    "database": "catalog",
    "seed_data": "catalog.sql.gz",
    "logging_conf": "logging.conf",
    "maximum_migration_times": {"default": 60, "a->b": 120.5},
    "XInnodb_rows_changed": {"default": 100000},
    "_about": ["anything", {"at": "all"}],
}

NO_PART = {"database": None, "seed_data": None}
PART = {"database": "catalog_api", "seed_data": "api.sql"}
SERVER = {"host": "db.example.org", "user": "th", "password_file": "th.password"}
EXTERNAL: dict[str, Any] = {"db_user": None, "db_pass": None, "server": SERVER}
WAIVER = {"migration": "a->b", "reason": "the index is needed", "limit": "maximum_redo_bytes"}


def put(path: Path, **changes: Any) -> Path:
    document = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def test_a_dataset_in_a_file(tmp_path: Path) -> None:
    dataset = datasets.load(put(tmp_path / "user_001.json"))
    assert (dataset.name, dataset.project, dataset.type) == ("user_001", "library/catalog", "mysql")
    assert (dataset.db_user, dataset.db_pass) == ("nova", "tester")
    assert dataset.parts == (Part("", "catalog", tmp_path / "catalog.sql.gz"),)
    assert (dataset.server, dataset.preloaded, dataset.reset) == (None, False, ())
    assert (dataset.tags, dataset.waivers) == ((), ())
    assert dataset.limits == {
        "maximum_migration_times": {"default": 60, "a->b": 120.5},
        "XInnodb_rows_changed": {"default": 100000},
    }
    assert dataset.remarks == {"_about": ["anything", {"at": "all"}]}


def test_a_dataset_in_a_folder(tmp_path: Path) -> None:
    dataset = datasets.load(put(tmp_path / "user_001" / "config.json"))
    assert (dataset.name, dataset.parts[0].seed) == ("user_001", tmp_path / "user_001" / "catalog.sql.gz")


def test_a_folder_of_mydumpers_is_a_dump_too(tmp_path: Path) -> None:
    (tmp_path / "dumped").mkdir()
    expect = {"tables": 3, "rows": {"orders": 0}, "size": 1, "sha256": "0" * 64}
    dataset = datasets.load(put(tmp_path / "user_001.json", seed_data="dumped", expect=expect))
    assert dataset.parts[0].seed == tmp_path / "dumped"
    with pytest.raises(DatasetError, match="a folder of mydumper's"):
        datasets.load(put(tmp_path / "user_001.json", seed_data="none"))


def test_several_databases(tmp_path: Path) -> None:
    two = {"main": {**PART, "database": "catalog"}, "api": PART}
    limit = {"default": 5, "api:default": 7, "api:a->api:b": 9, "warn_only": True}
    dataset = datasets.load(put(tmp_path / "a.json", **NO_PART, databases=two, maximum_redo_bytes=limit))
    seed = tmp_path / "api.sql"
    assert dataset.parts == (Part("main", "catalog", seed), Part("api", "catalog_api", seed))
    assert dataset.limits["maximum_redo_bytes"] == limit


def test_waivers_and_tags(tmp_path: Path) -> None:
    waivers = [WAIVER, {"migration": "b->c", "reason": "known", "bug": "https://bugs.example.org/5"}]
    dataset = datasets.load(put(tmp_path / "a.json", waivers=waivers, tags=["small", "old"]))
    assert dataset.waivers == tuple(waivers) and dataset.tags == ("small", "old")


def test_an_external_server(tmp_path: Path) -> None:
    dataset = datasets.load(put(tmp_path / "a.json", **EXTERNAL))
    assert dataset.server == ExternalServer("db.example.org", 3306, "", "th", tmp_path / "th.password")
    assert dataset.server.place == "db.example.org:3306" and not dataset.preloaded
    socket = {"socket": "/run/db.sock", "user": "th", "password_file": "/etc/th.password"}
    dataset = datasets.load(put(tmp_path / "a.json", **{**EXTERNAL, "server": socket}))
    assert dataset.server == ExternalServer("", 3306, "/run/db.sock", "th", Path("/etc/th.password"))
    verified = datasets.load(put(tmp_path / "a.json", **{**EXTERNAL, "server": {**SERVER, "ssl_ca": "ca.pem"}})).server
    assert verified and verified.ssl_ca == tmp_path / "ca.pem"


def test_preloaded_databases(tmp_path: Path) -> None:
    assert datasets.load(put(tmp_path / "a.json", **EXTERNAL, preloaded=True)).parts[0].seed
    reset = {**EXTERNAL, "preloaded": True, "seed_data": None, "reset": ["ssh", "db", "rollback"]}
    dataset = datasets.load(put(tmp_path / "a.json", **reset))
    assert dataset.reset == ("ssh", "db", "rollback") and dataset.parts[0].seed is None


def test_engines(tmp_path: Path) -> None:
    dataset = datasets.load(put(tmp_path / "a.json"))
    assert (dataset.engines, dataset.mysql_dump_into_mariadb) == ((), False)
    assert datasets.load(put(tmp_path / "a.json", engine="mysql-9.7")).engines == ("mysql-9.7",)
    both = ["system", "mysql-9.7"]
    dataset = datasets.load(put(tmp_path / "a.json", engines=both, mysql_dump_into_mariadb=True))
    assert dataset.engines == tuple(both) and dataset.mysql_dump_into_mariadb


def test_limits_of_an_engine(tmp_path: Path) -> None:
    limit = {"default": 10, "mysql-9.7": {"default": 20, "a->b": 30, "warn_only": True}}
    for engines in ({}, {"engine": "mysql-9.7"}, {"engines": ["system", "mysql-9.7"]}):
        dataset = datasets.load(put(tmp_path / "a.json", maximum_redo_bytes=limit, **engines))
        assert dataset.limits["maximum_redo_bytes"] == limit


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        ({"engine": "MySQL"}, "engine", "'MySQL' cannot be an engine's name.*engines.yaml"),
        ({"engine": ["mysql-9.7"]}, "engine", "text"),
        ({"engine": "a" * 65}, "engine", "cannot be"),
        ({"engines": []}, "engines", "is empty"),
        ({"engines": "mysql-9.7"}, "engines", "list"),
        ({"engines": ["system", "-x"]}, "engines[1]", "'-x' cannot be"),
        ({"engines": ["system", "a@b"]}, "engines[1]", "cannot be"),
        ({"engines": ["system", "x", "system"]}, "engines[2]", "'system' is duplicated"),
        ({"engine": "x", "engines": ["x"]}, "engines", "beside engine"),
        ({**EXTERNAL, "engine": "x"}, "engine", "private servers.*keep one"),
        ({**EXTERNAL, "engines": ["x"]}, "engines", "private servers"),
        ({**EXTERNAL, "mysql_dump_into_mariadb": True}, "mysql_dump_into_mariadb", "private servers"),
        ({"mysql_dump_into_mariadb": "yes"}, "mysql_dump_into_mariadb", "true or false"),
        ({"maximum_redo_bytes": {"x": {"defualt": 1}}}, "maximum_redo_bytes.x.defualt", "neither default nor from->to"),
        ({"maximum_redo_bytes": {"x": {"y": {}}}}, "maximum_redo_bytes.x.y", "neither"),
        ({"maximum_redo_bytes": {"x": 5}}, "maximum_redo_bytes.x", "neither"),
        ({"maximum_redo_bytes": {"x": {"default": -1}}}, "maximum_redo_bytes.x.default", "0 or more"),
        ({"maximum_redo_bytes": {"default": {"a->b": 1}}}, "maximum_redo_bytes.default", "number"),
        ({"maximum_redo_bytes": {"a->b": {}}}, "maximum_redo_bytes.a->b", "number"),
        ({"maximum_redo_bytes": {"X": {}}}, "maximum_redo_bytes.X", "neither"),
        ({"maximum_redo_bytes": {"x": {}}, "engine": "y"}, "maximum_redo_bytes.x", "add x to engines"),
        ({"maximum_redo_bytes": {"x": {}}, **EXTERNAL}, "maximum_redo_bytes.x", "external server"),
    ],
)
def test_engines_that_cannot_be(tmp_path: Path, changes: dict[str, Any], key: str, said: str) -> None:
    with pytest.raises(DatasetError, match=said) as raised:
        datasets.load(put(tmp_path / "a.json", **changes))
    assert raised.value.key == key


def test_the_password_is_not_shown(tmp_path: Path) -> None:
    assert "tester" not in repr(datasets.load(put(tmp_path / "a.json")))


def test_an_empty_password_is_one(tmp_path: Path) -> None:
    assert datasets.load(put(tmp_path / "a.json", db_pass="")).db_pass == ""


@pytest.mark.parametrize("seed", ["d.sql", "d.sql.gz", "d.sql.zst", "d.sql.xz", "/srv/dumps/d.sql"])
def test_kinds_of_dumps(tmp_path: Path, seed: str) -> None:
    assert datasets.load(put(tmp_path / "a.json", seed_data=seed)).parts[0].seed == tmp_path / seed


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        ({"project": None}, "project", "missing"),
        ({"seed_data": None}, "seed_data", "missing"),
        ({"db_pass": None}, "db_pass", "missing"),
        ({"db_user": 5}, "db_user", "text"),
        ({"database": ""}, "database", "text"),
        ({"database": "a`; drop"}, "database", "cannot be used"),
        ({"db_user": "a'b"}, "db_user", "cannot be used"),
        ({"type": "postgres"}, "type", "only mysql"),
        ({"seed_data": "dump.zip"}, "seed_data", "no known kind"),
        ({"seed": "dump.sql"}, "seed", "not a known key"),
        ({"maximum_migration_times": 60}, "maximum_migration_times", "mapping"),
        ({"maximum_migration_times": {"default": "60"}}, "maximum_migration_times.default", "number"),
        ({"maximum_migration_times": {"default": True}}, "maximum_migration_times.default", "number"),
        ({"maximum_migration_times": {"default": None}}, "maximum_migration_times.default", "number"),
        ({"Innodb_rows_read": {"default": -1}}, "Innodb_rows_read.default", "0 or more"),
        ({"Innodb_rows_read": {"b": 5}}, "Innodb_rows_read.b", "neither"),
        ({"Innodb_rows_read": {"api:default": 5}}, "Innodb_rows_read.api:default", "neither"),
        ({"maximum_redo_bytes": {"warn_only": 1}}, "maximum_redo_bytes.warn_only", "true or false"),
        ({"maximum_data_growth": {"default": True}}, "maximum_data_growth.default", "number"),
        ({"waivers": {}}, "waivers", "list"),
        ({"waivers": ["a->b"]}, "waivers[0]", "mapping"),
        ({"waivers": [{"migration": "a->b"}]}, "waivers[0].reason", "missing"),
        ({"waivers": [{"migration": "a->b", "reason": " "}]}, "waivers[0].reason", "missing"),
        ({"waivers": [{"reason": "known"}]}, "waivers[0].migration", "missing"),
        ({"waivers": [{"migration": "b", "reason": "known"}]}, "waivers[0].migration", "not from->to"),
        ({"waivers": [WAIVER, {**WAIVER, "limit": "rows"}]}, "waivers[1].limit", "no limit"),
        ({"waivers": [{**WAIVER, "bug": 5}]}, "waivers[0].bug", "text"),
        ({"waivers": [{**WAIVER, "until": "May"}]}, "waivers[0].until", "not a known key"),
        ({"tags": "small"}, "tags", "list"),
        ({"tags": ["small", "a b"]}, "tags[1]", "cannot be a tag"),
        ({"databases": {"api": {}}}, "database", "beside databases"),
        ({**NO_PART, "databases": []}, "databases", "mapping"),
        ({**NO_PART, "databases": {}}, "databases", "mapping"),
        ({**NO_PART, "databases": {"API": PART}}, "databases.API", "not a valid database name"),
        ({**NO_PART, "databases": {"api": {"database": "a"}}}, "databases.api.seed_data", "missing"),
        ({**NO_PART, "databases": {"api": {**PART, "x": 1}}}, "databases.api.x", "not a known key"),
        ({**NO_PART, "databases": {"api": PART, "main": PART}}, "databases.main.database", "duplicated"),
        ({**NO_PART, "databases": {"api": {**PART, "database": "a`"}}}, "databases.api.database", "cannot be used"),
        ({"server": "db.example.org"}, "server", "mapping"),
        ({"server": SERVER}, "db_user", "private servers"),
        ({**EXTERNAL, "server": {**SERVER, "host": None}}, "server.host", "text"),
        ({**EXTERNAL, "server": {**SERVER, "host": "a b"}}, "server.host", "not a valid host name"),
        ({**EXTERNAL, "server": {**SERVER, "port": "3306"}}, "server.port", "port"),
        ({**EXTERNAL, "server": {**SERVER, "password": "x"}}, "server.password", "not a known key"),
        ({**EXTERNAL, "server": {"host": "a", "user": "th"}}, "server.password_file", "missing"),
        ({**EXTERNAL, "server": {**SERVER, "ssl_ca": ""}}, "server.ssl_ca", "not empty"),
        ({**EXTERNAL, "server": {"socket": "s", "user": "th", "password_file": "p", "ssl_ca": "c"}}, "server.ssl_ca",
         "by network"),
        ({**EXTERNAL, "server": {"user": "th", "password_file": "p"}}, "server.host", "missing"),
        ({"maximum_redo_byte": {}}, "maximum_redo_byte", "did you mean maximum_redo_bytes?"),
        ({"preloaded": True}, "preloaded", "external server"),
        ({**EXTERNAL, "preloaded": "yes"}, "preloaded", "true or false"),
        ({**EXTERNAL, "reset": ["a"]}, "reset", "preloaded"),
        ({**EXTERNAL, "preloaded": True, "reset": ["a", 5]}, "reset[1]", "text"),
        ({**EXTERNAL, "preloaded": True, "reset": ["a"]}, "seed_data", "keep one"),
        ({**EXTERNAL, "preloaded": True, "seed_data": None}, "seed_data", "missing"),
        ({**EXTERNAL, "preloaded": True, "reset": ["a"], "seed_data": None, "expect": {}}, "expect", "reset"),
        ({"expect": []}, "expect", "mapping"),
        ({"expect": {}}, "expect", "must have some of"),
        ({"expect": {"table": 3}}, "expect.table", "not a known key"),
        ({"expect": {"tables": -1}}, "expect.tables", "0 or more"),
        ({"expect": {"tables": True}}, "expect.tables", "0 or more"),
        ({"expect": {"size": "3"}}, "expect.size", "0 or more"),
        ({"expect": {"rows": [3]}}, "expect.rows", "mapping"),
        ({"expect": {"rows": {"t": 1.5}}}, "expect.rows.t", "0 or more"),
        ({"expect": {"rows": {"a`b": 1}}}, "expect.rows", "mapping"),
        ({"expect": {"sha256": "abc"}}, "expect.sha256", "64 hexadecimal"),
        ({**NO_PART, "databases": {"api": {**PART, "expect": {"x": 1}}}}, "databases.api.expect.x", "not a known key"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], key: str, said: str) -> None:
    path = put(tmp_path / "user_001.json", **changes)
    with pytest.raises(DatasetError) as caught:
        datasets.load(path)
    assert caught.value.key == key
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", '{"project": ', "\x00\xff", '{"project": "a", "project": "b"}'])
def test_a_file_that_is_no_dataset(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content, "latin-1")
    with pytest.raises(DatasetError, match=r"a\.json"):
        datasets.load(path)


@pytest.mark.parametrize("name", ["a b", "a;b", "ä", "-a"])
def test_a_name_that_would_be_trouble(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="cannot be a dataset's name"):
        datasets.load(put(tmp_path / f"{name}.json"))


def test_all_datasets_are_found(tmp_path: Path) -> None:
    for name in ("b.json", "a/config.json", ".hidden.json", "c.json.orig"):
        put(tmp_path / name)
    (tmp_path / "dumps").mkdir()
    assert datasets.find(tmp_path) == [tmp_path / "a" / "config.json", tmp_path / "b.json"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        datasets.find(tmp_path / "none")


def test_only_the_datasets_of_the_project_are_chosen(tmp_path: Path) -> None:
    put(tmp_path / "b.json")
    put(tmp_path / "a.json")
    put(tmp_path / "other.json", project="library/loans")
    chosen, errors = datasets.select(tmp_path, "library/catalog")
    assert [dataset.name for dataset in chosen] == ["a", "b"]
    assert errors == []


def test_a_broken_dataset_does_not_hide_the_others(tmp_path: Path) -> None:
    put(tmp_path / "a.json")
    broken = put(tmp_path / "b.json", type="oracle")
    torn = tmp_path / "c.json"
    torn.write_text("{")
    chosen, errors = datasets.select(tmp_path, "library/catalog")
    assert [dataset.name for dataset in chosen] == ["a"]
    assert [error.path for error in errors] == [broken], "whose the torn one is, nobody knows"
    assert torn.exists()


def test_a_broken_dataset_of_another_project_is_not_ours_to_report(tmp_path: Path) -> None:
    put(tmp_path / "b.json", project="library/loans", type="oracle")
    assert datasets.select(tmp_path, "library/catalog") == ([], [])


def test_a_name_that_is_there_twice(tmp_path: Path) -> None:
    put(tmp_path / "a.json")
    put(tmp_path / "a" / "config.json")
    chosen, errors = datasets.select(tmp_path, "library/catalog")
    assert len(chosen) == 1
    assert "is duplicated" in str(errors[0])


def test_a_draft_that_cannot_be_read_stops_nobody_who_has_datasets(tmp_path: Path) -> None:
    put(tmp_path / "good.json")
    (tmp_path / "draft.json").write_text('{ "half":')
    chosen, errors = datasets.select(tmp_path, "library/catalog")
    assert [dataset.name for dataset in chosen] == ["good"] and errors == []
    chosen, errors = datasets.select(tmp_path, "library/other")
    assert chosen == [] and [error.path.name for error in errors] == ["draft.json"]


def test_only_json_is_read_as_the_playbooks_read_it(tmp_path: Path) -> None:
    path = put(tmp_path / "good.json")
    path.write_text("\ufeff" + path.read_text())
    assert datasets.load(path).name == "good"
    path.write_text("project: library/catalog\n")
    with pytest.raises(DatasetError, match="not valid JSON"):
        datasets.load(path)


def test_the_servers_own_accounts_are_not_the_jobs(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="db_user"):
        datasets.load(put(tmp_path / "good.json", db_user="root"))


class TestChosen:
    """Which datasets a job tests, by name and by tag."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        put(tmp_path / "a.json", tags=["small"])
        put(tmp_path / "b" / "config.json", tags=["large", "old"])
        put(tmp_path / "c.json")
        put(tmp_path / "loans.json", project="library/loans", tags=["loans"])

    @pytest.mark.parametrize(
        ("wanted", "names"),
        [
            (None, ["a", "b", "c"]),
            (["small"], ["a"]),
            (["small", "c"], ["a", "c"]),
            (["old", "large", "b"], ["b"]),
            (["none"], []),
            (["loans"], []),
        ],
    )
    def test_by_name_or_tag(self, tmp_path: Path, wanted: list[str] | None, names: list[str]) -> None:
        chosen, errors = datasets.select(tmp_path, "library/catalog", wanted)
        assert [dataset.name for dataset in chosen] == names and errors == []

    def test_unknown_is_what_no_dataset_has(self, tmp_path: Path) -> None:
        assert datasets.unknown(tmp_path, ["small", "smal", "b", "loans", "d"]) == ["smal", "d"]
        assert datasets.unknown(tmp_path, None) == []

    def test_a_broken_one_counts_when_it_was_asked_for(self, tmp_path: Path) -> None:
        put(tmp_path / "a.json", tags=["small"], type="oracle")
        assert [error.path.name for error in datasets.select(tmp_path, "library/catalog", ["small"])[1]] == ["a.json"]
        assert datasets.select(tmp_path, "library/catalog", ["c"])[1] == []
        assert datasets.unknown(tmp_path, ["small", "a"]) == []
        (tmp_path / "a.json").write_text("{")
        assert datasets.unknown(tmp_path, ["a"]) == []
        chosen, errors = datasets.select(tmp_path, "library/catalog", ["a"])
        assert chosen == [] and [error.path.name for error in errors] == ["a.json"]
