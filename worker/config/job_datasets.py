# SPDX-License-Identifier: Apache-2.0
"""Selects the datasets that a job tests, and reports problems with them."""

from __future__ import annotations

import os
from collections.abc import Callable

from worker.config import datasets
from worker.config.config import Config, JobEntry
from worker.errors import DatasetError
from worker.request import Request

Report = Callable[[str, str, str], None]
"""Called with each problem: its code, its detail, and the name of the dataset ("" for none)."""


def choose(
    config: Config, entry: JobEntry, request: Request, report: Report
) -> list[datasets.Selected] | None:
    """The readable datasets that the job has to test, each on its engines; problems are reported.

    None if the job does not test datasets.
    """
    if entry.datasets_dir is None:
        return None
    profile = config.projects_dir / f"{request.project}.yaml"
    if not os.path.isfile(profile):
        report("no_profile", f"{profile} is not there", "")
        return []
    try:
        wanted = entry.wanted(request.pipeline)
        chosen, errors = datasets.select(entry.datasets_dir, request.project, wanted)
        unknown = datasets.unknown(entry.datasets_dir, wanted)
    except DatasetError as error:
        report("no_dataset", str(error), "")
        return []
    for broken in errors:
        report("seed_broken", str(broken), datasets.name_of(broken.path))
    for word in unknown:
        where = f"{word!r}, which the job {entry.name} asks for, is neither a name nor a tag of a dataset"
        report("no_dataset", f"{where} in {entry.datasets_dir}", "")
    if not chosen and not errors and not unknown:
        where = f"no dataset in {entry.datasets_dir} is for the project {request.project}"
        if wanted is not None:
            pipeline = request.pipeline or "no pipeline"
            where += f" and has one of the names and tags {', '.join(wanted)} (job {entry.name}, {pipeline})"
        report("no_dataset", where, "")
    return chosen
