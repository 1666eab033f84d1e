# SPDX-License-Identifier: Apache-2.0
"""Installing with uv, and interpreting its failures."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_egress.rules import address_of
from ansible.module_utils.th_environment.requirements import FILE_LIMIT, absent, file_in, named, normal, places
from ansible.module_utils.th_environment.source import Source
from ansible.module_utils.th_environment.uv_errors import cause
from ansible.module_utils.th_sandbox.box import Box
from ansible.module_utils.th_sandbox.capped_log import CappedLog
from ansible.module_utils.th_sandbox.contain import run_contained

if TYPE_CHECKING:
    from ansible.module_utils.th_egress.proxy import Proxy

TIME_LIMIT = "build_environment_time_limit"
"""The variable that raises the time limit of a build."""
REFUSALS_SHOWN = 3
PACKAGES_SHOWN = 5000
ENTRIES_READ = 100_000
"""Maximum number of entries that are read from a folder."""

# variables that operators have set for pip to use a mirror of the index
PIP_NAMES = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX"}

_NETWORK = re.compile(
    # each contains a space, which no package name does
    r"dns error|tcp connect error|error sending request|connection (refused|reset|closed)|timed out|network timeout"
    r"|network is unreachable|HTTP status server error|invalid peer certificate|tls handshake|tunnel error"
    r"|network was disabled",
    re.IGNORECASE,
)
_UNDATED = re.compile(r"warning: \S{1,500} is missing an upload date")
_FETCHED = re.compile(r"[Ff]ailed to (?:fetch|download)[^:]{0,300}: `?(?P<url>https?://[^\s`]{1,2000})")


@dataclass(frozen=True)
class WayOut:
    """How commands in a box reach the network: the proxy outside, and the program that gives them access inside."""

    proxy: Proxy
    python: str
    program: Path


class Uv:
    """Runs uv with the output in the log, and with one time limit for a whole environment."""

    def __init__(
        self,
        log: CappedLog,
        environment: Mapping[str, str],
        box: Box,
        time_limit: float,
        way_out: WayOut | None,
        deadline: float | None = None,
    ) -> None:
        self._log = log
        self._environment = environment
        self._box = box
        self._time_limit = time_limit
        self._way_out = way_out
        self._deadline = time.monotonic() + time_limit if deadline is None else deadline

    def __call__(
        self, *words: str, cwd: Path, cache: Path, writable: Sequence[Path] = (), network: bool = True
    ) -> None:
        """Run one command of uv, which may write to its cache and to `writable`. Raises StepError."""
        left = max(self._deadline - time.monotonic(), 0.0)
        environment = {**self._environment, "UV_CACHE_DIR": str(cache)}
        writing = (*self._box.writable, *writable)
        box = replace(self._box, writable=writing, shared=(*self._box.shared, cache))
        self._log.line(f"$ uv {' '.join(words)}")
        argv, handles = [uv_path(), *words], []
        with ExitStack() as stack:
            if self._way_out is not None and network:
                self._way_out.proxy.failed_indexes.clear()
                handles.append(stack.enter_context(self._way_out.proxy.door()))
                inside = [self._way_out.python, "-I", "-S", str(self._way_out.program), str(handles[0])]
                argv = [*inside, *argv]
            result = run_contained(
                argv, cwd=cwd, env=environment, box=box, log=self._log, time_limit=left, pass_fds=handles
            )
        if result.exceeded:
            raise StepError("over_limit", str(result.exceeded))
        if result.timed_out:
            limit = f"{self._time_limit:.0f} s ({TIME_LIMIT})"
            detail = f"The build had not ended after {limit}: uv {words[0]}."
            raise self._with_proxy_errors(StepError("environment_failed", detail))
        if result.exit != 0:
            raise self._with_proxy_errors(_failure(result.tail, result.exit))

    def index_failed(self) -> bool:
        """Whether the proxy failed to connect to an index during the last command, whatever uv's output says."""
        return self._way_out is not None and bool(self._way_out.proxy.failed_indexes)

    def _with_proxy_errors(self, error: StepError) -> StepError:
        """The same error with the proxy's messages about it."""
        if self._way_out is None:
            return error
        proxy, code = self._way_out.proxy, error.code
        fetched = _FETCHED.search(error.detail)
        if code == "index_unreachable" and fetched and address_of(fetched["url"]) in proxy.not_outside:
            code = "environment_failed"  # not a configured index
        messages = [f"refused: {where} ({why})" for where, why in proxy.refused.items()]
        if code == "index_unreachable":
            messages += [f"{where}: {why}" for where, why in proxy.unreachable.items()]
        if len(messages) > REFUSALS_SHOWN:
            messages[REFUSALS_SHOWN:] = [f"and {len(messages) - REFUSALS_SHOWN} more in environment.log"]
        return StepError(code, "; ".join([error.detail, *messages]), **error.more)


def uv_path() -> str:
    """The executable of uv: the one that was installed with Ansible, or the one on PATH."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        raise StepError("playbook_failed", f"uv is not installed: {sys.executable} -m pip install uv.")
    return found


def _failure(tail: Sequence[str], exit_status: int | None) -> StepError:
    """The error that uv's last lines describe."""
    undated = next((line for line in tail if _UNDATED.match(line)), "")
    if undated:
        return StepError(
            "profile_wrong",
            "exclude_newer: the package index does not say when its packages were uploaded; name versions in "
            f"constraints, or use another index ({undated.strip()}).",
        )
    detail = cause(tail) or f"uv ended with exit status {exit_status}"
    if "No space left on device" in detail:
        return StepError("disk_full", f"The disk is full: {detail}")
    if _NETWORK.search(detail) and "error: " in detail and "build backend" not in detail:
        return StepError("index_unreachable", f"The package index cannot be reached: {detail}")
    return StepError("environment_failed", detail)


def blame(error: StepError, src: Path, source: Source, folder: str = "") -> StepError:
    """The same error attributed to its origin: a line of the checkout, a server that it names, or the profile.

    `src` is the project's folder, `folder` its path in the repository.
    """
    if error.code == "environment_failed":
        files = (*source.requirements, *source.constraints, "requirements.txt")
        found = [replace(one, file=os.path.join(folder, one.file)) for one in places(src, files, error.detail)]
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
            name = os.path.join(folder, name)
            return StepError("environment_failed", f"{name} names a server that cannot be reached: {error.detail}")
    return error


def installed(venv: Path) -> list[str]:
    """The packages of an environment (``name==version``), read from the names of their folders without running anything
    or following links."""
    found: set[str] = set()
    try:
        for library in _folders(venv / "lib", "python3"):
            for packages in _folders(library, "site-packages"):
                found.update(filter(None, map(_package, _folders(packages, "", ".dist-info"))))
    except OSError:
        pass  # a build can make it unreadable
    return sorted(found)[:PACKAGES_SHOWN]


def _folders(folder: Path, beginning: str, end: str = "") -> Iterator[Path]:
    """The subfolders, except links, whose names begin and end like this."""
    if folder.is_symlink():
        return
    with os.scandir(folder) as entries:
        for entry in islice(entries, ENTRIES_READ):
            if entry.name.startswith(beginning) and entry.name.endswith(end) and entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)


def _package(folder: Path) -> str:
    name, _, version = folder.name.removesuffix(".dist-info").rpartition("-")
    return f"{normal(name)}=={version}" if name and version and (name + version).isprintable() else ""
