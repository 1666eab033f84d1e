#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Restore one dataset into a private server, or on an external one."""

DOCUMENTATION = r"""
module: restore_dataset
short_description: Restore one dataset into a private MariaDB server of the job, or on an external one
description:
  - Imports the dataset's dumps into a snapshot, once; clones the snapshot into the job's folder; starts a server on
    the clone, on a unix socket and without network; and reads the versions that the databases hold.
  - On an external server, loads the dumps into databases of the job's own, or makes preloaded databases the seed's
    again and proves it.
  - A dump that cannot be used is a finding, not a failure of the task; it is written to C(artifacts/errors.jsonl)
    and returned as RV(restored=false), so that the job's other datasets are tested nevertheless.
options:
  job_dir:
    description: The job's folder.
    type: path
    required: true
  name:
    description: The dataset's name.
    type: str
    required: true
  config:
    description: The dataset's file, JSON.
    type: path
    required: true
  snapshots_dir:
    description: Where imported datasets are kept.
    type: path
    required: true
  databases:
    description:
      - The project's databases as in its profile, each with C(name), C(versions) (how they are kept) and
        C(version_query) (the statement that reads them).
    type: list
    elements: dict
    required: true
  lock_program:
    description: The program that holds the job's locks on an external server.
    type: path
    required: true
  sandbox:
    description: What a private server runs in, and its limits, C(th_sandbox) of the role C(project).
    type: dict
    required: true
  server_options:
    description: Options of mariadbd.
    type: list
    elements: str
    default: []
  import_time_limit:
    description: Seconds that the import of the dump may take.
    type: int
    default: 7200
  start_time_limit:
    description: Seconds that the server may take to answer.
    type: int
    default: 120
author: The turbo-hipster developers
"""

EXAMPLES = r"""
- name: Restore the dataset
  restore_dataset:
    job_dir: /var/lib/turbo-hipster/jobs/1
    name: user_001
    config: /var/lib/turbo-hipster/datasets/user_001.json
    snapshots_dir: /var/lib/turbo-hipster/snapshots
    databases: "{{ th_profile.databases }}"
    lock_program: "{{ role_path }}/files/hold_locks.py"
    sandbox: "{{ th_sandbox }}"
"""

RETURN = r"""
restored:
  description: Whether the dataset is there and its server answers.
  type: bool
  returned: always
facts:
  description: What C(artifacts/dataset-<name>.json) holds.
  type: dict
  returned: when restored
"""

import contextlib
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.artifacts import (
    append_event,
    forget_errors,
    not_recorded_message,
    read_json,
    report_error,
    write_json,
)
from ansible.module_utils.th_dataset import server_settings, version_table
from ansible.module_utils.th_dataset.dataset import Dataset, read_dataset
from ansible.module_utils.th_dataset.external_dataset import as_guest
from ansible.module_utils.th_dataset.failure import RestoreError, told_apart
from ansible.module_utils.th_dataset.snapshot import Seed, clone, snapshot
from ansible.module_utils.th_sandbox.box import Settings
from ansible.module_utils.th_server import mariadb, private_server
from ansible.module_utils.th_server.external_server import release
from ansible.module_utils.th_tools.tools import heads_of

ROLE = "restore_datasets"


def restore(options: dict[str, Any]) -> dict[str, Any]:
    """Do it all; returns the facts for the artifact."""
    folder = Path(options["job_dir"]) / "db" / options["name"]
    with told_apart("server_failed"):
        remove_former(folder)
        dataset = read_dataset(Path(options["config"]), [one["name"] for one in options["databases"]])
    with told_apart("server_unreachable" if dataset.server else "server_failed"):
        folder.mkdir(mode=0o700, parents=True)
        server, facts = (as_guest if dataset.server else privately)(folder, dataset, options)
        try:
            revisions = read_json(Path(options["job_dir"]) / "artifacts" / "checkout.json").get("revisions")
            facts |= look(server, options["databases"], revisions)
        except BaseException:
            leave(server)  # nobody else would
            raise
    return {"name": options["name"], "file": options["config"], **facts, **dataset.told}


