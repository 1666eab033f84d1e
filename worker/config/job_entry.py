# SPDX-License-Identifier: Apache-2.0
"""An entry of `plugins` or `jobs` in the configuration: a job that the worker takes, and the datasets that it tests."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.config import plugin_options
from worker.inputs.documents import Section

ALL = "all"
"""The value of `datasets`, and of a pipeline, that selects all datasets of the project."""

GATE_PLUGIN = "gate_real_db_upgrade"
_PLUGIN_NAME = re.compile(r"[a-z0-9_]{1,64}")
_JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:-]{0,199}")


@dataclass(frozen=True)
class JobEntry:
    """A job that the worker takes as `build:<name>`. `options` are the plugin's own keys, unchanged.

    `datasets` are the names and tags of the datasets that it tests, None for all; `pipelines` overrides that for
    single pipelines.
    """

    name: str
    plugin: str
    datasets_dir: Path | None
    options: Mapping[str, Any]
    datasets: tuple[str, ...] | None = None
    pipelines: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)

    def wanted(self, pipeline: str) -> tuple[str, ...] | None:
        """The names and tags of the datasets to test in a pipeline; None for all."""
        return self.pipelines.get(pipeline, self.datasets)


@dataclass(frozen=True)
class EntryContext:
    """What is needed to read an entry: the folder with the plugins, a function that returns the absolute path in a key,
    and the names of the jobs read so far."""

    playbooks: Path
    path_of: Callable[[Section, str], Path]
    taken: set[str] = field(default_factory=set)


def read_plugin(section: Section, context: EntryContext) -> JobEntry:
    """Read an entry of `plugins`, which has the job's name in `function` or `job`. Raises ConfigError."""
    function, job = section.has("function"), section.has("job")
    if function and job:
        raise section.error("job", "says the same as function", "keep one of the two")
    return read_entry(section, context, "job" if job else "function", "name")


def read_entry(section: Section, context: EntryContext, job_key: str = "name", plugin_key: str = "plugin") -> JobEntry:
    """Read an entry of `jobs`, or of `plugins`, where the keys have other names. Raises ConfigError."""
    plugin = _plugin_name(section, context.playbooks, plugin_key)
    name = section.text(job_key).removeprefix("build:")
    if not _JOB_NAME.fullmatch(name):
        raise section.error(job_key, f"{name!r} is not a valid job name", "use letters, digits and . _ + : -")
    if name in context.taken:
        raise section.error(job_key, f"the job {name!r} is duplicated", "give one another name")
    context.taken.add(name)
    datasets_dir = context.path_of(section, "datasets_dir") if section.has("datasets_dir") else None
    if datasets_dir and not (os.path.isdir(datasets_dir) and os.access(datasets_dir, os.R_OK | os.X_OK)):
        problem = f"there is no folder {datasets_dir} that can be read"
        raise section.error("datasets_dir", problem, "make it, or correct the path")
    datasets: tuple[str, ...] | None = None
    pipelines: dict[str, tuple[str, ...] | None] = {}
    if datasets_dir:  # otherwise these keys are options of the plugin
        datasets = _words(section, "datasets", ALL)
        chosen = section.section("pipelines", {})
        pipelines = {pipeline: _words(chosen, pipeline) for pipeline in chosen.names()}
    if plugin == GATE_PLUGIN:
        if not datasets_dir:
            raise section.missing("datasets_dir", "name the folder with the datasets")
        section.done()
    options = plugin_options.read(section, context.playbooks / plugin)
    return JobEntry(name, plugin, datasets_dir, options, datasets, pipelines)


def _plugin_name(section: Section, playbooks: Path, key: str) -> str:
    name = section.text(key)
    if not _PLUGIN_NAME.fullmatch(name) or not os.path.isfile(playbooks / name / "run.yaml"):
        there = ", ".join(sorted(found.parent.name for found in playbooks.glob("*/run.yaml"))) or "none"
        raise section.error(key, f"there is no plugin {name!r} in {playbooks}", f"there: {there}")
    return name


def _words(section: Section, name: str, default: str | None = None) -> tuple[str, ...] | None:
    """Read a list of dataset names and tags; None stands for ALL."""
    words = section.value(name, default)
    if words == ALL:
        return None
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in words):
        remedy = f"write {ALL}, or a list such as [small, user_001]"
        raise section.error(name, f"must be {ALL} or a list of names and tags of datasets", remedy)
    return tuple(dict.fromkeys(words))
