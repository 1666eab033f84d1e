# SPDX-License-Identifier: Apache-2.0
"""A job on a dataset that names several engines: walked on each, compared, and published under a name for each."""

import json
from pathlib import Path

from tests.kit import engines
from tests.kit.installation import JOB, TIP, World

CHANGE = "op.execute(\"ALTER TABLE t ADD remark TEXT DEFAULT 'none'\")"
"""MariaDB does it, MySQL does not (1101)."""
SEED = TIP.replace("SELECT CONCAT('name', seq % 500) FROM seq_1_to_1000", "VALUES ('a'), ('b')")


def test_a_change_that_passes_on_mariadb_and_fails_on_mysql(world: World) -> None:
    names = ["user_001@system", "user_001@mysql-9.7"]
    limits = {"default": 60, "mysql-9.7": {"default": 120}}
    world.dataset("user_001", "engines", SEED.encode(), engines=["system", "mysql-9.7"], maximum_migration_times=limits)
    jobs = [{"name": JOB, "plugin": "gate_real_db_upgrade", "datasets_dir": str(world.root / "engines")}]
    world.configure(jobs=jobs, engines_dir=str(engines.mysql_engine().parent))
    change = world.migration(CHANGE)
    words = ("run", "-c", str(world.config_path), "--json", "--url", world.url)
    options = ("project", "ref", "branch", "commit", "change", "patchset")
    given = [word for name in options for word in (f"--{name}", change[f"ZUUL_{name.upper()}"])]
    done = world.th(*words, *given)
    document = json.loads(done.stdout)
    assert done.returncode == 1 and document["fault"] == "change", document["messages"]
    assert "d4_.py:" in document["summary"] and "default value" in document["summary"]
    assert document["summary"].endswith("(dataset user_001 on mysql-9.7; passes on system)")
    assert [(one["name"], one["engine"], one["result"]) for one in document["datasets"]] == [
        (names[0], "system", "SUCCESS"),
        (names[1], "mysql-9.7", "FAILURE"),
    ]
    assert [one["migrations"][-1]["limits"]["seconds"] for one in document["datasets"]] == [60, 120]
    assert "engines_disagree" in {message["code"] for message in document["messages"]}
    (compared,) = document["comparisons"]
    assert [one["results"] for one in compared["migrations"] if "result" in one["differs"]] == [["ok", "failure"]]
    folder = Path(document["url"].removeprefix("file://"))
    for name in names:
        assert all((folder / file).is_file() for file in (f"{name}.log", f"artifacts/walk-{name}.jsonl"))
    assert world.leftovers() == []
    world.configure()
