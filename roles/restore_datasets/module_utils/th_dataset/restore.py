# SPDX-License-Identifier: Apache-2.0
"""The state of a dataset's restore, which each step of the role passes to the next (docs/artifacts.md).

It is a file in the dataset's folder, outside of every box. It contains no password: a step that needs one reads the
dataset's file.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.artifacts import as_text, read_json, write_text
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_dataset.dataset import Dataset, read_dataset
from ansible.module_utils.th_sandbox.box import Settings
from ansible.module_utils.th_server import engine, mariadb
from ansible.module_utils.th_server.engine import Engine
from ansible.module_utils.th_server.external_server import release
from ansible.module_utils.th_server.family_mysql import MYSQL

FILE = "restore.json"
OF_A_WALK = ("environment", "files")
"""Keys of a profile's databases that no step of a restore needs, and that may contain secrets."""


@dataclass(frozen=True)
class RestoreOptions:
    """The options of `begin_restore`, as far as later steps need them."""

    job_dir: str
    name: str
    config: str
    databases: Sequence[Mapping[str, Any]]
    snapshots_dir: str
    lock_program: str
    sandbox: Mapping[str, Any]
    server_options: Sequence[str]
    import_time_limit: int
    start_time_limit: int
    engine: str = ""
    engines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    engines_dir: str = ""
    mysql_options: Sequence[str] = ()

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> RestoreOptions:
        """The options that are passed to later steps."""
        databases = [{key: value for key, value in one.items() if key not in OF_A_WALK} for one in options["databases"]]
        given = {one.name: options[one.name] for one in fields(cls) if one.name in options}
        return cls(**given | {"databases": databases})

    @property
    def names(self) -> list[str]:
        """The profile's names for the databases."""
        return [one["name"] for one in self.databases]


@dataclass
class Restore:
    """One dataset that is being restored.

    `external` says whether it is on an external server. `digest` is that of the dataset's file when the restore began.
    Of a private server, `engine` is the name of its engine, `place` where that is, and `settings` are the dataset's.
    `snapshot` is the folder of the snapshot to clone, and `definers` are the accounts that its views, triggers and
    routines run as. `made` says for each part what the job's own database on an external server was created with: the
    fields of a Charset, and its collation. `facts` and `seconds` are what the steps have found so far for the artifact.
    """

    given: RestoreOptions
    external: bool
    digest: str
    engine: str = ""
    place: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    snapshot: str = ""
    definers: Sequence[str] = ()
    made: dict[str, tuple[dict[str, str], str]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def job_dir(self) -> Path:
        """The job's folder."""
        return Path(self.given.job_dir)

    @property
    def folder(self) -> Path:
        """The folder of the dataset's server."""
        return folder_of(self.given)

    @property
    def file(self) -> Path:
        """The file that the steps pass on."""
        return self.folder / FILE

    @property
    def sandbox(self) -> Settings:
        """What a private server runs in."""
        return Settings.of(self.given.sandbox)

    def find_engine(self) -> Engine:
        """The engine of a private server. Raises EngineError, also when another one has taken its place, StepError."""
        found = find_engine(self.given, self.engine)
        if found.place != self.place:
            problem = f"the engine {self.engine} was replaced while the dataset was restored: restore it again"
            raise engine.EngineError(problem)
        return found

    def options_of(self, found: Engine) -> Sequence[str]:
        """The operator's options of a private server on this engine."""
        return self.given.mysql_options if found.family is MYSQL else self.given.server_options

    @property
    def server_code(self) -> str:
        """The code for a failure of the dataset's server."""
        return "server_unreachable" if self.external else "server_failed"

    def save(self) -> None:
        """Write the file for the next step."""
        write_text(self.file, as_text(asdict(self)), 0o600)

    @classmethod
    def read(cls, file: Path) -> Restore:
        """Read what the previous step has written. Raises StepError."""
        document = read_json(file)
        if not document:
            raise StepError("playbook_failed", f"there is no {file}: the step begin_restore has to come first.")
        values = {one.name: document[one.name] for one in fields(cls)}
        return cls(**{**values, "given": RestoreOptions(**values["given"])})

    def dataset(self) -> Dataset:
        """Read the dataset's file, with its passwords. Raises SeedError; ServerError if it was edited since."""
        config = Path(self.given.config)
        dataset = read_dataset(config, self.given.names, self.engine)
        if digest_of(config) != self.digest:
            raise mariadb.ServerError(f"{config} was changed while the dataset was restored: restore it again")
        return dataset


def find_engine(given: RestoreOptions, name: str) -> Engine:
    """An engine of this machine. Raises EngineError, StepError."""
    entries = {engine.SYSTEM: {"family": "mariadb"}, **given.engines}
    if name not in entries:
        known = ", ".join(sorted(entries))
        raise engine.EngineError(f"there is no engine {name!r} in engines.yaml, which has {known}")
    return engine.find(name, entries[name], Path(given.engines_dir))


def leave(folder: Path, time_limit: float = 15) -> None:
    """Stop the private server of a dataset's folder, cleanly if it takes less than `time_limit` seconds, or drop what
    the job has on the external one. Raises ServerError for a folder that cannot be read."""
    if not (folder / "server.json").exists():
        return
    server = mariadb.load(folder)
    if server.private:
        mariadb.stop(server, time_limit)
    elif server.pid:
        with contextlib.suppress(mariadb.ServerError):  # the next job on that server does it
            release(server)


def folder_of(given: RestoreOptions) -> Path:
    """The folder of a dataset's server, within the job's."""
    return Path(given.job_dir) / "db" / given.name


def digest_of(config: Path) -> str:
    """A digest of a dataset's file, to notice when it is edited."""
    return hashlib.sha256(config.read_bytes()).hexdigest()
