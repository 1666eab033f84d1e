# SPDX-License-Identifier: Apache-2.0
"""The part of `th check` for a project's own steps: warns about files whose name means that they never run."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

import yaml

from worker.cli.surroundings import Check
from worker.config import Config
from worker.inputs import untrusted

STAGES = ("checkout", "build-environment", "restore-datasets", "run-migrations", "upload-logs")
PLACES = tuple(f"{when}-{stage}" for stage in STAGES for when in ("before", "after"))
_BEGINNINGS = ("before", "after")
_FILES = (".yaml", ".yml")


def own_steps(settings: Config, project: str) -> Iterator[Check]:
    """Check the files with a project's own steps, and list the usable ones; yields nothing if there are none."""
    folder = settings.projects_dir / project
    found = []
    for name in untrusted.names(folder):
        stem, dot, ending = name.rpartition(".")
        if not name.startswith(_BEGINNINGS) or dot + ending not in _FILES:
            continue  # a file that one of the steps may read, or a project below this one
        if stem not in PLACES or ending != "yaml":
            near = difflib.get_close_matches(stem, PLACES, 1, 0.5)
            remedy = f"call it {near[0]}.yaml" if near else f"there are: {', '.join(PLACES)}"
            yield Check(True, "steps", f"{folder / name} is never run", remedy, warning=True)
        elif problem := _problem(folder / name):
            yield Check(False, "steps", f"{folder / name} {problem}", "write a list of tasks")
        else:
            found.append(stem)
    if found:
        yield Check(True, "steps", f"{project}: {', '.join(sorted(found, key=PLACES.index))}")


def _problem(file: Path) -> str:
    """Why the file is not a list of tasks; "" if no problem can be found without running it."""
    try:
        document = yaml.compose(file.read_text("utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return "is not YAML: " + " ".join(str(error).split())[:300]
    return "" if isinstance(document, yaml.SequenceNode) else "holds no list of tasks"
