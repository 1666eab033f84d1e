# SPDX-License-Identifier: Apache-2.0
"""Installing with uv: what a profile's `install` comes to, and what it means when uv fails."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.th_box import Box
from ansible.module_utils.th_contain import CappedLog, run_contained
from ansible.module_utils.th_requirements import FILE_LIMIT, absent, file_in, named, places
from ansible.module_utils.th_step import StepError

DETAIL_LINES = 4

# what operators who configured pip for a mirror of the index have set
PIP_NAMES = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX"}

_NETWORK = re.compile(
    r"dns error|tcp connect error|error sending request|connection (refused|reset|closed)|timed? ?out"
    r"|network is unreachable|HTTP status server error|invalid peer certificate|tls handshake",
    re.IGNORECASE,
)
_FETCHED = re.compile(r"[Ff]ailed to (?:fetch|download)[^:]*: `?(?P<url>https?://[^\s`]+)")


@dataclass(frozen=True)
class Python:
    """An interpreter for environments. It is installed in `prefix` and was found in `own`, which is another folder for
    that of a virtual environment."""

    path: str
    version: str
    prefix: str
    own: str


@dataclass(frozen=True)
class Source:
    """What a profile's `install` comes to in one checkout."""

    requirements: tuple[str, ...]
    constraints: tuple[str, ...]
    packages: tuple[str, ...]
    project: str
    extras: tuple[str, ...]

    @classmethod
    def of(cls, install: Mapping[str, Any], src: Path) -> Source:
        """Look up the files. Raises StepError for what cannot be installed."""
        constraints = [name for name in install["constraints"] if "://" in name or file_in(src, name) is not None]
        project = install["project"]
        if project != "none" and not any(file_in(src, name) for name in ("pyproject.toml", "setup.py")):
            raise StepError(
                "environment_failed",
                "The checkout has neither pyproject.toml nor setup.py: nothing to install "
                "(install.project in the profile may be none).",
            )
        return cls(
            requirements=tuple(name for name in install["requirements"] if file_in(src, name)),
            constraints=tuple(constraints),
            packages=tuple(install["packages"]),
            project=project,
            extras=tuple(install["extras"]),
        )

    def dependencies(self) -> list[str]:
        """Arguments of uv for everything but the project itself."""
        words: list[str] = []
        for name in self.requirements:
            words += ["--requirements", name]
        for name in self.constraints:
            words += ["--constraints", name]
        return words + list(self.packages)

    def itself(self) -> list[str]:
        """Arguments of uv for the project itself."""
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        return {"none": [], "regular": [f".{extras}"], "editable": ["--editable", f".{extras}"]}[self.project]


def static_dependencies(src: Path) -> bool:
    """Whether pyproject.toml says all of the project's dependencies, so that nothing is run to know them."""
    path = file_in(src, "pyproject.toml")
    if path is None or path.stat().st_size > FILE_LIMIT:
        return False
    try:
        project = tomllib.loads(path.read_text("utf-8")).get("project")
    except (ValueError, RecursionError):
        return False
    if not isinstance(project, dict):
        return False
    dynamic = project.get("dynamic", [])
    return isinstance(dynamic, list) and not {"dependencies", "optional-dependencies"}.intersection(
        name for name in dynamic if isinstance(name, str)
    )


class Uv:
    """Runs uv, with a time limit for all of one environment and the output in the log."""

    def __init__(self, log: CappedLog, environment: Mapping[str, str], box: Box, time_limit: float) -> None:
        self._log = log
        self._environment = environment
        self._box = box
        self._time_limit = time_limit
        self._deadline = time.monotonic() + time_limit

    def __call__(self, *words: str, cwd: Path, cache: Path) -> None:
        """Run one command of uv, which may write to its cache. Raises StepError."""
        left = max(self._deadline - time.monotonic(), 0.0)
        environment = {**self._environment, "UV_CACHE_DIR": str(cache)}
        box = replace(self._box, shared=(*self._box.shared, cache))
        self._log.line(f"$ uv {' '.join(words)}")
        argv = [uv_path(), *words]
        ended = run_contained(argv, cwd=cwd, env=environment, box=box, log=self._log, time_limit=left)
        if ended.exceeded:
            raise StepError("over_limit", str(ended.exceeded))
        if ended.timed_out:
            limit = f"{self._time_limit:.0f} s (build_environment_time_limit)"
            raise StepError("environment_failed", f"The build had not ended after {limit}: uv {words[0]}.")
        if ended.exit != 0:
            raise _failure(ended.tail, ended.exit)


