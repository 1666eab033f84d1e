# SPDX-License-Identifier: Apache-2.0
"""The configuration: read once, checked completely, then immutable.

The keys of existing installations keep their names and meaning. docs/configuration.md describes every key.
"""

import functools
import hashlib
import os
import sysconfig
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from worker.config import monitoring, publish_logs, resources, zuul_server
from worker.config.job_entry import ALL, GATE_PLUGIN, EntryContext, JobEntry, read_entry, read_plugin
from worker.config.monitoring import Monitoring
from worker.config.publish_logs import PublishLogs
from worker.config.resources import SensorLimits
from worker.config.zuul_server import EMBEDDED, ZuulServer
from worker.errors import ConfigError
from worker.inputs import documents
from worker.inputs.documents import MergedDocument, Section

__all__ = [
    "ALL", "DEFAULT_PATH", "EMBEDDED", "GATE_PLUGIN", "Config", "JobEntry", "PublishLogs", "ZuulServer", "load",
    "prepare_dir",
]  # fmt: skip

DEFAULT_PATH = Path("/etc/turbo-hipster/config.json")
BUBBLEWRAP, UNCONFINED = "bubblewrap", "none"
SANDBOX_CHOICES = (BUBBLEWRAP, UNCONFINED)
KEEP_CHOICES = ("never", "failed", "always")
_FIXED = ("jobs_working_dir", "debug_log", "status_socket")  # what a running worker keeps open
_CONF_D_SUFFIXES = (".json", ".yaml", ".yml")
_LONGEST = 7 * 24 * 3600


KEYS = (
    "zuul_server", "debug_log", "jobs_working_dir", "git_working_dir", "pip_download_cache", "snapshots_dir",
    "environments_dir", "engines_dir", "projects_dir", "ansible_dir", "plugins", "jobs", "publish_logs", "conf_d",
    "job_time_limit", "upload_time_limit", "keep_job_dirs", "sandbox", "slots", "sensors", "status_socket",
    "log_format", "log_max_bytes", "metrics",
)  # fmt: skip
"""The top-level keys of a configuration."""


@dataclass(frozen=True)
class Config:
    """The checked configuration. All paths are absolute, all limits are in seconds."""

    path: Path
    zuul_server: ZuulServer
    debug_log: Path | None
    jobs_working_dir: Path
    git_working_dir: Path
    pip_download_cache: Path
    snapshots_dir: Path
    environments_dir: Path
    engines_dir: Path
    projects_dir: Path
    ansible_dir: Path
    jobs: tuple[JobEntry, ...]
    publish_logs: PublishLogs
    job_time_limit: int
    upload_time_limit: int
    keep_job_dirs: str
    sandbox: str
    slots: int
    sensors: SensorLimits
    status_socket: Path
    monitoring: Monitoring

    @property
    def confined(self) -> bool:
        """Whether the code of changes runs in a sandbox."""
        return self.sandbox != UNCONFINED

    def job(self, name: str) -> JobEntry | None:
        """The entry of the job, or None if there is no such job."""
        return next((entry for entry in self.jobs if entry.name == name), None)

    def writable_dirs(self) -> dict[str, tuple[Path, int]]:
        """The folders that the worker writes to and may create: key of the configuration -> (folder, mode)."""
        dirs = {
            "jobs_working_dir": (self.jobs_working_dir, 0o700),
            "git_working_dir": (self.git_working_dir, 0o755),
            "pip_download_cache": (self.pip_download_cache, 0o755),
            "snapshots_dir": (self.snapshots_dir, 0o700),
            "environments_dir": (self.environments_dir, 0o755),
            "status_socket": (self.status_socket.parent, 0o700),
        }
        if self.publish_logs.path:
            dirs["publish_logs.path"] = (self.publish_logs.path, 0o755)
        if self.debug_log:
            dirs["debug_log"] = (self.debug_log.parent, 0o755)
        return dirs

    def job_dirs(self) -> dict[str, Path]:
        """The folders outside its own that a job uses, by their keys of the configuration."""
        return {
            "git_working_dir": self.git_working_dir,
            "environments_dir": self.environments_dir,
            "snapshots_dir": self.snapshots_dir,
            "engines_dir": self.engines_dir,
            "pip_download_cache": self.pip_download_cache,
            "projects_dir": self.projects_dir,
        }

    def while_running(self, old: "Config") -> tuple["Config", list[str]]:
        """This configuration, for a worker running with `old`: keys that need a restart keep their old values. Also
        returns the names of those keys whose values differ."""
        fixed: dict[str, Any] = {name: getattr(old, name) for name in _FIXED}
        waiting = [name for name, value in fixed.items() if getattr(self, name) != value]
        server = replace(old.zuul_server, origin=self.zuul_server.origin)
        if server != self.zuul_server:
            waiting.append("zuul_server.gearman_*")
        waiting += self.monitoring.changed(old.monitoring)
        return replace(self, zuul_server=server, monitoring=old.monitoring, **fixed), waiting

    def prepare(self) -> None:
        """Create the missing folders of `writable_dirs()`. Raises ConfigError for one that cannot be used."""
        for key, (folder, mode) in self.writable_dirs().items():
            prepare_dir(self.path, key, folder, mode)


