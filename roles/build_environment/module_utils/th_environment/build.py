# SPDX-License-Identifier: Apache-2.0
"""One environment being built: what the role's steps do, and the state that each step passes to the next.

The state is a file in the job's folder (docs/artifacts.md), which no box can see. Each step adds its requirements to
`source` and installs the wheels for all of `source`, so that the packages of all steps are compatible. `pending` says
that wheels are not enough: then the building step installs everything with one command. No code of a project runs
before that step, so the earlier ones may use the cache that all jobs share.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.artifacts import as_text, read_json, write_json, write_text
from ansible.module_utils.th_core.remove import remove
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_environment.build_box import Workplace
from ansible.module_utils.th_environment.bytecode import carry
from ansible.module_utils.th_environment.install import Installer, Site
from ansible.module_utils.th_environment.kept import abandon, keep, prune
from ansible.module_utils.th_environment.package_caches import Caches
from ansible.module_utils.th_environment.recipe import Python, Recipe
from ansible.module_utils.th_environment.source import Source, static_dependencies
from ansible.module_utils.th_environment.uv import installed
from ansible.module_utils.th_sandbox.box import Settings
from ansible.module_utils.th_sandbox.capped_log import CappedLog, continued_log

FILE = "environment-build.json"
NOTHING = Source((), (), (), "none", ())
MERGED = ("release", "tip")
"""Kinds of merged code, for which the cache of built packages is kept."""


@dataclass(frozen=True)
class JobOptions:
    """The options of `find_environment` that all builds of a job share and later steps need."""

    job_dir: str
    project: str
    url: str
    origin: str
    mirrors_dir: str
    environments_dir: str
    cache_dir: str
    cache_keep: int
    sandbox: Mapping[str, Any]
    programs: str
    pass_environment: Sequence[str]
    tools: Sequence[Sequence[str]]
    time_limit: float
    log: str
    log_limit: int

    def open_log(self) -> CappedLog:
        """The log of the builds."""
        return continued_log(self.log, self.log_limit)


@dataclass
class Build:
    """One environment being built.

    `folder` is the job's, or that of a kept environment. A `shared` one contains only wheels, and is for all changes
    with the same requirements. `begun` and `deadline` are on the monotonic clock. `declared` says that the
    dependencies that the project declares were among what was installed. `merged` is the folder of a kept environment
    of code that the change is based on.
    """

    given: JobOptions
    stage: str
    kind: str
    commit: str
    recipe: Recipe
    folder: str
    shared: bool
    begun: float
    deadline: float
    source: Source = NOTHING
    declared: bool = False
    pending: bool = False
    failure: dict[str, str] = field(default_factory=dict)
    merged: str = ""

    @property
    def job_dir(self) -> Path:
        """The folder of the job."""
        return Path(self.given.job_dir)

    @property
    def file(self) -> Path:
        """The file with the state of the build."""
        return self.job_dir / FILE

    @property
    def kept(self) -> bool:
        """Whether other jobs may use the environment, too."""
        return self.folder != self.given.job_dir

    @property
    def src(self) -> Path:
        """The checkout that is installed."""
        return (self.job_dir if self.kind in ("change", "base") else Path(self.folder)) / "src"

    @property
    def venv(self) -> Path:
        """The environment."""
        return Path(self.folder) / "venv"

    @property
    def _site(self) -> Site:
        folder = Path(self.folder)
        own = Caches(Path(self.given.cache_dir)).of_project(self.given.project) if self.kind in MERGED else None
        return Site(folder / "src" if self.shared else self.src, self.venv, folder / "build", own)

    def save(self) -> None:
        """Write the state for the next step."""
        write_text(self.file, as_text(asdict(self)), 0o600)

    @classmethod
    def read(cls, path: Path) -> Build:
        """Read the state that the previous step has written. Raises StepError."""
        document = read_json(path)
        if not document:
            raise StepError("playbook_failed", f"there is no {path}: the step find_environment has to come first.")
        values = {one.name: document[one.name] for one in fields(cls)}
        recipe = dict(values["recipe"])
        values["recipe"] = Recipe(**{**recipe, "python": Python(**recipe["python"])})
        source: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values["source"].items()
        }
        return cls(**{**values, "given": JobOptions(**values["given"]), "source": Source(**source)})

    def create(self, log: CappedLog) -> None:
        """Create an environment without packages. Raises StepError."""
        self._installer(log).create(self.recipe, self._site, self.deadline)

    def install_requirements(
        self,
        log: CappedLog,
        requirements: Sequence[str],
        constraints: Sequence[str],
        project: str,
        extras: Sequence[str],
    ) -> None:
        """Install wheels for requirement files of the checkout and the project's declared dependencies. Raises
        StepError.
        """
        self.declared = True
        self._wheels(log, self._source(log, requirements, constraints, self.source.packages, project, extras))

    def install_packages(self, log: CappedLog, packages: Sequence[str]) -> None:
        """Install wheels for packages by name. Raises StepError."""
        before = self.source
        if packages:
            self._wheels(log, Source(**{**before.__dict__, "packages": (*before.packages, *packages)}))

    def install_project(self, log: CappedLog, project: str, extras: Sequence[str]) -> None:
        """Build and install what has no wheel, and the project itself, unless its build says that it is not meant to be
        installed. Raises StepError."""
        before = self.source
        self.source = self._source(log, before.requirements, before.constraints, before.packages, project, extras)
        root = self.recipe.root(self.src)
        try:
            self._build(log, root)
        except StepError as error:
            other = self.source.without_itself(root, error)
            if other is None:
                raise
            log.line(f"The project itself is not installed, only what it needs: {printable(other.why)}")
            self.pending = False
            self.create(log)
            self._wheels(log, other)
            self._build(log, root)

    def finish(self, log: CappedLog) -> dict[str, Any]:
        """Keep the environment, if it is to be kept, and record what is installed; returns its entry of
        environment.json."""
        folder = Path(self.folder)
        remove(self._site.home)
        if self.shared:
            tools = {(str(tool), str(scheme)) for tool, scheme in self.given.tools}
            self._workplace(log).compile(self.recipe, self.venv, folder / "bytecode", tools)
        if self.merged and not self.kept:
            count = self._carry_bytecode(Path(self.merged), folder)
            log.line(f"Bytecode of {count} files that are the same in merged code comes from {self.merged}")
        if self.kept:
            if not self.shared:
                remove(self.src / ".git")  # only needed to find the version, and may be large
            keep(folder, {"project": self.given.project, "python": self.recipe.python.version})
            prune(Path(self.given.environments_dir), self.given.cache_keep)
        self.file.unlink(missing_ok=True)
        return self.record(cached=False)

    def record(self, cached: bool) -> dict[str, Any]:
        """Record where the environment is and what is installed; returns its entry of environment.json."""
        entry = {
            "stage": self.stage,
            "src": str(self.src),
            "venv": str(self.venv),
            "python": self.recipe.python.version,
            "prefix": self.recipe.python.prefix,
            "bytecode": str(Path(self.folder) / "bytecode"),
            "exclude_newer": self.recipe.exclude_newer,
            "seconds": round(time.monotonic() - self.begun, 3),
            "cached": cached,
            "packages": installed(self.venv),
        }
        artifact = self.job_dir / "artifacts" / "environment.json"
        before = read_json(artifact).get("environments", [])
        write_json(artifact, {"environments": [one for one in before if one["stage"] != self.stage] + [entry]})
        return entry

    def give_up(self) -> None:
        """Remove what a failed build has left, so that others do not use it."""
        remove(self._site.home)
        if self.kept:
            abandon(Path(self.folder))

    def _carry_bytecode(self, merged: Path, folder: Path) -> int:
        prefix = Path(self.recipe.python.prefix)
        places = {merged / "venv": self.venv, merged / "src": self.src, prefix: prefix}
        return carry(merged / "bytecode", folder / "bytecode", places, self.recipe.python.version)

    def _source(
        self, log: CappedLog, requirements: Sequence[str], constraints: Sequence[str], packages: Sequence[str],
        project: str, extras: Sequence[str],
    ) -> Source:  # fmt: skip
        install = {"requirements": requirements, "constraints": constraints, "packages": packages, "extras": extras}
        source = Source.of({**install, "project": project}, self.recipe.root(self.src))
        if source.why and source.why != self.source.why:
            log.line(f"The project itself is not installed: {printable(source.why)}")
        return source

    def _wheels(self, log: CappedLog, source: Source) -> None:
        """Install wheels through the cache that all jobs share; what has to be built is left to the building step."""
        self.source = source
        if self.pending:
            return
        root, installer = self.recipe.root(self.src), self._installer(log)
        plain = installer.plain(source, root)
        if plain and installer.wheels(self.recipe, self._site, source, plain, root, self.deadline):
            return
        self.pending = True
        if self.shared:  # others with the same requirements must not get what this change builds
            self.give_up()
            self.folder, self.shared = self.given.job_dir, False
            self.create(log)

    def _build(self, log: CappedLog, root: Path) -> None:
        source = self.source
        if self.pending or (source.project != "none" and not (self.declared and static_dependencies(root))):
            words = [*source.dependencies(), *source.itself()]
        elif source.project != "none":
            words = ["--no-deps", *source.itself()]
        else:
            words = []
        if words:
            self._installer(log).build(self.recipe, self._site, source, words, root, self.deadline)

    def _workplace(self, log: CappedLog) -> Workplace:
        given = self.given
        sandbox = Settings.of(given.sandbox)
        return Workplace(sandbox, given.pass_environment, Path(given.programs), log, given.time_limit)

    def _installer(self, log: CappedLog) -> Installer:
        return Installer(self._workplace(log), Caches(Path(self.given.cache_dir)), log)
