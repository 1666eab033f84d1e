# SPDX-License-Identifier: Apache-2.0
"""Restoring a dataset on an external server: into databases of the job's own, or into preloaded ones."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.artifacts import write_text
from ansible.module_utils.th_dataset import fingerprint, lent_rights, server_settings
from ansible.module_utils.th_dataset.charset import Charset, follow_tables, make_database, of_file, of_part
from ansible.module_utils.th_dataset.dataset import Dataset
from ansible.module_utils.th_dataset.settle import settle
from ansible.module_utils.th_dataset.snapshot import identity_of
from ansible.module_utils.th_dump.arrived import arrived
from ansible.module_utils.th_dump.definers import drop_former
from ansible.module_utils.th_dump.load import examine, load_dump
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_sandbox.box import Settings
from ansible.module_utils.th_server import external_server, mariadb, prepared
from ansible.module_utils.th_server.accounts import can_be_granted_alone, identifier

OWN_CHARSET = Charset("utf8mb4", "utf8mb4_general_ci")
"""Of databases of the job's own whose dump does not say, as on private servers."""


def as_guest(folder: Path, dataset: Dataset, options: Mapping[str, Any]) -> tuple[mariadb.Server, dict[str, Any]]:
    """The job's part of the dataset's external server, and how it went.

    Whatever goes wrong leaves nothing on the server. Raises SeedError (also ``seed_changed``), ServerError.
    """
    begun = time.monotonic()
    given = {**dataset.server, "password_file": str(dataset.path.parent / str(dataset.server["password_file"]))}
    schemas = {part.name: part.database for part in dataset.parts}
    server = external_server.describe(folder, given, schemas, dataset.preloaded)
    _check_alone(server)
    patience = options["import_time_limit"]
    server = external_server.hold_locks(server, Path(options["lock_program"]), patience)
    try:
        with external_server.administrating(server) as connection:
            server_settings.demand(connection, dataset.settings.values, "the external server")
            external_server.drop_dead(connection, server)
            server = mariadb.save(replace(server, prepared=prepared.prepared(connection) or ()))
            made = {} if server.preloaded else _make_databases(connection, dataset, server)
            for database in server.databases.values() if server.preloaded else ():
                drop_former(connection, database)
            external_server.make_account(connection, server, Settings.of(options["sandbox"]).database.connections)
        started, notes = time.monotonic(), list[str]()
        if dataset.reset:
            _run_reset(dataset, server, options)
        else:
            notes = _load(dataset, server, made, options["import_time_limit"])
        with mariadb.connect(server, server.job_file, time_limit=options["import_time_limit"]) as connection:
            settle(connection, server.databases.values())
        loaded = time.monotonic()
        seconds = {"import": round(loaded - started, 3), "clone": 0.0, "start": round(started - begun, 3)}
        if server.preloaded:
            _prove(dataset, server, options)
            seconds["proof"] = round(time.monotonic() - loaded, 3)
        else:
            with external_server.administrating(server) as connection:
                _refuse_lenders(connection, server)
        rows, size = _size(server)
    except BaseException:
        _leave(server)
        raise
    method = "reset" if dataset.reset else "reload" if server.preloaded else "import"
    facts = {"method": method, "snapshot": "none", "seconds": seconds, "bytes": size, "rows": rows, "notes": notes}
    return server, facts


def _check_alone(server: mariadb.Server) -> None:
    """The job has its databases alone.

    A dataset that waits for a preloaded database that another one of its own job has would wait for ever.
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


def _leave(server: mariadb.Server) -> None:
    try:
        external_server.release(server)
    except mariadb.ServerError:
        pass  # the next job drops it; what went wrong before is what counts


def _make_databases(connection: Any, dataset: Dataset, server: mariadb.Server) -> dict[str, tuple[Charset, str]]:
    """Make the job's own databases; returns by part what for each was found, and the collation that it has."""
    made = {}
    for part in dataset.parts:
        charset = of_part(part)
        wanted = charset if charset.clause else OWN_CHARSET
        made[part.name] = charset, make_database(connection, server.databases[part.name], wanted, part)
    return made


