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
  programs:
    description: The folder of the role's files.
    type: path
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
    programs: "{{ role_path }}/files"
"""

RETURN = r"""
environments:
  description: The entries of C(artifacts/environment.json) of the stages that were asked for.
  type: list
  elements: dict
  returned: success
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_artifacts import read_json, write_json
from ansible.module_utils.th_box import Settings
from ansible.module_utils.th_contain import CappedLog, printable
from ansible.module_utils.th_git import Git, GitError, Patience, join_url
from ansible.module_utils.th_kept import locked_folder, prune
from ansible.module_utils.th_mirror import Mirror
from ansible.module_utils.th_recipe import Recipe
from ansible.module_utils.th_remove import remove
from ansible.module_utils.th_source import NotPlainError, Plain, Source, static_dependencies
from ansible.module_utils.th_step import StepError, run_step
from ansible.module_utils.th_submodules import check_out_submodules
from ansible.module_utils.th_uv import Uv, blame, installed
from ansible.module_utils.th_workplace import Workplace


class Builder:
    """Builds a job's environments."""

    def __init__(self, params: Mapping[str, Any], log: CappedLog) -> None:
        self._params = params
        self._log = log
        self._job_dir = Path(params["job_dir"])
        self._cache = Path(params["cache_dir"])
        self._workplace = Workplace(
            Settings.of(params["sandbox"]),
            params["pass_environment"],
            Path(params["programs"]),
            log,
            params["time_limit"],
        )

    def build(self, stage: str, kind: str, commit: str) -> dict[str, Any]:
        """Build one environment, or take it from the cache; its entry of environment.json. Raises StepError."""
        begun = time.monotonic()
        checkout = read_json(self._job_dir / "artifacts" / "checkout.json")
        try:
            branch = self._params["job"].get("branch", "")
            recipe = Recipe.of(self._params["profile"], checkout, stage, kind, branch)
            self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            if kind == "change":
                folder, cached = self._job_dir, False
                src, venv = folder / "src", folder / "venv"
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
            "bytecode": str(folder / "bytecode"),
            "exclude_newer": recipe.exclude_newer,
            "seconds": round(time.monotonic() - begun, 3),
            "cached": cached,
            "packages": installed(venv),
        }

    def _make_venv(self, uv: Uv, recipe: Recipe, venv: Path, home: Path) -> None:
        words = ("venv", "--quiet", "--no-project", "--python", recipe.python.path, str(venv))
        uv(*words, cwd=home, cache=self._cache, network=False)

    def _build_change(self, recipe: Recipe, src: Path, venv: Path) -> None:
        """Packages that are only named come through the shared cache; whatever else the change wants done, or can
        run its code, has a cache of its own."""
        if not src.is_dir():
            raise StepError("environment_failed", f"There is no checkout at {src}: run the role checkout first.")
        home = self._job_dir / "build"
        for folder in (venv, home):
            remove(folder)
        source = Source.of(recipe.install, src)
        try:
            with self._workplace.uv(recipe, venv, home, source.urls) as uv:
                self._make_venv(uv, recipe, venv, home)
                self._install_change(uv, recipe.installing(venv), source, src, home)
        except StepError as error:
            raise blame(error, src, source) from None
        finally:
            remove(home)

    def _install_change(self, uv: Uv, install: Sequence[str], source: Source, src: Path, home: Path) -> None:
        complete = self._install_plain(uv, install, source, src, home)
        own = home / "cache"
        if not complete or (source.project != "none" and not static_dependencies(src)):
            uv(*install, *source.dependencies(), *source.itself(), cwd=src, cache=own, writable=[src])
        elif source.project != "none":
            uv(*install, "--no-deps", *source.itself(), cwd=src, cache=own, writable=[src])

    def _install_plain(self, uv: Uv, install: Sequence[str], source: Source, src: Path, home: Path) -> bool:
        """Install the wheels of what is only named, from the shared cache and without the checkout in sight; whether
        that was all there is."""
        try:
            plain = Plain.of(source, src)
        except NotPlainError as reason:
            self._log.line(f"The shared cache is not used: {printable(str(reason))}")
            return False
        if plain.requirements:
            try:
                uv(*install, "--no-build", *plain.words(home), cwd=home, cache=self._cache)
            except StepError as error:
                if error.code != "environment_failed":
                    raise
                return False
        return True

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
            remove(path)
        src, venv, home = folder / "src", folder / "venv", folder / "build"
        self._check_out(src, project, commit)
        source = Source.of(recipe.install, src)
        with self._workplace.uv(recipe, venv, home, source.urls) as uv:
            self._make_venv(uv, recipe, venv, home)
            words = source.dependencies() + source.itself()
            if words:
                try:
                    uv(*recipe.installing(venv), *words, cwd=src, cache=self._cache, writable=[src])
                except StepError as error:
                    raise blame(error, src, source) from None
        remove(home)
        remove(src / ".git")  # it has served for the version; it may be larger than all the rest

    def _check_out(self, src: Path, project: str, commit: str) -> None:
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
            "programs": {"type": "path", "required": True},
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
