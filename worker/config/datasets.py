# SPDX-License-Identifier: Apache-2.0
"""Finds the datasets that an operator has set up (docs/datasets.md), and selects those that a job tests."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from worker.config.dataset_file import LIMITS, SUFFIXES, Dataset, ExternalServer, load, name_of
from worker.errors import ConfigError, DatasetError
from worker.inputs import documents

__all__ = ["LIMITS", "SUFFIXES", "Dataset", "ExternalServer", "find", "load", "name_of", "select", "unknown"]


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
) -> tuple[list[Dataset], list[DatasetError]]:
    """The datasets of a project, sorted by name, and the errors of those that cannot be read.

    `wanted` limits them to datasets with one of these names or tags. If a file is so broken that its project is
    unknown, its error is returned only if no dataset was found: one draft must not stop every project. `th check`
    reports it in any case. Raises DatasetError if the folder cannot be read.
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
    return list(chosen.values()), errors if chosen else errors + drafts


def unknown(datasets_dir: Path, wanted: Collection[str] | None) -> list[str]:
    """The wanted words that are neither a name nor a tag of any dataset in the folder. Raises DatasetError."""
    known = set().union(*(_words(path) for path in find(datasets_dir)))
    return [word for word in wanted or () if word not in known]


def _words(path: Path) -> set[str]:
    """The words that select a dataset, its name and its tags, even if its file has errors."""
    tags = _raw(path).get("tags")
    return {name_of(path), *(tag for tag in (tags if isinstance(tags, list) else ()) if isinstance(tag, str))}


def _raw(path: Path) -> dict[str, object]:
    try:
        return dict(documents.read_mapping(path))
    except ConfigError:
        return {}
