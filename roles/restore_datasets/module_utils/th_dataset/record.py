# SPDX-License-Identifier: Apache-2.0
"""The artifact of a restored dataset: its versions, as the job's user reads them, its server and its size."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible.module_utils.th_core.artifacts import append_event, read_json, write_json
from ansible.module_utils.th_dataset import version_table
from ansible.module_utils.th_dataset.dataset import Dataset
from ansible.module_utils.th_dataset.restore import Restore
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_tools.tools import heads_of


def record(restore: Restore, dataset: Dataset, server: mariadb.Server) -> dict[str, Any]:
    """Write the artifact of what was restored; returns its contents. Raises SeedError, StepError, ServerError."""
    given, artifacts = restore.given, restore.job_dir / "artifacts"
    seconds = {"import": 0.0, "clone": 0.0, **restore.seconds}
    revisions = read_json(artifacts / "checkout.json").get("revisions")
    facts = {
        "name": given.name,
        "file": given.config,
        **({"engine": server.engine} if server.private else {}),
        **({"settings": restore.settings} if server.private else {}),
        **restore.facts,
        "seconds": seconds,
        **_look(server, given.databases, revisions),
        **dataset.for_verdict,
    }
    write_json(artifacts / f"dataset-{given.name}.json", facts)
    append_event(
        artifacts / f"walk-{given.name}.jsonl",
        {
            "event": "restored",
            "method": facts["method"],
            "seconds": round(sum(seconds.values()) - (seconds["import"] if server.private else 0), 3),
            "version": ",".join(facts["version"]) or "base",
        },
    )
    return facts


def size_of(connection: Any, databases: Collection[str]) -> dict[str, int]:
    """The size of databases as their server estimates it: `bytes` and `rows`."""
    ((rows, size),) = mariadb.query(
        connection,
        "SELECT COALESCE(SUM(table_rows), 0), COALESCE(SUM(data_length + index_length), 0)"  # noqa: S608
        f" FROM information_schema.tables WHERE table_schema IN ({', '.join(['%s'] * len(databases))})",
        *databases,
    )
    return {"bytes": int(size), "rows": int(rows)}


def _look(
    server: mariadb.Server, databases: Sequence[Mapping[str, Any]], revisions: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What the job's user finds: the server's kind and version, and the version of each database."""
    found, others = [], list[str]()
    for one in databases:
        schema = server.databases[one["name"]]
        with mariadb.connect(server, server.job_file, database=schema) as connection:
            rows = version_table.read(connection, server, one, revisions)
            flavour, version = mariadb.flavour(connection)
            heads = heads_of(rows, one, revisions)
            if not set(revisions or ()) >= set(heads):  # searching all tables takes time
                others += version_table.also(connection, server, one)
        found.append({"name": one["name"], "database": schema, "version": heads})
    return {
        "database": server.database,
        "databases": found,
        "server": {"flavour": flavour, "version": version, "private": server.private},
        "version": sorted(head for one in found for head in one["version"]),
        "version_tables": others,
    }
