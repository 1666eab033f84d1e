# SPDX-License-Identifier: Apache-2.0
"""Build the virtual environments of a job's stages, or take them from the cache."""

from __future__ import annotations

DOCUMENTATION = r"""
module: build_environments
short_description: Build the virtual environments of a job's stages, or take them from the cache
description:
  - The environment of the change is built in the job's folder, from the job's checkout.
  - Those of releases and of the target branch's tip, which are merged code, are kept for later jobs.
  - What is installed is said by the project's profile; uv installs it.
  - Writes C(artifacts/environment.json); the output of the builds goes to C(results/environment.log).
options:
  wanted:
    description: The environments, each with C(stage) (the stage's slug), C(kind) and C(commit).
    type: list
    elements: dict
    required: true
    suboptions:
      stage:
        description: The slug of the stage.
        type: str
        required: true
      kind:
        description: Whose code it is.
        type: str
        choices: [change, release, tip]
        required: true
      commit:
        description: The commit of a release or tip.
        type: str
        default: ""
  job:
    description: The job, C(th_job) of docs/artifacts.md.
    type: dict
    required: true
  profile:
    description: The project's profile, as C(project_profile) returns it.
    type: dict
    required: true
  job_dir:
    description: The job's folder.
    type: path
    required: true
  mirrors_dir:
    description: The folder of the mirrors.
    type: path
    required: true
  environments_dir:
    description: The folder of the environments that are kept.
    type: path
    required: true
  cache_dir:
    description: The cache of downloaded packages.
    type: path
    required: true
  origin:
    description: Base URL of the branches and tags; that of the job when empty.
    type: str
    default: ""
  time_limit:
    description: How long one environment may take, in seconds.
    type: float
    default: 1800
  cache_keep:
    description: How many environments are kept. Those used in the last 24 hours are kept in any case.
    type: int
    default: 20
  sandbox:
    description: What builds run in, C(th_sandbox) of the role C(project).
    type: dict
    required: true
  pass_environment:
    description: Names of environment variables of the worker that the builds get.
    type: list
    elements: str
    default: []
  log_limit:
    description: How long the log may become, in bytes.
    type: int
    default: 10485760
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Build the environment of the change
  build_environments:
    wanted:
      - {stage: change, kind: change}
    job: "{{ th_job }}"
    profile: "{{ th_profile }}"
    job_dir: "{{ th_job_dir }}"
    mirrors_dir: "{{ th_git_working_dir }}"
    environments_dir: "{{ th_environments_dir }}"
    cache_dir: "{{ th_pip_download_cache }}"
    sandbox: "{{ th_sandbox }}"
"""

