# SPDX-License-Identifier: Apache-2.0
"""Installing one environment in two steps: first wheels, for which no code of a project runs, then the rest.

Only the first step may write to the shared cache. An attempt starts from scratch, because a previous one may have left
code or symbolic links. A project can forge uv's output: its build writes to the same stream, and uv quotes package
metadata. So a message that puts the blame elsewhere is believed only if it is confirmed without the project.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from ansible.module_utils.th_core.remove import remove
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_environment.build_box import Workplace
from ansible.module_utils.th_environment.package_caches import Cache, Caches
from ansible.module_utils.th_environment.recipe import Recipe
from ansible.module_utils.th_environment.source import NotPlainError, Plain, Source
from ansible.module_utils.th_environment.uv import Uv, blame
from ansible.module_utils.th_sandbox.capped_log import CappedLog

OTHERS = ("index_unreachable", "profile_wrong")
"""Codes of failures that are not the project's fault, but whose messages the project could forge."""
TEST_PACKAGE = "pip"
"""What the index is asked for if the profile names no package: any answer will do."""
TEST_TIME = 60.0


@dataclass(frozen=True)
class Site:
    """The folders of a build. `home` is removed after the build; `own` is the cache for what is built, None for one
    that is removed with `home`."""

    src: Path
    venv: Path
    home: Path
    own: Cache | None = None


@dataclass(frozen=True)
class Installer:
    """Installs environments, each within the time limit of the workplace."""

    workplace: Workplace
    caches: Caches
    log: CappedLog

    def plain(self, source: Source, root: Path) -> Plain | None:
        """All requirements except the project itself, if they only name packages; otherwise None."""
        try:
            return Plain.of(source, root)
        except NotPlainError as reason:
            self.log.line(f"The shared cache is not used: {printable(str(reason))}")
            return None

    def create(self, recipe: Recipe, site: Site, deadline: float) -> None:
        """Create an empty environment, replacing what is there, and a folder for the build. Raises StepError."""
        remove(site.venv)
        remove(site.home)
        uv = self.workplace.uv(recipe, site.venv, site.home, (), deadline, network=False)
        with uv as run, self.caches.shared.held() as cache:
            _make_venv(run, recipe, site.venv, site.home, cache)

    def wheels(self, recipe: Recipe, site: Site, source: Source, plain: Plain, root: Path, deadline: float) -> bool:
        """Install wheels for named packages through the shared cache; False if something has to be built. To be called
        before code of a project has run, and with none of it in `site`. Raises StepError."""
        if not plain.requirements:
            return True
        with (
            self.workplace.uv(recipe, site.venv, site.home, plain.urls, deadline) as uv,
            self.caches.shared.held() as cache,
        ):
            # from our own list and without the checkout in the box, so no code of a project runs
            words = plain.words(site.home)
            try:
                uv(*recipe.installing(site.venv), "--no-build", *words, cwd=site.home, cache=cache)
            except StepError as error:
                if error.code == "environment_failed":
                    return False
                judged = self._judged(error, uv, recipe, site, source, root)
                if judged.code != "environment_failed":
                    raise judged from None
                return False
        return True

    def build(
        self, recipe: Recipe, site: Site, source: Source, words: Sequence[str], root: Path, deadline: float
    ) -> None:
        """Install what may run code of the project, with a separate cache. `words` are uv's. Raises StepError."""
        with (
            self.workplace.uv(recipe, site.venv, site.home, source.urls, deadline) as uv,
            _held(site) as own,
        ):
            try:
                uv(*recipe.installing(site.venv), *words, cwd=root, cache=own, writable=[site.src])
            except StepError as error:
                raise self._judged(error, uv, recipe, site, source, root, built=True) from None

    def _judged(
        self,
        error: StepError,
        uv: Uv,
        recipe: Recipe,
        site: Site,
        source: Source,
        root: Path,
        built: bool = False,
    ) -> StepError:
        """The failure of a uv command, attributed to its cause; `built` says that the project's code could run.

        A failure is attributed to somebody else only if that is confirmed from outside: the proxy could not connect to
        an index, or the same request fails without the project, for which `home` is removed.
        """
        blamed = blame(error, root, source, recipe.folder)
        undated = error.code == "profile_wrong" and not built  # only uv itself prints such a line
        if blamed.code not in OTHERS or undated or (blamed.code == "index_unreachable" and uv.index_failed()):
            return blamed
        self.log.line("This is checked by another request, without the project")
        seen = self._failure_without_project(recipe, site, source.packages)
        if seen is not None:
            seen = blame(seen, root, replace(source, requirements=(), constraints=()), recipe.folder)
            if seen.code == blamed.code:
                return seen
        own = StepError("environment_failed", error.detail, **error.more)
        return blame(own, root, replace(source, packages=()), recipe.folder)

    def _failure_without_project(self, recipe: Recipe, site: Site, packages: Sequence[str]) -> StepError | None:
        """uv's failure to resolve only the profile's packages, or the test package, with an empty cache; None if it
        succeeds."""
        remove(site.home)
        venv, cache = site.home / "venv", site.home / "cache"
        words = [*recipe.installing(venv), "--dry-run", "--no-build", *(packages or [TEST_PACKAGE])]
        deadline = time.monotonic() + min(TEST_TIME, self.workplace.time_limit)
        try:
            with self.workplace.uv(recipe, venv, site.home, (), deadline) as uv:
                _make_venv(uv, recipe, venv, site.home, cache)
                uv(*words, cwd=site.home, cache=cache)
        except StepError as error:
            return error
        return None


def _make_venv(uv: Uv, recipe: Recipe, venv: Path, home: Path, cache: Path) -> None:
    words = ("venv", "--quiet", "--no-project", "--python", recipe.python.path, str(venv))
    uv(*words, cwd=home, cache=cache, network=False)


def _held(site: Site) -> AbstractContextManager[Path]:
    return nullcontext(site.home / "cache") if site.own is None else site.own.held()
