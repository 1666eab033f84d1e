# SPDX-License-Identifier: Apache-2.0
"""Building a job's environments, and keeping those that merged code has asked for."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.th_artifacts import read_json, write_json
from ansible.module_utils.th_box import Settings
from ansible.module_utils.th_caches import Caches
from ansible.module_utils.th_capped import CappedLog
from ansible.module_utils.th_git import Git, GitError, Patience, join_url
from ansible.module_utils.th_git_files import file
from ansible.module_utils.th_install import Installer, Place
from ansible.module_utils.th_kept import locked_folder, prune
from ansible.module_utils.th_mirror import Mirror
from ansible.module_utils.th_recipe import Recipe
from ansible.module_utils.th_remove import remove
from ansible.module_utils.th_requirements import file_in
from ansible.module_utils.th_source import Plain, Source
from ansible.module_utils.th_step import StepError
from ansible.module_utils.th_submodules import check_out_submodules
from ansible.module_utils.th_uv import installed
from ansible.module_utils.th_workplace import Workplace


class Builder:
    """Builds a job's environments."""

    def __init__(self, params: Mapping[str, Any], log: CappedLog) -> None:
        self._params = params
        self._log = log
        self._job_dir = Path(params["job_dir"])
        self._caches = Caches(Path(params["cache_dir"]))
        self._workplace = Workplace(
            Settings.of(params["sandbox"]),
            params["pass_environment"],
            Path(params["programs"]),
            log,
            params["time_limit"],
        )
        self._installer = Installer(self._workplace, self._caches, log)

    def build(self, stage: str, kind: str, commit: str) -> dict[str, Any]:
        """Build one environment, or take it from the cache; its entry of environment.json. Raises StepError."""
        begun = time.monotonic()
        checkout = read_json(self._job_dir / "artifacts" / "checkout.json")
        try:
            branch = self._params["job"].get("branch", "")
            recipe = Recipe.of(self._params["profile"], checkout, stage, kind, branch)
            if kind in ("change", "base"):
                src = self._job_dir / "src"
                if kind == "base":
                    remove(src)
                    self._check_out(src, commit)
                # what was kept some hours ago is no proof of what can be installed now
                folder, cached = self._of_change(recipe, "" if kind == "base" else checkout.get("base") or "")
            else:
                folder, cached = self._of_commit(recipe, commit)
                src = folder / "src"
            venv = folder / "venv"
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

    def _of_change(self, recipe: Recipe, base: str) -> tuple[Path, bool]:
        """The folder of the change's environment, and whether it was there."""
        src = self._job_dir / "src"
        if not src.is_dir():
            raise StepError("playbook_failed", f"there is no checkout at {src}: run playbooks/checkout.yaml first")
        place = Place(src, self._job_dir / "venv", self._job_dir / "build")
        remove(place.venv)
        root = recipe.root(src)
        source = self._installer.source(recipe, root)
        plain = self._installer.plain(source, root)
        if plain and source.project == "none" and self._is_merged(plain, root, base, recipe.folder):
            try:
                return self._of_packages(recipe, source, plain, root)
            except StepError as error:
                if error.code != "environment_failed":
                    raise
                plain = None  # something has to be built
        self._installer.everything(recipe, place, source, plain, root)
        return self._job_dir, False

    def _is_merged(self, plain: Plain, src: Path, base: str, folder: str) -> bool:
        """Whether all files that name the packages are what they are in `base`, which is merged."""
        if not plain.files:
            return True
        git, mirror, _ = self._repository()
        with mirror.locked():
            for name in plain.files:
                path = file_in(src, name)
                try:
                    there = os.path.normpath(os.path.join(folder, name))
                    merged = file(git, mirror.path, base, there) if base else None
                except GitError:
                    return False
                if path is None or merged != path.read_bytes():
                    return False
        return True

    def _of_packages(self, recipe: Recipe, source: Source, plain: Plain, root: Path) -> tuple[Path, bool]:
        """The folder of an environment that holds nothing but wheels of named packages. It is a day's: tomorrow there
        may be newer ones, where no day is said."""
        day = recipe.exclude_newer or datetime.datetime.now(datetime.UTC).date().isoformat()

        def build(folder: Path) -> None:
            place = Place(folder / "src", folder / "venv", folder / "build")
            self._installer.wheels(recipe, place, source, plain, root)
            self._workplace.compile(recipe, place.venv, folder / "bytecode", self._tools())

        return self._kept([day, asdict(recipe), plain.requirements, plain.constraints, plain.urls], recipe, build)

    def _tools(self) -> set[tuple[str, str]]:
        """The tools that migrate the profile's databases, with the kind of their URLs."""
        return {(one["tool"], one["url_scheme"]) for one in self._params["profile"].get("databases", ())}

    def _of_commit(self, recipe: Recipe, commit: str) -> tuple[Path, bool]:
        """The folder of a merged commit's environment, and whether it was there."""
        return self._kept([commit, asdict(recipe)], recipe, lambda folder: self._build_commit(recipe, folder, commit))

    def _kept(self, identity: Sequence[Any], recipe: Recipe, build: Callable[[Path], None]) -> tuple[Path, bool]:
        """The folder of an environment for all that share its identity, and whether it was there."""
        project = str(self._params["job"]["project"])
        key = hashlib.sha256(json.dumps([project, *identity], sort_keys=True).encode()).hexdigest()[:32]
        root = Path(self._params["environments_dir"])
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked_folder(root / key) as folder:
            complete = folder / "complete.json"
            cached = complete.is_file() and (folder / "venv" / "bin" / "python").exists()
            if not cached:
                for path in folder.iterdir():
                    remove(path)
                build(folder)
                write_json(complete, {"project": project, "python": recipe.python.version})
            os.utime(complete)
        prune(root, self._params["cache_keep"])
        return folder, cached

    def _build_commit(self, recipe: Recipe, folder: Path, commit: str) -> None:
        own = self._caches.of_project(str(self._params["job"]["project"]))
        place = Place(folder / "src", folder / "venv", folder / "build", own)
        self._check_out(place.src, commit)
        root = recipe.root(place.src)
        source = self._installer.source(recipe, root)
        self._installer.everything(recipe, place, source, self._installer.plain(source, root), root)
        remove(place.src / ".git")  # it has served for the version; it may be larger than all the rest

    def _repository(self) -> tuple[Git, Mirror, str]:
        """The project's mirror, and the address that it mirrors."""
        project, url = str(self._params["job"]["project"]), str(self._params["job"]["url"])
        base = self._params["origin"] or url
        git = Git(self._log, (url, base), Patience())
        address = join_url(base, project)
        return git, Mirror(git, Path(self._params["mirrors_dir"]), project, address), address

    def _check_out(self, src: Path, commit: str) -> None:
        git, mirror, address = self._repository()
        try:
            with mirror.locked():
                git.clone_mirror(mirror.path, src, address)
            git.checkout(src, commit)
            check_out_submodules(git, src, [commit])
        except GitError as error:
            code = "playbook_failed" if error.ours else "checkout_failed"
            raise StepError(code, f"{commit} cannot be checked out: {error}.") from None


def merged(before: Iterable[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The entries of environment.json: those of before, replaced by stage."""
    stages = {entry["stage"] for entry in now}
    return [entry for entry in before if entry["stage"] not in stages] + list(now)
