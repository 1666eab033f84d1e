# SPDX-License-Identifier: Apache-2.0
"""The steps of restoring a dataset on an external server: into the job's own databases, or into preloaded ones."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.artifacts import write_text
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_dataset import fingerprint, lent_rights, rights, server_settings
from ansible.module_utils.th_dataset.charset import Charset, follow_tables, make_database, of_file, of_part
from ansible.module_utils.th_dataset.dataset import Dataset
from ansible.module_utils.th_dataset.record import record, size_of
from ansible.module_utils.th_dataset.restore import Restore, leave
from ansible.module_utils.th_dataset.settle import settle
from ansible.module_utils.th_dataset.snapshot import identity_of
from ansible.module_utils.th_dump.arrived import arrived
from ansible.module_utils.th_dump.load import examine, load_dump
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_server import external_server, mariadb, prepared
from ansible.module_utils.th_server.accounts import can_be_granted_alone, identifier
from ansible.module_utils.th_server.definers import drop_former
from ansible.module_utils.th_server.family_mariadb import MARIADB
from ansible.module_utils.th_server.family_mysql import MYSQL

Made = tuple[dict[str, str], str]
"""What a database was created with: the fields of a Charset, and its collation."""

OWN_CHARSET = Charset("utf8mb4", "utf8mb4_general_ci")
"""For the job's own databases if the dump names no character set; the same as on private servers."""


def take_locks(restore: Restore) -> dict[str, Any]:
    """Take locks, so that no other job uses the job's databases while it runs, and create its account and databases.

    Waits for a preloaded database that another job uses. Raises SeedError, ServerError.
    """
    leave(restore.folder)
    begun, dataset = time.monotonic(), restore.dataset()
    files = [name for name in ("password_file", "ssl_ca") if name in dataset.server]
    given = {**dataset.server, **{name: str(dataset.path.parent / str(dataset.server[name])) for name in files}}
    schemas = {part.name: part.database for part in dataset.parts}
    server = external_server.describe(restore.folder, given, schemas, dataset.preloaded)
    _check_alone(server)
    server = external_server.hold_locks(server, Path(restore.given.lock_program), restore.given.import_time_limit)
    with external_server.administrating(server) as connection:
        server_settings.demand(connection, dataset.settings.values, "the external server")
        external_server.drop_dead(connection, server)
        family = MARIADB if mariadb.flavour(connection)[0] == "MariaDB" else MYSQL
        server = mariadb.save(replace(server, prepared=prepared.prepared(connection) or (), family=family.name))
        restore.made = {} if server.preloaded else _make_databases(connection, dataset, server)
        for database in server.databases.values() if server.preloaded else ():
            drop_former(connection, database)
        external_server.make_account(connection, server, restore.sandbox.database.connections)
    rights.refuse_roles(server)
    restore.seconds["start"] = round(time.monotonic() - begun, 3)
    return {"databases": server.databases}


def load_seed(restore: Restore) -> dict[str, Any]:
    """Load the dumps, or run the operator's command that resets the databases. Raises SeedError, ServerError."""
    begun, dataset, server, notes = time.monotonic(), restore.dataset(), _held(restore), list[str]()
    (restore.folder / "walked").unlink(missing_ok=True)
    time_limit = restore.given.import_time_limit
    if dataset.reset:
        _run_reset(dataset, server, restore)
    else:
        notes = _load(dataset, server, restore.made, time_limit)
    with mariadb.connect(server, server.job_file, time_limit=time_limit) as connection:
        settle(connection, server.databases.values())
    method = "reset" if dataset.reset else "reload" if server.preloaded else "import"
    restore.facts = {"method": method, "snapshot": "none", "notes": notes}
    restore.seconds["import"] = round(time.monotonic() - begun, 3)
    return {"method": method}


def prove_seed(restore: Restore) -> dict[str, Any]:
    """Prove that preloaded databases are in the state of the seed, and that nothing in a database runs with more rights
    than the job has; read the versions, and write the artifact.

    Raises SeedError (also ``seed_changed``), StepError, ServerError.
    """
    begun, dataset, server = time.monotonic(), restore.dataset(), _held(restore)
    if "method" not in restore.facts:  # loaded by a step that the operator wrote
        restore.facts = {"method": "import", "snapshot": "none", "notes": []}
    if server.preloaded:
        _prove(dataset, server, restore)
        restore.seconds["proof"] = round(time.monotonic() - begun, 3)
    with external_server.administrating(server) as connection:
        if not server.preloaded:
            _refuse_lenders(connection, server)
        restore.facts |= size_of(connection, server.databases.values())
        restore.facts["notes"] = [*restore.facts["notes"], *rights.missing(connection, server)]
    return {"facts": record(restore, dataset, server)}


def _held(restore: Restore) -> mariadb.Server:
    """The server, on which the job must hold its locks. Raises StepError, UnreachableError."""
    if not (restore.folder / "server.json").exists():
        raise StepError("playbook_failed", f"{restore.folder} has no server: the step take_locks has to come first.")
    server = mariadb.load(restore.folder)
    if not server.running():
        raise mariadb.UnreachableError(
            f"nobody holds the job's locks on the external server any more: restore it again. {server.last_words()}"
        )
    return server