def privately(
    folder: Path, dataset: Dataset, options: Mapping[str, Any]
) -> tuple[mariadb.Server, dict[str, Any]]:
    """A server of the job's own on a clone of the dataset's snapshot, and how it went."""
    seed = Seed(options["name"], dataset.parts, server_settings.fitting(dataset.settings))
    sandbox, server_options = Settings.of(options["sandbox"]), options["server_options"]
    with snapshot(
        Path(options["snapshots_dir"]), seed, server_options, options["import_time_limit"], sandbox
    ) as image:
        begun = time.monotonic()
        method = clone(image, folder / "data")
        cloned = time.monotonic()
    applied = server_settings.apply(
        seed.settings, server_options, private_server.binary_log(folder), importing=False
    )
    try:
        server = private_server.start(
            folder,
            databases={part.name: part.database for part in dataset.parts},
            user=dataset.user,
            password=dataset.password,
            options=applied.options,
            time_limit=options["start_time_limit"],
            sandbox=sandbox,
            definers=image.definers,
            settings=applied.statements,
        )
    except mariadb.ServerError as error:
        raise server_settings.blamed(error, seed.settings) or error from error
    try:
        with mariadb.connect(server, server.admin_file) as connection:
            server_settings.demand(connection, applied.values)
    except BaseException:
        leave(server)
        raise
    return server, {
        "settings": dict(seed.settings),
        "method": method,
        "snapshot": "made" if image.made else "hit",
        "seconds": {
            "import": image.seconds,
            "clone": round(cloned - begun, 3),
            "start": round(time.monotonic() - cloned, 3),
        },
        "bytes": image.bytes,
        "rows": image.rows,
        "notes": list(image.notes),
    }


def look(
    server: mariadb.Server, databases: Sequence[Mapping[str, Any]], revisions: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What the job's user finds: which server it is, and at which version each database is."""
    found, others = [], list[str]()
    for one in databases:
        schema = server.databases[one["name"]]
        with mariadb.connect(server, server.job_file, database=schema) as connection:
            rows = version_table.read(connection, server, one, revisions)
            flavour, version = mariadb.flavour(connection)
            heads = heads_of(rows, one, revisions)
            if not set(revisions or ()) >= set(heads):  # to look at all tables takes time
                others += version_table.also(connection, server, one)
        found.append({"name": one["name"], "database": schema, "version": heads})
    return {
        "database": server.database,
        "databases": found,
        "server": {"flavour": flavour, "version": version, "private": server.private},
        "version": sorted(head for one in found for head in one["version"]),
        "version_tables": others,
    }


def leave(server: mariadb.Server, time_limit: float = 0) -> None:
    """Stop a private server; drop what the job has on an external one."""
    if server.private:
        mariadb.stop(server, time_limit)
    else:
        with contextlib.suppress(mariadb.ServerError):  # the next job there does it
            release(server)


def remove_former(folder: Path) -> None:
    """Stop and remove what an earlier run by hand has left of this dataset."""
    if (folder / "server.json").exists():
        leave(mariadb.load(folder), 15)
    if folder.exists():
        shutil.rmtree(folder)


def main() -> None:
    """Run as a module of Ansible."""
    module = AnsibleModule(
        argument_spec={
            "job_dir": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "config": {"type": "path", "required": True},
            "snapshots_dir": {"type": "path", "required": True},
            "databases": {"type": "list", "elements": "dict", "required": True},
            "lock_program": {"type": "path", "required": True},
            "sandbox": {"type": "dict", "required": True},
            "server_options": {"type": "list", "elements": "str", "default": []},
            "import_time_limit": {"type": "int", "default": 7200},
            "start_time_limit": {"type": "int", "default": 120},
        }
    )
    signal.signal(signal.SIGTERM, lambda *_: module.exit_json(failed=True, msg="terminated"))
    job_dir, name = Path(module.params["job_dir"]), module.params["name"]
    try:
        with told_apart("server_failed"):
            forget_errors(job_dir, ROLE, name)
            for former in (f"dataset-{name}.json", f"walk-{name}.jsonl"):
                (job_dir / "artifacts" / former).unlink(missing_ok=True)
        facts = restore(module.params)
        with told_apart("server_failed"):
            record(job_dir / "artifacts", facts)
    except RestoreError as trouble:
        detail = str(trouble)
        try:
            report_error(job_dir, ROLE, trouble.code, detail, dataset=name)
        except OSError as problem:
            module.fail_json(msg=f"{name}: {detail} ({not_recorded_message(job_dir, problem)})", code=trouble.code)
        module.exit_json(changed=True, restored=False, code=trouble.code, msg=f"{name}: {detail}")
    module.exit_json(changed=True, restored=True, facts=facts)


def record(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write down what was restored."""
    name, private = facts["name"], facts["server"]["private"]
    write_json(folder / f"dataset-{name}.json", dict(facts))
    append_event(
        folder / f"walk-{name}.jsonl",
        {
            "event": "restored",
            "method": facts["method"],
            "seconds": round(sum(facts["seconds"].values()) - (facts["seconds"]["import"] if private else 0), 3),
            "version": ",".join(facts["version"]) or "base",
        },
    )


if __name__ == "__main__":
    main()