RETURN = r"""
environments:
  description: The entries of C(artifacts/environment.json) of the stages that were asked for.
  type: list
  elements: dict
  returned: success
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_artifacts import read_json, write_json
from ansible.module_utils.th_box import Box, Settings
from ansible.module_utils.th_contain import CappedLog, base_environment
from ansible.module_utils.th_git import Git, GitError, Patience, join_url
from ansible.module_utils.th_mirror import Mirror
from ansible.module_utils.th_step import StepError, run_step
from ansible.module_utils.th_submodules import check_out_submodules
from ansible.module_utils.th_uv import (
    PIP_NAMES,
    Python,
    Source,
    Uv,
    blame,
    find_python,
    installed,
    static_dependencies,
    uv_path,
)

FRESH = 24 * 3600
"""Seconds after its last use for which an environment is never removed: a job may still be in it."""


@dataclass(frozen=True)
class Recipe:
    """What one environment is made of."""

    python: Python
    exclude_newer: str
    install: Mapping[str, Any]

    def installing(self, venv: Path) -> tuple[str, ...]:
        """The words of uv to install into an environment."""
        newest = ("--exclude-newer", f"{self.exclude_newer}T00:00:00Z") if self.exclude_newer else ()
        # the cache is mounted apart from the environment: nothing can be linked
        return ("pip", "install", "--python", str(venv), "--link-mode", "copy", *newest)


class Builder:
    """Builds a job's environments."""

    def __init__(self, params: Mapping[str, Any], log: CappedLog) -> None:
        self._params = params
        self._log = log
        self._job_dir = Path(params["job_dir"])
        self._cache = Path(params["cache_dir"])
        self._sandbox = Settings.of(params["sandbox"])

    def build(self, stage: str, kind: str, commit: str) -> dict[str, Any]:
        """Build one environment, or take it from the cache; its entry of environment.json. Raises StepError."""
        begun = time.monotonic()
        try:
            recipe = self._recipe(stage, kind)
            if kind == "change":
                src, venv, cached = self._job_dir / "src", self._job_dir / "venv", False
                self._build_change(recipe, src, venv)
            else:
                folder, cached = self._kept(recipe, commit)
                src, venv = folder / "src", folder / "venv"
        except StepError as error:
            raise StepError(error.code, error.detail, **{**error.more, "stage": stage}) from None
        return {
            "stage": stage,
            "src": str(src),
            "venv": str(venv),
            "python": recipe.python.version,
            "prefix": recipe.python.prefix,
            "compiled": kind != "change",
            "exclude_newer": recipe.exclude_newer,
            "seconds": round(time.monotonic() - begun, 3),
            "cached": cached,
            "packages": installed(venv),
        }

    def _recipe(self, stage: str, kind: str) -> Recipe:
        """A release's own interpreter, day and `install`; those of a branch that is one of the releases are that's."""
        profile = self._params["profile"]
        checkout = read_json(self._job_dir / "artifacts" / "checkout.json")
        keys: tuple[str, ...]
        if kind == "release":
            known = {item["slug"]: item["name"] for item in checkout.get("stages", ())}
            wanted, keys = known.get(stage, stage), ("name",)
        else:
            wanted, keys = checkout.get("branch") or self._params["job"].get("branch", ""), ("name", "ref")
        found = next((one for one in profile["releases"] if wanted in [one[key] for key in keys]), None)
        settings = found or profile
        try:
            python = find_python(settings["python"])
        except StepError as error:
            where = f"releases: {found['name']}: " if found else ""
            raise StepError(error.code, where + error.detail, **error.more) from None
        return Recipe(python, settings["exclude_newer"], settings["install"])

    def _uv(self, recipe: Recipe, src: Path, venv: Path, home: Path) -> Uv:
        for folder in (venv, home, home / "tmp", home / "cache", self._cache):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        passed = [*self._params["pass_environment"], *self._sandbox.environment]
        extra = {
            "TMPDIR": str(home / "tmp"),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_CONFIG": "1",
            "UV_NO_PROGRESS": "1",
            "NO_COLOR": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for name, for_uv in PIP_NAMES.items():
            if name in passed and for_uv not in os.environ and os.environ.get(name):
                extra[for_uv] = os.environ[name]
        environment = base_environment(home, {**recipe.install["environment"], **extra}, passed)
        box = Box(
            self._sandbox,
            [Path(recipe.python.prefix), Path(recipe.python.own), Path(uv_path())],
            [src, venv, home],
            network=self._sandbox.build_network,
        )
        return Uv(self._log, environment, box, self._params["time_limit"])

    def _make_venv(self, uv: Uv, recipe: Recipe, venv: Path) -> None:
        words = ("venv", "--quiet", "--no-project", "--python", recipe.python.path, str(venv))
        uv(*words, cwd=venv.parent, cache=self._cache)

    def _build_change(self, recipe: Recipe, src: Path, venv: Path) -> None:
        """Wheels come through the shared cache; what runs code of the change has a cache of its own."""
        if not src.is_dir():
            raise StepError("environment_failed", f"There is no checkout at {src}: run the role checkout first.")
        home = self._job_dir / "build"
        for folder in (venv, home):
            shutil.rmtree(folder, ignore_errors=True)
        source = Source.of(recipe.install, src)
        uv = self._uv(recipe, src, venv, home)
        install = recipe.installing(venv)
        known = static_dependencies(src)
        wheels = source.dependencies()
        if source.project != "none" and known:
            wheels += ["--requirements", "pyproject.toml", *(f"--extra={name}" for name in source.extras)]
        try:
            self._make_venv(uv, recipe, venv)
            complete = True
            if wheels:
                try:
                    uv(*install, "--no-build", *wheels, cwd=src, cache=self._cache)
                except StepError as error:
                    if error.code != "environment_failed":
                        raise
                    complete = False
            if not complete or (source.project != "none" and not known):
                uv(*install, *source.dependencies(), *source.itself(), cwd=src, cache=home / "cache")
            elif source.project != "none":
                uv(*install, "--no-deps", *source.itself(), cwd=src, cache=home / "cache")
        except StepError as error:
            raise blame(error, src, source) from None
        finally:
            shutil.rmtree(home, ignore_errors=True)

    def _kept(self, recipe: Recipe, commit: str) -> tuple[Path, bool]:
        """The folder of a merged commit's environment, and whether it was there."""
        project = str(self._params["job"]["project"])
        identity = [project, commit, asdict(recipe)]
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
        root = Path(self._params["environments_dir"])
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked_folder(root / key) as folder:
            complete = folder / "complete.json"
            cached = complete.is_file() and (folder / "venv" / "bin" / "python").exists()
            if not cached:
                self._build_kept(recipe, folder, project, commit)
                write_json(complete, {"project": project, "commit": commit, "python": recipe.python.version})
            os.utime(complete)
        prune(root, self._params["cache_keep"])
        return folder, cached

    def _build_kept(self, recipe: Recipe, folder: Path, project: str, commit: str) -> None:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        src, venv, home = folder / "src", folder / "venv", folder / "build"
        url = str(self._params["job"]["url"])
        base = self._params["origin"] or url
        git = Git(self._log, (url, base), Patience())
        mirror = Mirror(git, Path(self._params["mirrors_dir"]), project, join_url(base, project))
        try:
            with mirror.locked():
                git.clone_mirror(mirror.path, src, join_url(base, project))
            git.checkout(src, commit)
            check_out_submodules(git, src, commit)
        except GitError as error:
            code = "playbook_failed" if error.ours else "checkout_failed"
            raise StepError(code, f"{commit} cannot be checked out: {error}.") from None
        source = Source.of(recipe.install, src)
        uv = self._uv(recipe, src, venv, home)
        self._make_venv(uv, recipe, venv)
        words = source.dependencies() + source.itself()
        if words:
            try:
                # nobody may write to the environment later, Python neither
                uv(*recipe.installing(venv), "--compile-bytecode", *words, cwd=src, cache=self._cache)
            except StepError as error:
                raise blame(error, src, source) from None
        shutil.rmtree(home)
        shutil.rmtree(src / ".git")  # it has served for the version; it may be larger than all the rest


@contextmanager
def locked_folder(path: Path) -> Iterator[Path]:
    """Make a folder and hold it for oneself; other processes wait, or leave it when it is to be removed."""
    while True:
        path.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                same = os.path.samestat(os.fstat(handle), path.stat())
            except FileNotFoundError:
                same = False
            if same:  # else it was removed while we waited
                yield path
                return
        finally:
            os.close(handle)


def prune(root: Path, keep: int) -> None:
    """Remove the environments that were not used for the longest time, beyond `keep`; never fresh or held ones."""

    def used(path: Path) -> float:
        complete = path / "complete.json"
        return (complete if complete.is_file() else path).stat().st_mtime

    folders = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()]
    left_over = [path for path in folders if path.name.startswith(".removed-")]
    kept = sorted((path for path in folders if path not in left_over), key=used, reverse=True)
    for path in kept[keep:]:
        if time.time() - used(path) < FRESH:
            continue
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            removed = root / f".removed-{path.name}-{os.getpid()}"
            path.rename(removed)
            left_over.append(removed)
        except BlockingIOError:
            continue
        finally:
            os.close(handle)
    for path in left_over:
        shutil.rmtree(path, ignore_errors=True)


