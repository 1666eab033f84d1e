# SPDX-License-Identifier: Apache-2.0
"""Installing one environment in two steps: wheels, during which no code of a project runs, and then the rest.

Only the first step may write to the shared cache. An attempt begins with nothing: what a previous one has left may be
code, or a link. What uv says can be made by a project: code of its build writes to the same place, and uv quotes what a
package says of itself. So words that somebody else has to act are believed only where that is seen without the project.
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
"""Codes of failures that the project cannot help, and could write on uv's behalf."""
ASKED = "pip"
"""What an index is asked for where the profile names no package: any answer will do."""
ASKING_TIME = 60.0


@dataclass(frozen=True)
class Place:
    """Where an environment is made. `home` is a folder for the build, removed afterwards; `own` is the cache of what is
    built, None for one that is removed with `home`."""

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
        """All that is to be installed but the project itself, where it only names packages."""
        try:
            return Plain.of(source, root)
        except NotPlainError as reason:
            self.log.line(f"The shared cache is not used: {printable(str(reason))}")
            return None

    def create(self, recipe: Recipe, place: Place, deadline: float) -> None:
        """Make an empty environment in the place of whatever is there, and a folder for the build. Raises StepError."""
        remove(place.venv)
        remove(place.home)
        uv = self.workplace.uv(recipe, place.venv, place.home, (), deadline, network=False)
        with uv as run, self.caches.shared.held() as cache:
            _make_venv(run, recipe, place.venv, place.home, cache)

    def wheels(self, recipe: Recipe, place: Place, source: Source, plain: Plain, root: Path, deadline: float) -> bool:
        """Install the wheels of named packages, through the shared cache, and nothing else; False when that takes a
        build. To be called before code of a project has run, with nothing of it in `place`. Raises StepError."""
        if not plain.requirements:
            return True
        with (
            self.workplace.uv(recipe, place.venv, place.home, plain.urls, deadline) as uv,
            self.caches.shared.held() as cache,
        ):
            # from a list that we have written, and without the checkout in sight: no code of a project runs
            words = plain.words(place.home)
            try:
                uv(*recipe.installing(place.venv), "--no-build", *words, cwd=place.home, cache=cache)
            except StepError as error:
                if error.code == "environment_failed":
                    return False
                judged = self._judged(error, uv, recipe, place, source, root)
                if judged.code != "environment_failed":
                    raise judged from None
                return False
        return True

    def build(
        self, recipe: Recipe, place: Place, source: Source, words: Sequence[str], root: Path, deadline: float
    ) -> None:
        """Install what may run code of the project, with a cache of its own. `words` are uv's. Raises StepError."""
        with (
            self.workplace.uv(recipe, place.venv, place.home, source.urls, deadline) as uv,
            _held(place) as own,
        ):
            try:
                uv(*recipe.installing(place.venv), *words, cwd=root, cache=own, writable=[place.src])
            except StepError as error:
                raise self._judged(error, uv, recipe, place, source, root, built=True) from None

    def _judged(
        self,
        error: StepError,
        uv: Uv,
        recipe: Recipe,
        place: Place,
        source: Source,
        root: Path,
        built: bool = False,
    ) -> StepError:
        """The failure of a command of uv, with whose it is; `built` where code of the project could run in it.

        That somebody else has to act is believed where it is seen from outside: the proxy could not connect to an
        index, or the same question fails with nothing of the project in sight. `home` is removed for that.
        """
        blamed = blame(error, root, source, recipe.folder)
        undated = error.code == "profile_wrong" and not built  # a line that only uv begins like that
        if blamed.code not in OTHERS or undated or (blamed.code == "index_unreachable" and uv.index_failed()):
            return blamed
        self.log.line("Whether it is so is asked again, without the project")
        seen = self._asked_again(recipe, place, source.packages)
        if seen is not None:
            seen = blame(seen, root, replace(source, requirements=(), constraints=()), recipe.folder)
            if seen.code == blamed.code:
                return seen
        mine = StepError("environment_failed", error.detail, **error.more)
        return blame(mine, root, replace(source, packages=()), recipe.folder)

    def _asked_again(self, recipe: Recipe, place: Place, packages: Sequence[str]) -> StepError | None:
        """How uv fails to resolve the profile's packages alone, or anything, from a cache that is empty."""
        remove(place.home)
        venv, cache = place.home / "venv", place.home / "cache"
        words = [*recipe.installing(venv), "--dry-run", "--no-build", *(packages or [ASKED])]
        deadline = time.monotonic() + min(ASKING_TIME, self.workplace.time_limit)
        try:
            with self.workplace.uv(recipe, venv, place.home, (), deadline) as uv:
                _make_venv(uv, recipe, venv, place.home, cache)
                uv(*words, cwd=place.home, cache=cache)
        except StepError as error:
            return error
        return None


def _make_venv(uv: Uv, recipe: Recipe, venv: Path, home: Path, cache: Path) -> None:
    words = ("venv", "--quiet", "--no-project", "--python", recipe.python.path, str(venv))
    uv(*words, cwd=home, cache=cache, network=False)


def _held(place: Place) -> AbstractContextManager[Path]:
    return nullcontext(place.home / "cache") if place.own is None else place.own.held()