def _load(
    dataset: Dataset, server: mariadb.Server, made: Mapping[str, tuple[Charset, str]], time_limit: float
) -> list[str]:
    """Load the dumps; returns what a reader has to know of them."""
    found = []
    for part in dataset.parts:
        assert part.dump is not None
        found.append((part, part.dump, examine(part.dump, server.databases[part.name], part.expected)))
    for part, dump, _ in found:
        database = server.databases[part.name]
        if server.preloaded:
            with external_server.administrating(server, time_limit) as connection:
                external_server.empty_database(connection, database)
                if clause := of_file(part).clause:
                    mariadb.query(connection, f"ALTER DATABASE {identifier(database)}{clause}")
        # as the job's account: a dump can do nothing to anybody else's data
        load_dump(server, server.job_file, dump, database, time_limit, own_definers=True)
        if part.name in made:
            with mariadb.connect(server, server.job_file, time_limit=time_limit) as connection:
                follow_tables(connection, database, *made[part.name])
    return [
        note
        for part, dump, finding in found
        for note in arrived(
            server, server.job_file, dump, server.databases[part.name], finding, part.expected
        ).notes
    ]



def _run_reset(dataset: Dataset, server: mariadb.Server, options: Mapping[str, Any]) -> None:
    """Run the operator's command, without a shell; what it prints is only shown when it fails.

    Raises SeedError ``seed_changed`` when it fails.
    """
    place = {"TH_DATASET": options["name"], "TH_DATABASES": " ".join(server.databases.values())}
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
            timeout=options["import_time_limit"],
            check=False,
        )
    except OSError as error:
        raise SeedError("seed_changed", f"{dataset.path}: reset: {dataset.reset[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise SeedError("seed_changed", f"{dataset.path}: reset did not end in {error.timeout:g} s") from error
    if done.returncode != 0:
        said = done.stdout.strip()[-1000:]
        raise SeedError("seed_changed", f"{dataset.path}: reset ended with status {done.returncode}: {said}")


def _prove(dataset: Dataset, server: mariadb.Server, options: Mapping[str, Any]) -> None:
    """Compare the databases with the seal, or make it when the dataset is new. Raises SeedError ``seed_changed``."""
    place = [server.socket, server.host, server.port, sorted(server.databases.values())]
    name = f"{options['name']}-{hashlib.sha256(json.dumps(place).encode()).hexdigest()[:8]}.json"
    path = Path(options["snapshots_dir"]) / "seals" / name
    seed: dict[str, Any] = {"reset": list(dataset.reset)}
    seed["dumps"] = [identity_of(part.dump) for part in dataset.parts if part.dump]
    if clauses := [clause for part in dataset.parts if (clause := of_file(part).clause)]:
        seed["charsets"] = clauses
    with external_server.administrating(server, options["import_time_limit"]) as connection:
        found = fingerprint.seal(connection, server.databases.values())
        version = mariadb.flavour(connection)[1]
    try:
        known = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        known = {}
    except (OSError, ValueError) as error:
        raise SeedError("seed_changed", f"{path}, the seed's seal, cannot be read: {error}") from error
    new = known.get("seed") != seed  # or the operator has given it another dump
    if not new and (said := fingerprint.differences(known["objects"], found)):
        more = f", and {len(said) - 20} more" if len(said) > 20 else ""
        other = f" It was made on the server's version {known['server']}." if known["server"] != version else ""
        raise SeedError(
            "seed_changed",
            f"after the reset, {'; '.join(said[:20])}{more}. The seal is {path}: remove it to accept what is there"
            f" now.{other}",
        )
    with external_server.administrating(server, options["import_time_limit"]) as connection:
        _refuse_lenders(connection, server)  # each time: an account may have been given more since
    if new:
        write_text(path, json.dumps({"server": version, "seed": seed, "objects": found}, indent=1) + "\n", 0o600)


def _refuse_lenders(connection: Any, server: mariadb.Server) -> None:
    code = "seed_changed" if server.preloaded else "seed_broken"
    lent_rights.refuse_lenders(connection, list(server.databases.values()), external_server.account_of(server), code)


def _size(server: mariadb.Server) -> tuple[int, int]:
    names = list(server.databases.values())
    with external_server.administrating(server) as connection:
        rows = mariadb.query(
            connection,
            "SELECT COALESCE(SUM(table_rows), 0), COALESCE(SUM(data_length + index_length), 0)"  # noqa: S608
            f" FROM information_schema.tables WHERE table_schema IN ({', '.join(['%s'] * len(names))})",
            *names,
        )
    return int(rows[0][0]), int(rows[0][1])