def merged(before: Iterable[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The entries of environment.json: those of before, replaced by stage."""
    stages = {entry["stage"] for entry in now}
    return [entry for entry in before if entry["stage"] not in stages] + list(now)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "wanted": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "stage": {"type": "str", "required": True},
                    "kind": {"type": "str", "choices": ["change", "release", "tip"], "required": True},
                    "commit": {"type": "str", "default": ""},
                },
            },
            "job": {"type": "dict", "required": True},
            "profile": {"type": "dict", "required": True},
            "job_dir": {"type": "path", "required": True},
            "mirrors_dir": {"type": "path", "required": True},
            "environments_dir": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "required": True},
            "origin": {"type": "str", "default": ""},
            "time_limit": {"type": "float", "default": 1800},
            "cache_keep": {"type": "int", "default": 20},
            "sandbox": {"type": "dict", "required": True},
            "pass_environment": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "log_limit": {"type": "int", "default": 10 * 1024 * 1024},
        }
    )
    params = module.params
    job_dir = Path(params["job_dir"])

    def step() -> dict[str, Any]:
        os.umask(0o077)
        artifact = job_dir / "artifacts" / "environment.json"
        log = CappedLog(job_dir / "results" / "environment.log", params["log_limit"])
        made: list[dict[str, Any]] = []
        try:
            builder = Builder(params, log)
            for one in params["wanted"]:
                made.append(builder.build(one["stage"], one["kind"], one["commit"]))
                before = read_json(artifact).get("environments", [])
                write_json(artifact, {"environments": merged(before, made)})
        finally:
            log.close()
        return {"changed": any(not one["cached"] for one in made), "environments": made}

    run_step(module, "build_environment", str(job_dir), step)


if __name__ == "__main__":
    main()
