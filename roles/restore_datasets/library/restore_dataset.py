#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Restore one dataset into a private server."""

DOCUMENTATION = r"""
module: restore_dataset
short_description: Restore one dataset into a private MariaDB server of the job
description:
  - Imports the dataset's dump into a snapshot, once; clones the snapshot into the job's folder; starts a server on
    the clone, on a unix socket and without network; and reads the version that the database holds.
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
  version_query:
    description: The statement that reads the version, one row a head.
    type: str
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
    version_query: SELECT version_num FROM alembic_version
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
import errno
import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
from ansible.module_utils import th_mariadb
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_artifacts import append_event, forget_errors, report_error, write_json
from ansible.module_utils.th_snapshot import Seed, SeedError, clone, snapshot

ROLE = "restore_datasets"
LIMITS = ("maximum_migration_times", "XInnodb_rows_changed", "Innodb_rows_read")


class RestoreError(Exception):
    """Why a dataset could not be restored: a code of docs/verdicts.md and what to read."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@contextlib.contextmanager
def told_apart() -> Iterator[None]:
    """Turn whatever can go wrong into a RestoreError with the code that says whose it is."""
    try:
        yield
    except SeedError as error:
        raise RestoreError(error.code, str(error)) from error
    except pymysql.err.ProgrammingError as error:
        raise RestoreError("profile_wrong", f"migrations.version_query cannot be asked: {error}") from error
    except (th_mariadb.ServerError, pymysql.Error) as error:
        raise RestoreError("server_failed", str(error)) from error
    except OSError as error:
        code = "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "server_failed"
        raise RestoreError(code, str(error)) from error


def read_config(path: Path) -> dict[str, Any]:
    """The dataset's file, with the keys that are needed here."""
    try:
        config = json.loads(path.read_text("utf-8-sig"))
        needed = {key: str(config[key]) for key in ("database", "db_user", "db_pass", "seed_data")}
    except OSError as error:
        raise RestoreError("seed_missing", f"{path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise RestoreError("seed_broken", f"{path} is not a JSON object: {error}") from error
    except KeyError as error:
        raise RestoreError("seed_broken", f"{path}: the key {error} is missing") from error
    return {**config, **needed}


def restore(options: dict[str, Any]) -> dict[str, Any]:
    """Do it all; returns the facts for the artifact."""
    path, name = Path(options["config"]), options["name"]
    config = read_config(path)
    dump = path.parent / config["seed_data"]
    if not dump.is_file():
        raise RestoreError("seed_missing", f"{dump} is not there (key seed_data of {path})")
    folder = Path(options["job_dir"]) / "db" / name
    with told_apart():
        remove_former(folder)
        folder.mkdir(mode=0o700, parents=True)
        seed = Seed(name, dump, config["database"])
        with snapshot(
            Path(options["snapshots_dir"]), seed, options["server_options"], options["import_time_limit"]
        ) as image:
            begun = time.monotonic()
            method = clone(image, folder / "data")
            cloned = time.monotonic()
        server = th_mariadb.start(
            folder,
            database=config["database"],
            user=config["db_user"],
            password=config["db_pass"],
            options=options["server_options"],
            time_limit=options["start_time_limit"],
            definers=image.definers,
        )
        started = time.monotonic()
        try:
            with th_mariadb.connect(server, server.job_file, database=server.database) as connection:
                version = th_mariadb.read_version(connection, options["version_query"])
                flavour = str(th_mariadb.query(connection, "SELECT VERSION()")[0][0])
        except BaseException:
            th_mariadb.stop(server, 0)  # nobody else would
            raise
    return {
        "name": name,
        "database": server.database,
        "server": {"flavour": "MariaDB" if "MariaDB" in flavour else "MySQL", "version": flavour},
        "version": version,
        "method": method,
        "snapshot": "made" if image.made else "hit",
        "seconds": {
            "import": image.seconds,
            "clone": round(cloned - begun, 3),
            "start": round(started - cloned, 3),
        },
        "bytes": image.bytes,
        "rows": image.rows,
        "limits": {key: config[key] for key in LIMITS if key in config},
        "remarks": {key: value for key, value in config.items() if key.startswith("_")},
    }


def remove_former(folder: Path) -> None:
    """Stop and remove what an earlier run by hand has left of this dataset."""
    if (folder / "server.json").exists():
        th_mariadb.stop(th_mariadb.load(folder))
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
            "version_query": {"type": "str", "required": True},
            "server_options": {"type": "list", "elements": "str", "default": []},
            "import_time_limit": {"type": "int", "default": 7200},
            "start_time_limit": {"type": "int", "default": 120},
        }
    )
    signal.signal(signal.SIGTERM, lambda *_: module.exit_json(failed=True, msg="terminated"))
    job_dir, name = Path(module.params["job_dir"]), module.params["name"]
    forget_errors(job_dir, ROLE, name)
    for former in (f"dataset-{name}.json", f"walk-{name}.jsonl"):
        (job_dir / "artifacts" / former).unlink(missing_ok=True)
    try:
        facts = restore(module.params)
    except RestoreError as trouble:
        report_error(job_dir, ROLE, trouble.code, str(trouble), dataset=name)
        module.exit_json(changed=True, restored=False, code=trouble.code, msg=f"{name}: {trouble}")
    write_json(job_dir / "artifacts" / f"dataset-{name}.json", facts)
    append_event(
        job_dir / "artifacts" / f"walk-{name}.jsonl",
        {
            "event": "restored",
            "method": facts["method"],
            "seconds": round(facts["seconds"]["clone"] + facts["seconds"]["start"], 3),
            "version": ",".join(facts["version"]) or "base",
        },
    )
    module.exit_json(changed=True, restored=True, facts=facts)


if __name__ == "__main__":
    main()
