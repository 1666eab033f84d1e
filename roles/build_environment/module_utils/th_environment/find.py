# SPDX-License-Identifier: Apache-2.0
"""Finding an environment or the folder to build it in: the steps that use git, before any code of a project has run."""

from __future__ import annotations

import datetime
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.artifacts import forget_walks, read_json, write_json
from ansible.module_utils.th_core.remove import remove
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_environment.build import FILE, MERGED, Build, JobOptions
from ansible.module_utils.th_environment.kept import find, look, prune
from ansible.module_utils.th_environment.merged_code import MergedCode
from ansible.module_utils.th_environment.recipe import Recipe
from ansible.module_utils.th_environment.source import NotPlainError, Plain, Source
from ansible.module_utils.th_sandbox.capped_log import CappedLog


def job_options(params: Mapping[str, Any]) -> JobOptions:
    """The options of `find_environment` that later steps need."""
    log = params.get("log") or str(Path(params["job_dir"]) / "results" / "environment.log")
    databases = params["profile"].get("databases", ())
    return JobOptions(
        project=str(params["job"]["project"]),
        url=str(params["job"]["url"]),
        tools=sorted({(one["tool"], one["url_scheme"]) for one in databases}),
        log=log,
        **{name: params[name] for name in (
            "job_dir", "origin", "mirrors_dir", "environments_dir", "cache_dir", "cache_keep", "sandbox", "programs",
            "pass_environment", "time_limit", "log_limit",
        )},
    )  # fmt: skip


def forget(job_dir: Path, stage: str) -> None:
    """Remove an earlier run's records of an environment, so that a failed build leaves none."""
    forget_walks(job_dir)
    (job_dir / FILE).unlink(missing_ok=True)
    artifact = job_dir / "artifacts" / "environment.json"
    before = read_json(artifact).get("environments", [])
    others = [entry for entry in before if entry["stage"] != stage]
    if len(others) != len(before):
        write_json(artifact, {"environments": others})


def find_or_begin(params: Mapping[str, Any], stage: str, kind: str, commit: str) -> tuple[Build, bool]:
    """A build that is about to begin, and False; or one whose environment exists and has been recorded, and True.
    Raises StepError.

    Environments of merged code are kept, and so is that of a change which installs only wheels of packages that merged
    code requires as well. A control build does not use a kept environment, which would not prove what can be installed
    now.
    """
    given = job_options(params)
    log = given.open_log()
    try:
        build, there = _look(given, params, stage, kind, commit, log)
        if there:
            build.record(cached=True)
        else:
            build.save()
    except StepError as error:
        raise StepError(error.code, error.detail, **{**error.more, "stage": stage}) from None
    finally:
        log.close()
    return build, there


def _look(
    given: JobOptions, params: Mapping[str, Any], stage: str, kind: str, commit: str, log: CappedLog
) -> tuple[Build, bool]:
    job_dir, begun = Path(given.job_dir), time.monotonic()
    checkout = read_json(job_dir / "artifacts" / "checkout.json")
    recipe = Recipe.of(params["profile"], checkout, stage, kind, params["job"].get("branch", ""))
    build = Build(given, stage, kind, commit, recipe, given.job_dir, False, begun, begun + given.time_limit)
    if kind in MERGED:
        identity: Any = [commit, asdict(recipe)]
    else:
        identity = _named(build, checkout.get("base") or "", log) if kind == "change" else None
        build.shared = identity is not None
        for name in ("venv", "bytecode"):
            remove(job_dir / name)
        if kind == "change" and identity is None:
            build.merged = _merged_environment(build, params, checkout)
    if identity is None:
        return build, False
    root = Path(given.environments_dir)
    folder, there = find(root, _key(params, identity), given.time_limit)
    build.folder = str(folder)
    if there:
        prune(root, given.cache_keep)
    return build, there


def check_out(build: Build, log: CappedLog) -> None:
    """Check out the commit for an environment, unless it is the job's own checkout. Raises StepError."""
    if build.kind != "change":
        remove(build.src)
        _merged_code(build.given, log).check_out(build.src, build.commit)


def _named(build: Build, base: str, log: CappedLog) -> Any:
    """What identifies the environment of a change that needs only packages which merged code requires, too; otherwise
    None. Without `exclude_newer` today's date is part of it, because there may be newer packages tomorrow."""
    if not build.src.is_dir():
        raise StepError("playbook_failed", f"there is no checkout at {build.src}: run playbooks/checkout.yaml first")
    recipe = build.recipe
    root = recipe.root(build.src)
    source = Source.of(recipe.install, root)
    try:
        plain = Plain.of(source, root)
    except NotPlainError:
        return None
    if source.project != "none" or not _merged_code(build.given, log).has(plain.files, root, base, recipe.folder):
        return None
    day = recipe.exclude_newer or datetime.datetime.now(datetime.UTC).date().isoformat()
    return [day, asdict(recipe), plain.requirements, plain.constraints, plain.urls]


def _key(params: Mapping[str, Any], identity: Any) -> str:
    """The name of a kept environment. Edited steps make new environments."""
    steps = Path(params["steps"]).read_text() if params.get("steps") else ""
    words = json.dumps([str(params["job"]["project"]), steps, identity], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()[:32]


def _merged_environment(build: Build, params: Mapping[str, Any], checkout: Mapping[str, Any]) -> str:
    """The folder of a kept environment of code that the change is based on, with bytecode of its walks and the same
    Python; "" if there is none."""
    for commit, recipe in _based_on(build.recipe, params, checkout):
        found = look(Path(build.given.environments_dir), _key(params, [commit, asdict(recipe)]))
        if found and recipe.python == build.recipe.python and (found / "bytecode").is_dir():
            return str(found)
    return ""


def _based_on(
    recipe: Recipe, params: Mapping[str, Any], checkout: Mapping[str, Any]
) -> Iterator[tuple[str, Recipe]]:
    """The merged commits that a change is based on, and what their environments are made of: the likeliest first to
    have the same files."""
    if checkout.get("base"):
        yield checkout["base"], recipe
    for one in reversed(checkout.get("stages", ())):
        kind = one.get("kind")
        if kind == "tip":
            yield one["commit"], recipe
        elif kind == "release":
            with suppress(StepError):  # what is wrong with a release is said where that is built
                branch = params["job"].get("branch", "")
                yield one["commit"], Recipe.of(params["profile"], checkout, one["slug"], kind, branch)


def _merged_code(given: JobOptions, log: CappedLog) -> MergedCode:
    return MergedCode(given.project, given.url, given.origin, Path(given.mirrors_dir), log)