def prepare_dir(path: Path, key: str, folder: Path, mode: int) -> None:
    """Create one folder if it is missing, and test that it is writable. Raises ConfigError(path, key)."""
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        problem = f"the folder {folder} cannot be made or written to ({error.strerror})"
        raise ConfigError(path, key, problem, "change the key, or the permissions") from error


def default_ansible_dir() -> Path:
    """The folder with playbooks, roles and inventory: this source checkout, or where the wheel has installed them."""
    checkout = Path(__file__).resolve().parent.parent.parent
    if (checkout / "playbooks").is_dir():
        return checkout
    return Path(sysconfig.get_path("data")) / "share" / "turbo-hipster"


def load(path: Path) -> Config:
    """Read and check the configuration at `path` and the files of its `conf_d`.

    Creates no folders; `Config.prepare()` does. Raises ConfigError, which names the file and the key.
    """
    path = path.absolute()
    merged = MergedDocument(path, frozenset({"plugins", "jobs"}))
    merged.add(path, documents.read_mapping(path))
    for extra in _conf_d_files(merged):
        document = documents.read_mapping(extra)
        if "conf_d" in document:
            raise ConfigError(extra, "conf_d", "cannot be in a file of conf_d", "set it in the main file")
        merged.add(extra, document)
    return _Reader(path, Section(merged, (), merged.value)).read()


def _conf_d_files(merged: MergedDocument) -> list[Path]:
    section = Section(merged, (), merged.value)
    folder = merged.path.parent / "conf.d"
    if section.has("conf_d"):
        folder = _absolute(merged.path.parent, section.text("conf_d"))
    elif not os.path.isdir(folder):
        return []
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        problem = f"the folder {folder} cannot be read ({error.strerror})"
        raise section.error("conf_d", problem, "make it, or take the key out") from error
    return [entry for entry in entries if entry.suffix in _CONF_D_SUFFIXES and entry.name[0] != "."]


def _absolute(base: Path, text: str) -> Path:
    # No resolve(): the operator may change the target of a symbolic link later.
    return Path(base, os.path.expanduser(text))


def _socket_name(path: Path) -> str:
    # unique for each configuration, even if several share their folders
    return f"{path.stem}-{hashlib.sha256(bytes(path)).hexdigest()[:8]}.sock"


def _readable_dir(folder: Path) -> bool:
    return os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK)


