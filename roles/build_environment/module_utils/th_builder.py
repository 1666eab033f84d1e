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
from ansible.module_utils.th_capped import CappedLog
from ansible.module_utils.th_git import Git, GitError, Patience, join_url
from ansible.module_utils.th_git_files import file
from ansible.module_utils.th_kept import locked_folder, prune
from ansible.module_utils.th_mirror import Mirror
from ansible.module_utils.th_recipe import Recipe
from ansible.module_utils.th_remove import remove
from ansible.module_utils.th_requirements import file_in
from ansible.module_utils.th_source import NotPlainError, Plain, Source, static_dependencies
from ansible.module_utils.th_step import StepError
from ansible.module_utils.th_submodules import check_out_submodules
from ansible.module_utils.th_text import printable
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

    def _make_venv(self, uv: Uv, recipe: Recipe, venv: Path, home: Path) -> None:
        words = ("venv", "--quiet", "--no-project", "--python", recipe.python.path, str(venv))
        uv(*words, cwd=home, cache=self._cache, network=False)

    def _of_change(self, recipe: Recipe, base: str) -> tuple[Path, bool]:
        """The folder of the change's environment, and whether it was there."""
        src = self._job_dir / "src"
        if not src.is_dir():
            raise StepError("playbook_failed", f"there is no checkout at {src}: run playbooks/checkout.yaml first")
        remove(self._job_dir / "venv")
        root = recipe.root(src)
        source = self._source(recipe, root)
        plain = self._plain(source, root)
        if plain and source.project == "none" and self._is_merged(plain, root, base, recipe.folder):
            try:
                return self._of_packages(recipe, plain)
            except StepError as error:
                if error.code != "environment_failed":
                    raise blame(error, root, source, recipe.folder) from None
                plain = None  # something has to be built
        self._build_change(recipe, source, plain, root)
        return self._job_dir, False

    def _source(self, recipe: Recipe, root: Path) -> Source:
        source = Source.of(recipe.install, root)
        if source.why:
            self._log.line(f"The project itself is not installed: {printable(source.why)}")
        return source

    def _unpackaged(self, source: Source, root: Path, error: StepError) -> Source:
        """What is to be installed of a project whose build says that it is none. Raises the error for any other."""
        other = source.without_itself(root, error)
        if other is None:
            raise error
        self._log.line(f"The project itself is not installed, only what it needs: {printable(other.why)}")
        return other

    def _plain(self, source: Source, src: Path) -> Plain | None:
        """All that is to be installed but the project itself, where it only names packages."""
        try:
            return Plain.of(source, src)
        except NotPlainError as reason:
            self._log.line(f"The shared cache is not used: {printable(str(reason))}")
            return None

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

    def _build_change(self, recipe: Recipe, source: Source, plain: Plain | None, root: Path) -> None:
        """Packages that are only named come through the shared cache; whatever else the change wants done, or can
        run its code, has a cache of its own."""
        venv, home = self._job_dir / "venv", self._job_dir / "build"
        remove(home)
        try:
            with self._workplace.uv(recipe, venv, home, source.urls) as uv:
                self._make_venv(uv, recipe, venv, home)
                try:
                    self._install_change(uv, recipe.installing(venv), source, plain, root, home)
                except StepError as error:
                    source = self._unpackaged(source, root, error)
                    plain = self._plain(source, root)
                    self._install_change(uv, recipe.installing(venv), source, plain, root, home)
        except StepError as error:
            raise blame(error, root, source, recipe.folder) from None
        finally:
            remove(home)

    def _install_change(
        self, uv: Uv, install: Sequence[str], source: Source, plain: Plain | None, root: Path, home: Path
    ) -> None:
        complete = plain is not None and self._install_plain(uv, install, plain, home)
        own, src = home / "cache", self._job_dir / "src"
        if not complete or (source.project != "none" and not static_dependencies(root)):
            uv(*install, *source.dependencies(), *source.itself(), cwd=root, cache=own, writable=[src])
        elif source.project != "none":
            uv(*install, "--no-deps", *source.itself(), cwd=root, cache=own, writable=[src])

    def _install_plain(self, uv: Uv, install: Sequence[str], plain: Plain, home: Path) -> bool:
        """Install the wheels of what is only named, from the shared cache and without the checkout in sight; whether
        there was one of each."""
        try:
            self._install_wheels(uv, install, plain, home)
        except StepError as error:
            if error.code != "environment_failed":
                raise
            return False
        return True

    def _install_wheels(self, uv: Uv, install: Sequence[str], plain: Plain, home: Path) -> None:
        if plain.requirements:
            uv(*install, "--no-build", *plain.words(home), cwd=home, cache=self._cache)

    def _of_packages(self, recipe: Recipe, plain: Plain) -> tuple[Path, bool]:
        """The folder of an environment that holds nothing but wheels of named packages. It is a day's: tomorrow there
        may be newer ones, where no day is said."""
        day = recipe.exclude_newer or datetime.datetime.now(datetime.UTC).date().isoformat()

        def build(folder: Path) -> None:
            venv, home = folder / "venv", folder / "build"
            with self._workplace.uv(recipe, venv, home, plain.urls) as uv:
                self._make_venv(uv, recipe, venv, home)
                self._install_wheels(uv, recipe.installing(venv), plain, home)
            remove(home)
            self._workplace.compile(recipe, venv, folder / "bytecode", self._tools())

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
        src, venv, home = folder / "src", folder / "venv", folder / "build"
        self._check_out(src, commit)
        root = recipe.root(src)
        source = self._source(recipe, root)

        def install(uv: Uv) -> None:
            if words := source.dependencies() + source.itself():
                uv(*recipe.installing(venv), *words, cwd=root, cache=self._cache, writable=[src])

        with self._workplace.uv(recipe, venv, home, source.urls) as uv:
            self._make_venv(uv, recipe, venv, home)
            try:
                try:
                    install(uv)
                except StepError as error:
                    source = self._unpackaged(source, root, error)
                    install(uv)
            except StepError as error:
                raise blame(error, root, source, recipe.folder) from None
        remove(home)
        remove(src / ".git")  # it has served for the version; it may be larger than all the rest

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
