# SPDX-License-Identifier: Apache-2.0
"""The datasets' files: what they may say, and errors that name file and key."""

import json
from pathlib import Path
from typing import Any

import pytest

from worker import datasets
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


def put(path: Path, **changes: Any) -> Path:
    document = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def test_a_dataset_in_a_file(tmp_path: Path) -> None:
    dataset = datasets.load(put(tmp_path / "user_001.json"))
    assert (dataset.name, dataset.project, dataset.type) == ("user_001", "library/catalog", "mysql")
    assert (dataset.database, dataset.db_user, dataset.db_pass) == ("catalog", "nova", "tester")
    assert dataset.seed == tmp_path / "catalog.sql.gz"
    assert dataset.limits == {
        "maximum_migration_times": {"default": 60, "a->b": 120.5},
        "XInnodb_rows_changed": {"default": 100000},
    }
    assert dataset.remarks == {"_about": ["anything", {"at": "all"}]}


def test_a_dataset_in_a_folder(tmp_path: Path) -> None:
    dataset = datasets.load(put(tmp_path / "user_001" / "config.json"))
    assert (dataset.name, dataset.seed) == ("user_001", tmp_path / "user_001" / "catalog.sql.gz")


def test_the_password_is_not_shown(tmp_path: Path) -> None:
    assert "tester" not in repr(datasets.load(put(tmp_path / "a.json")))


def test_an_empty_password_is_one(tmp_path: Path) -> None:
    assert datasets.load(put(tmp_path / "a.json", db_pass="")).db_pass == ""


@pytest.mark.parametrize("seed", ["d.sql", "d.sql.gz", "d.sql.zst", "d.sql.xz", "/srv/dumps/d.sql"])
def test_kinds_of_dumps(tmp_path: Path, seed: str) -> None:
    assert datasets.load(put(tmp_path / "a.json", seed_data=seed)).seed == tmp_path / seed


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
    assert "twice" in str(errors[0])


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