class _Reader:
    """Takes the keys out of the merged document, in the order of their dependencies."""

    def __init__(self, path: Path, top: Section) -> None:
        self.path = path
        self.top = top
        self.top.expect(*KEYS)
        self.ansible_dir = self._ansible_dir()

    def read(self) -> Config:
        context = EntryContext(self.ansible_dir / "playbooks", functools.partial(self._path, default=None))
        jobs_dir = self._path(self.top, "jobs_working_dir", Path("/var/lib/turbo-hipster/jobs"))
        config = Config(
            path=self.path,
            zuul_server=zuul_server.read(self.top.section("zuul_server"), self._optional_path),
            monitoring=monitoring.read(self.top),  # before debug_log is taken, as it tests for that key
            debug_log=self._optional_path(self.top, "debug_log"),
            jobs_working_dir=jobs_dir,
            git_working_dir=self._path(self.top, "git_working_dir", jobs_dir.parent / "git"),
            pip_download_cache=self._path(self.top, "pip_download_cache", jobs_dir.parent / "pip"),
            snapshots_dir=self._path(self.top, "snapshots_dir", jobs_dir.parent / "snapshots"),
            environments_dir=self._path(self.top, "environments_dir", jobs_dir.parent / "environments"),
            engines_dir=self._path(self.top, "engines_dir", jobs_dir.parent / "engines"),
            projects_dir=self._path(self.top, "projects_dir", self.ansible_dir / "inventory" / "projects"),
            ansible_dir=self.ansible_dir,
            jobs=(
                *(read_plugin(section, context) for section in self.top.sections("plugins")),
                *(read_entry(section, context) for section in self.top.sections("jobs")),
            ),
            publish_logs=publish_logs.read(
                self.top.section("publish_logs"), self.ansible_dir, functools.partial(self._path, default=None)
            ),
            job_time_limit=self.top.integer("job_time_limit", 14400, 1, _LONGEST),
            upload_time_limit=self.top.integer("upload_time_limit", 600, 1, _LONGEST),
            keep_job_dirs=self.top.choice("keep_job_dirs", KEEP_CHOICES),
            sandbox=self.top.choice("sandbox", SANDBOX_CHOICES),
            slots=self.top.integer("slots", resources.default_slots(), 1, resources.MOST_SLOTS),
            sensors=resources.read_sensors(self.top.section("sensors", {})),
            status_socket=self._path(self.top, "status_socket", jobs_dir.parent / "run" / _socket_name(self.path)),
        )
        if self.top.has("conf_d"):
            self.top.text("conf_d")
        self.top.done()
        if not config.jobs:
            raise self.top.error("plugins", "there is no job", "add one to plugins or to jobs")
        self._apart(config)
        return config

    def _path(self, section: Section, name: str, default: Path | None) -> Path:
        return _absolute(self.path.parent, section.text(name, str(default) if default else None))

    def _optional_path(self, section: Section, name: str) -> Path | None:
        return self._path(section, name, None) if section.has(name) else None

    def _ansible_dir(self) -> Path:
        folder = self._path(self.top, "ansible_dir", default_ansible_dir())
        if not _readable_dir(folder / "playbooks"):
            problem = f"there is no folder {folder / 'playbooks'} that can be read"
            raise self.top.error("ansible_dir", problem, "'th init DIR' makes one")
        return folder

    def _apart(self, config: Config) -> None:
        jobs_dir = os.path.realpath(config.jobs_working_dir)
        folders = {key: folder for key, (folder, _) in config.writable_dirs().items()}
        folders |= {"ansible_dir": config.ansible_dir, "projects_dir": config.projects_dir}
        folders["engines_dir"] = config.engines_dir
        folders |= {f"datasets_dir of {job.name}": job.datasets_dir for job in config.jobs if job.datasets_dir}
        for key, folder in folders.items():
            if key != "jobs_working_dir" and Path(os.path.realpath(folder)).is_relative_to(jobs_dir):
                problem = f"{folder} is inside jobs_working_dir, which is for the jobs' folders alone"
                raise ConfigError(self.path, key, problem, "use another folder")
