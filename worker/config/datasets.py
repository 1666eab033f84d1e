# SPDX-License-Identifier: Apache-2.0
"""Finds the datasets that an operator has set up (docs/datasets.md), and selects those that a job tests."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from worker.config import engines
from worker.config.dataset_file import SUFFIXES, Dataset, ExternalServer, load, name_of
from worker.config.dataset_limits import LIMITS
from worker.errors import ConfigError, DatasetError
from worker.inputs import documents

__all__ = [
    "LIMITS", "SUFFIXES", "Dataset", "ExternalServer", "Selected", "find", "load", "name_of", "select", "unknown",
]  # fmt: skip


@dataclass(frozen=True)
class Selected:
    """A dataset that a job tests, on one of the engines that it names; `engine` is "" if it names none."""

    dataset: Dataset
    engine: str

    @property
    def name(self) -> str:
        """Its name in artifacts: the dataset's, with the engine if there are several."""
        return engines.on(self.dataset.name, self.engine) if len(self.dataset.engines) > 1 else self.dataset.name

    @property
    def item(self) -> dict[str, str]:
        """Its entry in `th_datasets` (docs/artifacts.md)."""
        entry = {"name": self.name, "config": str(self.dataset.config_path)}
        return {**entry, "engine": self.engine} if self.engine else entry

    @property
    def words(self) -> set[str]:
        """The names and tags that select it."""
        return _with_engine({self.dataset.name, *self.dataset.tags}, [self.engine] if self.engine else [])


def find(datasets_dir: Path) -> list[Path]:
    """The files of all datasets in a folder: `<name>.json` and `<name>/config.json`, sorted by name.

    Raises DatasetError if the folder cannot be read.
    """
    try:
        entries = sorted(datasets_dir.iterdir())
    except OSError as error:
        raise DatasetError(datasets_dir, "", f"cannot be read ({error.strerror})", "check datasets_dir") from error
    files = []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        file = entry if entry.suffix == ".json" and os.path.isfile(entry) else entry / "config.json"
        # include a folder that this user may not enter: reading its dataset reports the reason
        if os.path.isfile(file) or (os.path.isdir(entry) and not os.access(entry, os.X_OK)):
            files.append(file)
    return files


def select(
    datasets_dir: Path, project: str, wanted: Collection[str] | None = None
) -> tuple[list[Selected], list[DatasetError]]:
    """The datasets of a project, sorted by name, each on its engines; and the errors of those that cannot be read.

    `wanted` limits them to datasets with one of these names or tags; a name or tag with an engine (``small@mysql-9.7``)
    stands for that engine alone. If a file is so broken that its project is unknown, its error is returned only if no
    dataset was found: one draft must not stop every project. `th check` reports it in any case. Raises DatasetError if
    the folder cannot be read.
    """
    chosen: dict[str, Dataset] = {}
    errors: list[DatasetError] = []
    drafts: list[DatasetError] = []
    for path in find(datasets_dir):
        if wanted is not None and not _words(path) & set(wanted):
            continue
        try:
            dataset = load(path)
            if dataset.project != project:
                continue
            if dataset.name in chosen:
                problem = f"the dataset {dataset.name} is duplicated: {chosen[dataset.name].config_path} has it, too"
                raise DatasetError(path, "", problem, "remove one")
            chosen[dataset.name] = dataset
        except DatasetError as error:
            owner = _raw(path).get("project")
            if owner in (project, None):
                (drafts if owner is None else errors).append(error)
    found = [Selected(dataset, engine) for dataset in chosen.values() for engine in dataset.engines or ("",)]
    if wanted is not None:
        found = [one for one in found if one.words & set(wanted)]
    return found, errors if chosen else errors + drafts


def unknown(datasets_dir: Path, wanted: Collection[str] | None) -> list[str]:
    """The wanted words that select no dataset in the folder. Raises DatasetError."""
    known = set().union(*(_words(path) for path in find(datasets_dir)))
    return [word for word in wanted or () if word not in known]


def _words(path: Path) -> set[str]:
    """The words that select a dataset, even if its file has errors: its name and its tags, alone and with an engine."""
    raw = _raw(path)
    used = [*_texts(raw.get("engines")), *_texts([raw.get("engine")])]
    return _with_engine({name_of(path), *_texts(raw.get("tags"))}, used)


def _with_engine(words: Collection[str], used: Iterable[str]) -> set[str]:
    return {*words, *(engines.on(word, engine) for engine in used for word in words)}


def _texts(value: object) -> list[str]:
    return [item for item in (value if isinstance(value, list) else ()) if isinstance(item, str)]


def _raw(path: Path) -> dict[str, object]:
    try:
        return dict(documents.read_mapping(path))
    except ConfigError:
        return {}