def _check_alone(server: mariadb.Server) -> None:
    """Check that rights on the databases can be granted alone, and that no other dataset of the job has them.

    Otherwise two datasets of one job with the same preloaded database would wait for each other for ever.
    """
    for database in server.databases.values():
        if not can_be_granted_alone(database):
            raise SeedError(
                "seed_broken",
                f"rights on the database {database} alone cannot be granted: with a \\ before each _ its name has"
                " more than 64 characters, and without them it would stand for others, too. Give it a shorter name",
            )
    for file in Path(server.folder).parent.glob("*/server.json"):
        other = mariadb.load(file.parent)
        both = set(server.databases.values()) & set(other.databases.values())
        if server.preloaded and other.preloaded and other.address == server.address and both and other.running():
            name = file.parent.name
            raise SeedError(
                "seed_broken",
                f"the dataset {name} of this job has the preloaded database {min(both)} already: give them one each, or"
                " let the job choose one of the two",
            )


def _make_databases(connection: Any, dataset: Dataset, server: mariadb.Server) -> dict[str, Made]:
    """Create the job's own databases; returns what each was created with, by part."""
    made: dict[str, Made] = {}
    for part in dataset.parts:
        charset = of_part(part)
        wanted = charset if charset.clause else OWN_CHARSET
        made[part.name] = asdict(charset), make_database(connection, server.databases[part.name], wanted, part)
    return made


def _load(dataset: Dataset, server: mariadb.Server, made: Mapping[str, Made], time_limit: float) -> list[str]:
    """Load the dumps into emptied databases; returns remarks on them for the report."""
    found = []
    for part in dataset.parts:
        assert part.dump is not None
        found.append((part, part.dump, examine(part.dump, server.databases[part.name], part.expected)))
    for part, dump, _ in found:
        database = server.databases[part.name]
        with external_server.administrating(server, time_limit) as connection:
            external_server.empty_database(connection, database)  # the job's own, too: the step may be repeated
            if server.preloaded and (clause := of_file(part).clause):
                mariadb.query(connection, f"ALTER DATABASE {identifier(database)}{clause}")
        # with the job's account, so that a dump cannot touch other data
        load_dump(server, server.job_file, dump, database, time_limit, own_definers=True)
        if part.name in made:
            charset, collation = made[part.name]
            with mariadb.connect(server, server.job_file, time_limit=time_limit) as connection:
                follow_tables(connection, database, Charset(**charset), collation)
    return [
        note
        for part, dump, finding in found
        for note in arrived(
            server, server.job_file, dump, server.databases[part.name], finding, part.expected
        ).notes
    ]


def _run_reset(dataset: Dataset, server: mariadb.Server, restore: Restore) -> None:
    """Run the operator's command, without a shell. Its output is shown only when it fails.

    Raises SeedError ``seed_changed`` when it fails.
    """
    place = {"TH_DATASET": restore.given.name, "TH_DATABASES": " ".join(server.databases.values())}
    try:
        done = subprocess.run(
            dataset.reset,
            cwd=dataset.path.parent,
            env={**os.environ, **place},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=restore.given.import_time_limit,
            check=False,
        )
    except OSError as error:
        raise SeedError("seed_changed", f"{dataset.path}: reset: {dataset.reset[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise SeedError("seed_changed", f"{dataset.path}: reset did not end in {error.timeout:g} s") from error
    if done.returncode != 0:
        said = done.stdout.strip()[-1000:]
        raise SeedError("seed_changed", f"{dataset.path}: reset ended with status {done.returncode}: {said}")


def _prove(dataset: Dataset, server: mariadb.Server, restore: Restore) -> None:
    """Compare the databases with the seal, or make the seal if the seed is new. Raises SeedError ``seed_changed``."""
    given, place = restore.given, [server.socket, server.host, server.port, sorted(server.databases.values())]
    name = f"{given.name}-{hashlib.sha256(json.dumps(place).encode()).hexdigest()[:8]}.json"
    path = Path(given.snapshots_dir) / "seals" / name
    seed: dict[str, Any] = {"reset": list(dataset.reset)}
    seed["dumps"] = [identity_of(part.dump) for part in dataset.parts if part.dump]
    if clauses := [clause for part in dataset.parts if (clause := of_file(part).clause)]:
        seed["charsets"] = clauses
    with external_server.administrating(server, given.import_time_limit) as connection:
        found = fingerprint.seal(connection, server.databases.values())
        version = mariadb.flavour(connection)[1]
    try:
        known = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        known = {}
    except (OSError, ValueError) as error:
        raise SeedError("seed_changed", f"{path}, the seed's seal, cannot be read: {error}") from error
    new = known.get("seed") != seed  # no seal yet, or it is another dump's
    if not new and (said := fingerprint.differences(known["objects"], found)):
        more = f", and {len(said) - 20} more" if len(said) > 20 else ""
        other = f" It was made on the server's version {known['server']}." if known["server"] != version else ""
        raise SeedError(
            "seed_changed",
            f"after the reset, {'; '.join(said[:20])}{more}. The seal is {path}: remove it to accept what is there"
            f" now.{other}",
        )
    with external_server.administrating(server, given.import_time_limit) as connection:
        _refuse_lenders(connection, server)  # each time: an account may have more rights by now
    if new:
        write_text(path, json.dumps({"server": version, "seed": seed, "objects": found}, indent=1) + "\n", 0o600)


def _refuse_lenders(connection: Any, server: mariadb.Server) -> None:
    code = "seed_changed" if server.preloaded else "seed_broken"
    lent_rights.refuse_lenders(connection, list(server.databases.values()), external_server.account_of(server), code)
