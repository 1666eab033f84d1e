# SPDX-License-Identifier: Apache-2.0
"""docs/datasets.md says what the code does."""

import re
from pathlib import Path

from tests.kit import ROOT
from worker.config import dataset_file, datasets

TEXT = (ROOT / "docs" / "datasets.md").read_text()


def test_the_example_is_a_dataset(tmp_path: Path) -> None:
    (example,) = re.findall(r"^       \{$.*?^       \}$", TEXT, flags=re.MULTILINE | re.DOTALL)
    path = tmp_path / "user_001.json"
    path.write_text(example)
    dataset = datasets.load(path)
    assert set(dataset.limits) == set(datasets.LIMITS)
    assert dataset.remarks


def test_the_keys_are_those_that_are_known() -> None:
    table = TEXT.split("\n## Keys\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    keys = {key for row in rows for key in re.findall(r"`(\w+)`", row)}
    assert keys == set(dataset_file.KNOWN)


def test_the_other_examples_are_datasets(tmp_path: Path) -> None:
    examples = re.findall(r"^    \{$.*?^    \}$", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert len(examples) >= 1
    (tmp_path / "user_001.settings").write_text("Variable_name\tValue\nsql_mode\tANSI\n")
    for example in examples:
        path = tmp_path / "user_001.json"
        path.write_text(example)
        assert datasets.load(path).parts


def test_the_example_of_a_waiver_is_one(tmp_path: Path) -> None:
    (waivers,) = re.findall(r'^    "waivers": \[$.*?^    \]$', TEXT, flags=re.MULTILINE | re.DOTALL)
    (example,) = re.findall(r"^       \{$.*?^       \}$", TEXT, flags=re.MULTILINE | re.DOTALL)
    path = tmp_path / "user_001.json"
    path.write_text(example.strip().removesuffix("}") + "," + waivers + "}")
    assert datasets.load(path).waivers


def test_the_kinds_of_dumps_are_those_that_are_known() -> None:
    row = next(line for line in TEXT.splitlines() if line.startswith("| `seed_data`"))
    assert set(re.findall(r"`(\.\w+)`", row)) == set(datasets.SUFFIXES)
