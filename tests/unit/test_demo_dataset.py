# SPDX-License-Identifier: Apache-2.0
"""The demo's dataset: the same rows every time, skewed as real ones are, and written as SQL that means them."""

import re

import pytest

from demo import dataset, rows
from demo.rows import Sizes, Table
from demo.tools import DemoError


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    return {table.name: table for table in rows.generate(Sizes.of(0.02))}


def column(table: Table, name: str) -> list[rows.Value]:
    index = table.columns.index(name)
    return [row[index] for row in table.rows]


def test_full_scale_has_the_sizes_that_the_documentation_names():
    assert Sizes.of(1.0) == Sizes(runs=20_000, metrics=500_000, params=100_000, tags=100_000)


def test_same_sizes_give_the_same_rows():
    assert rows.generate(Sizes.of(0.01)) == rows.generate(Sizes.of(0.01))


def test_big_tables_have_exactly_the_sizes_asked_for(tables):
    sizes = Sizes.of(0.02)
    assert len(tables["runs"].rows) == sizes.runs
    assert len(tables["metrics"].rows) == sizes.metrics
    assert len(tables["params"].rows) == sizes.params
    assert len(tables["tags"].rows) == sizes.tags


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("experiments", ("experiment_id",)),
        ("experiments", ("name",)),
        ("runs", ("run_uuid",)),
        ("metrics", ("key", "timestamp", "step", "run_uuid", "value", "is_nan")),
        ("latest_metrics", ("key", "run_uuid")),
        ("params", ("key", "run_uuid")),
        ("tags", ("key", "run_uuid")),
        ("model_versions", ("name", "version")),
        ("inputs", ("source_type", "source_id", "destination_type", "destination_id")),
    ],
)
def test_keys_are_unique(tables, name, key):
    columns = [column(tables[name], part) for part in key]
    values = list(zip(*columns, strict=True))
    assert len(set(values)) == len(values) > 0


@pytest.mark.parametrize(
    ("name", "reference", "target", "key"),
    [
        ("runs", "experiment_id", "experiments", "experiment_id"),
        ("metrics", "run_uuid", "runs", "run_uuid"),
        ("tags", "run_uuid", "runs", "run_uuid"),
        ("trace_tags", "request_id", "trace_info", "request_id"),
        ("model_versions", "name", "registered_models", "name"),
    ],
)
def test_references_lead_somewhere(tables, name, reference, target, key):
    assert set(column(tables[name], reference)) <= set(column(tables[target], key))


@pytest.mark.parametrize("scale", [0, 0.01, 0.02, 0.1])
def test_runs_of_an_experiment_share_names_at_every_scale(scale):
    (runs,) = [table for table in rows.generate(Sizes.of(scale)) if table.name == "runs"]
    names = [pair for pair in zip(column(runs, "experiment_id"), column(runs, "name"), strict=True) if pair[1]]
    assert len(set(names)) < len(names)


def test_runs_are_as_uneven_as_real_ones(tables):
    runs = tables["runs"]
    assert None in column(runs, "name")
    assert None in column(runs, "end_time")
    assert any(len(str(name)) == 250 for name in column(runs, "name"))
    assert any(ord(character) > 0xFFFF for name in column(runs, "name") for character in str(name))


def read_literal(text: str) -> str:
    """Read a quoted string as MariaDB does: string literals, its documentation."""
    names = {"0": "\0", "n": "\n", "r": "\r", "Z": "\x1a"}
    return re.sub(r"\\(.)", lambda match: names.get(match[1], match[1]), text[1:-1], flags=re.DOTALL)


@pytest.mark.parametrize(
    "text", ["", "it's", 'a "b"', "back\\slash\\", "\n\r\0\x1a", "損失 🚀", "\\'; DROP TABLE runs; --"]
)
def test_texts_survive_the_dump(text):
    literal = dataset._literal(text)
    assert read_literal(literal) == text
    assert not re.search(r"(?<!\\)(\\\\)*'", literal[1:-1]), "no quote inside ends the literal"


def test_numbers_and_nothing_are_written_so_that_nothing_is_lost():
    assert dataset._literal(None) == "NULL"
    assert dataset._literal(7) == "7"
    assert float(dataset._literal(0.1 + 0.2)) == 0.1 + 0.2


def test_dump_has_every_row_once_and_says_that_it_is_whole():
    table = Table("t", ("a", "b"), [(number, "x" * 1000) for number in range(3000)])
    text = "".join(dataset._dump([("alembic_version", "CREATE TABLE v"), ("t", "CREATE TABLE t")], [table]))
    assert len(re.findall(r"^\(\d+,'x{1000}'\)[,;]$", text, re.MULTILINE)) == 3000
    assert text.count("INSERT INTO `t` (`a`,`b`) VALUES") > 1
    assert "('0584bdc529eb');" in text
    assert text.startswith("-- MariaDB dump ")
    assert text.endswith("-- Dump completed\n")


def test_rows_for_a_table_that_is_not_there_are_an_error():
    with pytest.raises(DemoError, match="no table t"):
        list(dataset._dump([("alembic_version", "CREATE TABLE v")], [Table("t", ("a",), [(1,)])]))