def uv_path() -> str:
    """The executable of uv: the one that was installed with Ansible, or the one on PATH."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        raise StepError("playbook_failed", f"uv is not installed: {sys.executable} -m pip install uv.")
    return found


def find_python(wanted: str) -> Python:
    """The interpreter that the profile names. Raises StepError ``profile_wrong``."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment |= {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_CONFIG": "1", "LC_ALL": "C.UTF-8"}
    code = "import platform, sys; print(platform.python_version()); print(sys.base_prefix); print(sys.prefix)"
    try:
        path = _output([uv_path(), "python", "find", "--no-project", "--system", wanted], environment)
        version, prefix, own = _output([path, "-I", "-S", "-c", code], environment).splitlines()
        return Python(path, version, prefix, own)
    except (OSError, ValueError, subprocess.SubprocessError):
        raise StepError(
            "profile_wrong", f"python: there is no interpreter {wanted} on this machine: install it."
        ) from None


def _output(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(argv, env=environment, cwd="/", capture_output=True, timeout=60, check=True, text=True)
    return done.stdout.strip()


def _failure(tail: Sequence[str], exit_status: int | None) -> StepError:
    """What uv's last lines mean."""
    undated = next((line for line in tail if "is missing an upload date" in line), "")
    if undated:
        return StepError(
            "profile_wrong",
            "exclude_newer: the package index does not say when its packages were uploaded; name versions in "
            f"constraints, or use another index ({undated.strip()}).",
        )
    start = next(
        (
            index
            for index, line in enumerate(tail)
            if line.startswith("error:") or line.lstrip().startswith(("\N{MULTIPLICATION SIGN} ", "x "))
        ),
        max(len(tail) - DETAIL_LINES, 0),
    )
    lines = [line.strip() for line in tail[start:] if line.strip()]
    if len(lines) > 2 * DETAIL_LINES:
        lines = [*lines[:DETAIL_LINES], "…", *lines[-DETAIL_LINES:]]
    detail = " ".join(lines)[:2000] or f"uv ended with exit status {exit_status}"
    if "No space left on device" in detail:
        return StepError("disk_full", f"The disk is full: {detail}")
    if _NETWORK.search(detail) and "error: " in detail and "build backend" not in detail:
        return StepError("index_unreachable", f"The package index cannot be reached: {detail}")
    return StepError("environment_failed", detail)


def blame(error: StepError, src: Path, source: Source) -> StepError:
    """The same with whose requirement it is: a line of the checkout, a server that it names, or the profile."""
    if error.code == "environment_failed":
        files = (*source.requirements, *source.constraints, "requirements.txt")
        found = places(src, files, error.detail)
        if found:
            detail = f"{'; '.join(str(place) for place in found)}: {error.detail}"
            return StepError(error.code, detail, file=found[0].file, line=found[0].line)
        missing = absent(error.detail)
        for package in source.packages:
            if named(package) in missing:
                return StepError("profile_wrong", f"install.packages: {package}: {error.detail}")
    fetched = _FETCHED.search(error.detail)
    if error.code != "index_unreachable" or fetched is None:
        return error
    host = urlsplit(fetched["url"]).hostname or ""
    for name in (*source.requirements, *source.constraints, "pyproject.toml", "setup.cfg", "setup.py"):
        path = file_in(src, name) if "://" not in name else None
        if path is not None and path.stat().st_size <= FILE_LIMIT and host.encode() in path.read_bytes():
            return StepError("environment_failed", f"{name} names a server that cannot be reached: {error.detail}")
    return error


def installed(venv: Path) -> list[str]:
    """The packages of an environment (``name==version``), from the names of their folders: nothing is run."""
    found = set()
    for folder in venv.glob("lib/python3*/site-packages/*.dist-info"):
        name, _, version = folder.name.removesuffix(".dist-info").rpartition("-")
        if name and version and (name + version).isprintable():
            found.add(f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}")
    return sorted(found)
