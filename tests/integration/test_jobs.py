# SPDX-License-Identifier: Apache-2.0
"""From a Gearman job to a published verdict, with everything real: what changes do, and what the answer is."""

import gzip
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.kit import ROOT
from tests.kit.installation import DUMP, INDEX, JOB, PROFILE, TIP, Answer, Worker, World, program, script
from tests.kit.service import scrape
from worker.inputs import documents

EVIL = "{{{{ lookup('pipe', 'touch {}') }}}}{{% x %}}{{{{ no_such_variable }}}}"
"""Ansible would run a lookup in a variable's text."""


@pytest.fixture(scope="module")
def good(world: World, worker: Worker) -> Answer:
    """A good change, with arguments that must not be published, and some that must not be run."""
    evil = EVIL.format(world.root / "witness")
    change = world.migration("op.add_column('t', sa.Column('more', sa.Integer))")
    odd = {"EXTRA": "x", "ZUUL_EXTRA_SWIFT_URL": "sig-nature", "ZUUL_CHANGES": evil, "ZUUL_SOMETHING": evil}
    return worker.run({**change, **odd})


def test_a_good_change(good: Answer) -> None:
    assert good.result == "SUCCESS" and good.finals == ["complete"]
    document = good.document
    assert document["result"] == "SUCCESS" and document["messages"] == []
    steps = [(row["stage"].split()[0], row["from"], row["to"]) for row in document["datasets"][0]["migrations"]]
    assert steps == [("stable/1", "a1", "b2"), ("master", "b2", "c3"), ("change", "c3", "d4")]
    assert [row["by_change"] for row in document["datasets"][0]["migrations"]] == [False, False, True]
    assert document["datasets"][0]["final"] == "d4"
    # what is only for runs by hand costs a worker's job nothing
    tasks = re.findall(r"^TASK \[(\w+) : ", (good.folder / "task_output.log").read_text(), re.MULTILINE)
    assert "run_migrations" in tasks and "verdict" not in tasks


def test_where_the_time_went_adds_up_to_the_job(good: Answer) -> None:
    document = good.document
    parts = {part["part"]: part for part in document["times"]["parts"]}
    assert set(parts) == {"checkout", "environment", "restore", "walk", "other"}
    assert sum(part["seconds"] for part in parts.values()) == pytest.approx(document["seconds"], abs=0.01)
    for part in parts.values():
        assert sum(piece["seconds"] for piece in part["pieces"]) == pytest.approx(part["seconds"], abs=0.05)
    walked = {piece["stage"] for piece in parts["walk"]["pieces"] if piece["what"] == "start_up"}
    assert walked == {row["stage"] for row in document["datasets"][0]["migrations"]}
    measured = sum(piece["seconds"] for piece in parts["walk"]["pieces"] if piece["what"] == "migrations")
    assert measured == pytest.approx(sum(row["seconds"] for row in document["datasets"][0]["migrations"]), abs=0.05)
    roles = {task["role"] for task in document["times"]["tasks"]}
    assert roles >= {"project", "checkout", "build_environment", "restore_datasets", "run_migrations"}


def test_zuul_sees_a_build_from_its_start_to_its_end(good: Answer) -> None:
    first = good.packets[0]
    assert first.kind == "data" and {"number", "manager", "name", "url"} <= set(first.data)
    assert len({data["number"] for data in good.data}) == 1
    done = [packet.data["done"] for packet in good.packets if packet.kind == "status"]
    assert done == sorted(done) and len(done) > 3
    assert len({data.get("progress") for data in good.data}) > 3


def test_the_published_job_is_complete_and_holds_no_secret(good: Answer) -> None:
    names = {path.name for path in good.folder.iterdir()}
    assert {"index.html", "job.yaml", "reproduce.sh", "artifacts", "first.log", "git_prep.log"} <= names
    published = documents.read_mapping(good.folder / "job.yaml")
    assert published["th_job"]["name"] == JOB
    assert "th_job_dir" not in published
    assert not [word for word in ("secret-of-the-dataset", "sig-nature") if word in good.everything()]


def test_prometheus_is_told_of_the_job(world: World, worker: Worker, good: Answer) -> None:
    values = scrape(documents.read_mapping(world.config_path)["metrics"]["port"])

    def count(name: str, *labels: str) -> float:
        wanted = (f"turbo_hipster_{name}", *labels)
        return sum(value for key, value in values.items() if key[: len(wanted)] == wanted)

    assert count("jobs_total", JOB, "SUCCESS") >= 1
    assert count("job_seconds_count", JOB, "SUCCESS") >= 1
    assert count("migrations_total", "first", "schema", "ok") >= count("migration_seconds_count", "first") >= 3
    assert count("restores_total") >= 1
    assert count("environments_total") >= 3
    for stage in ("checkout", "build_environment", "restore_datasets", "run_migrations"):
        assert count("stage_seconds_sum", stage) > 0


def test_every_line_of_the_log_of_a_job_has_its_build(world: World, worker: Worker, good: Answer) -> None:
    lines = (world.root / "debug.log").read_text().splitlines()
    assert [line for line in lines if re.search(r" worker\.job \[-\] ", line)] == []
    build = good.document["job"]["id"]
    ours = [line.partition(f"[{build}] ")[2] for line in lines if f"[{build}] " in line]
    assert ours[0].startswith(f"begins: {JOB} for ") and ours[-1].startswith("ended: SUCCESS ")
    assert len(ours) > 3


def test_a_jobs_arguments_are_data_and_no_templates(world: World, worker: Worker, good: Answer) -> None:
    assert (good.folder / "index.html").is_file()
    assert not (world.root / "witness").exists()
    kept = documents.read_mapping(good.folder / "job.yaml")["th_job"]["zuul"]
    assert kept["ZUUL_CHANGES"] == EVIL.format(world.root / "witness")
    refused = worker.run({**world.migration("pass"), "ZUUL_BRANCH": "{{lookup('pipe','id')}}"})
    assert refused.result is not None and refused.result.startswith("FAILURE - Wrong job argument ZUUL_BRANCH")


@pytest.fixture(scope="module")
def duplicates(world: World, worker: Worker) -> Answer:
    """A change that makes an index unique over names that are not in one dataset, are in a second; a third is none."""
    world.dataset("one", "three", dump=TIP.encode())
    world.dataset("two", "three", dump=TIP.replace("% 500", "").encode())
    world.dataset("zero", "three", dump=None)
    return worker.run(world.migration("op.create_index('uq', 't', ['name'], unique=True)"), "gate-three")


def test_a_unique_index_over_duplicates(duplicates: Answer) -> None:
    assert duplicates.finals == ["fail"]
    assert duplicates.result is not None
    assert duplicates.result.startswith(
        "FAILURE - Migration c3->d4 failed to complete: migrations/versions/d4_.py:10: Duplicate entry name"
    )
    assert duplicates.data[0]["url"] == duplicates.data[-1]["url"] != "", "the link is there from the beginning"
    failed = duplicates.document["messages"][1]
    assert failed["file"] == "migrations/versions/d4_.py" and failed["line"] == 10
    assert failed["fault"] == "change"


def test_three_datasets_are_three_tests(duplicates: Answer) -> None:
    results = {dataset["name"]: dataset["result"] for dataset in duplicates.document["datasets"]}
    assert results == {"one": "FAILURE", "two": "SUCCESS", "zero": "INFRASTRUCTURE"}
    assert duplicates.codes == ["migration_unfinished", "migration_raised", "seed_missing"]
    assert duplicates.document["result"] == "FAILURE"


def test_a_published_job_done_again_by_hand(world: World, duplicates: Answer, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "PATH": f"{Path(program('th')).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["ansible-playbook", "playbooks/gate_real_db_upgrade/run.yaml", "-e", f"@{duplicates.folder}/job.yaml"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode != 0, "the verdict is not SUCCESS"
    assert "WARNING - Migration c3->d4 failed to complete" in done.stdout, done.stdout
    [folder] = (home / "turbo-hipster").iterdir()
    again = world.th("verdict", "--json", str(folder))
    assert again.returncode == 1
    published = world.th("verdict", str(duplicates.folder))
    assert published.returncode == 1 and "1062" in published.stdout
    assert not list(folder.rglob("server.sock"))


def test_an_excess_that_is_waived_or_only_warns_is_told_and_fails_nothing(world: World, worker: Worker) -> None:
    world.dataset(
        "first",
        dump=TIP.encode(),
        Innodb_rows_read={"default": 900, "warn_only": True},
        waivers=[{"migration": "c3->d4", "limit": "XInnodb_rows_changed", "reason": "filled once", "bug": "bug 7"}],
    )
    try:
        answer = worker.run(world.migration("op.execute(\"UPDATE t SET note = 'x'\")"))
    finally:
        world.dataset("first")
    assert answer.result == "SUCCESS" and answer.finals == ["complete"]
    told = {message["code"]: message["excuse"] for message in answer.document["messages"] if message["to"] == "d4"}
    assert told == {
        "migration_changed_rows": "waived: filled once (bug 7)",
        "migration_read_rows": "this limit only warns",
    }
    assert answer.data[-1]["messages"][0].startswith("SUCCESS: The migrations run on every dataset. What is over")
    assert not any(message["counts"] for message in answer.document["messages"])


def test_a_change_without_migrations_walks_to_the_branchs_tip(world: World, worker: Worker) -> None:
    answer = worker.run(world.change({"README": "words"}))
    assert answer.result == "SUCCESS"
    assert [row["to"] for row in answer.document["datasets"][0]["migrations"]] == ["b2", "c3"]


def test_a_change_of_an_existing_migration_leaves_the_tip_out(world: World, worker: Worker) -> None:
    answer = worker.run(world.change(script("c3", "b2", "op.create_index('ix_other', 't', ['name', 'note'])")))
    assert answer.result == "SUCCESS"
    rows = answer.document["datasets"][0]["migrations"]
    assert [(row["to"], row["by_change"]) for row in rows] == [("b2", False), ("c3", True)]
    checkout = json.loads((answer.folder / "artifacts" / "checkout.json").read_text())
    assert checkout["tip_left_out"] and checkout["touched"]["altered"] == ["c3"]


def test_a_change_of_a_released_migration_runs_as_the_change_has_it(world: World, worker: Worker) -> None:
    answer = worker.run(world.change(script("b2", "a1", "raise RuntimeError('altered')")))
    assert answer.codes == ["migration_unfinished", "migration_raised"] and "altered" in answer.said()
    rows = answer.document["datasets"][0]["migrations"]
    assert [(row["stage"].split()[0], row["to"], row["by_change"]) for row in rows] == [("change", "b2", True)]


SECRETS = ", ".join(f"(NULL, 'secret{number % 9}@example.org')" for number in range(1000))
ROWS = DUMP[: DUMP.index("INSERT INTO t")].partition("\n")[2]
DUMPS = {
    "compressed": (gzip.compress(DUMP.encode()), ""),
    "mysql": (b"CREATE TABLE t (id int) COLLATE utf8mb4_0900_ai_ci;\n", "MySQL 8"),
    "postgresql": (b"-- PostgreSQL database dump\nCOPY t FROM stdin;\n", "PostgreSQL"),
    "rows_cut": (f"{ROWS}INSERT INTO t VALUES {SECRETS}".encode(), "cut off"),
    "rows_twice": (f"{ROWS}CREATE UNIQUE INDEX u ON t (name);\nINSERT INTO t VALUES {SECRETS};\n".encode(), "key"),
    "words": (b"this is not SQL", "syntax"),
}
"""By the name of a dataset: a dump that cannot be used, and what has to be said of it."""


def test_dumps_that_cannot_be_used(world: World, worker: Worker) -> None:
    for name, (dump, _) in DUMPS.items():
        world.dataset(name, "dumps", dump=dump)
    answer = worker.run(world.migration("pass"), "gate-dumps")
    messages = answer.document["messages"]
    assert [(message["dataset"], message["code"]) for message in messages] == [(name, "seed_broken") for name in DUMPS]
    for message in messages:
        assert DUMPS[message["dataset"]][1] in json.dumps(message)
    assert answer.result is None and answer.document["fault"] == "dataset"
    published = {str(path): path.read_bytes() for path in answer.folder.rglob("*") if path.is_file()}
    assert any("task_output" in name for name in published)
    assert [name for name, content in published.items() if re.search(rb"secret\d|example\.org'", content)] == []
    assert not re.search(r"secret\d", str(answer.packets))


def test_wrong_arguments_are_named_and_nothing_is_run(world: World, worker: Worker) -> None:
    answer = worker.run({**world.migration("pass"), "ZUUL_REF": "--upload-pack=touch /tmp/x"})
    assert answer.result is not None and answer.result.startswith("FAILURE - Wrong job argument ZUUL_REF")
    assert answer.url == "" and answer.finals == ["fail"]


def test_a_project_that_is_migrated_by_a_command(world: World, worker: Worker) -> None:
    command = {
        "tool": "command",
        "command": ["alembic", "-c", "{files}/toy.ini", "upgrade", "{version}"],
        "version_locations": ["migrations/versions"],
        "files": [
            {"path": "toy.ini", "content": "[alembic]\nscript_location = {src}/migrations\nsqlalchemy.url = x\n"}
        ],
        "environment": {"TOY_URL": "{url}"},
    }
    world.profile({**PROFILE, "releases": [], "migrations": command})
    try:
        arguments = world.change(
            {
                **script("d4", "c3", "op.add_column('t', sa.Column('more', sa.Integer))"),
                "migrations/env.py": (world.repository.folder / "migrations" / "env.py")
                .read_text()
                .replace('context.config.get_main_option("sqlalchemy.url")', '__import__("os").environ["TOY_URL"]'),
            }
        )
        answer = worker.run(arguments)
    finally:
        world.profile(PROFILE)
    # the branch's tip does not read TOY_URL: the first of its migrations fails, which is what is reported
    assert answer.codes[0] == "migration_unfinished"
    assert answer.document["datasets"][0]["migrations"][0]["stage"] == "master"


MOVE = """
import os, sys, sqlalchemy as sa
with sa.create_engine(os.environ["TOY_URL"]).begin() as connection:
    moved = connection.execute(sa.text("UPDATE t SET name = 'moved' WHERE name <> 'moved' LIMIT 400")).rowcount
sys.exit(1 if moved else 0)
"""
DATA = {
    "name": "move", "command": ["python", "-c", MOVE], "again": [1], "rounds": 9, "environment": {"TOY_URL": "{url}"},
}  # fmt: skip


def test_down_to_the_last_release_and_up_again_with_data_migrations(world: World, worker: Worker) -> None:
    world.profile({**PROFILE, "downgrade": True, "data_migrations": [DATA]})
    world.dataset("first", XInnodb_rows_changed={"default": 500, "data->move": 2000})
    try:
        wider = INDEX.replace("['name']", "['name', 'id']")
        answer = worker.run(world.change(script("c3", "b2", wider, "op.drop_index('ix_name', 't')")))
    finally:
        world.profile(PROFILE)
        world.dataset("first")
    assert answer.result == "SUCCESS", answer.said()
    rows = answer.document["datasets"][0]["migrations"]
    assert [(row["kind"], row["from"], row["to"], row["by_change"]) for row in rows] == [
        ("schema", "a1", "b2", False), ("data", "data", "move", False), ("schema", "b2", "c3", True),
        ("data", "data", "move", True), ("downgrade", "c3", "b2", True), ("schema", "b2", "c3", True),
    ]  # fmt: skip
    assert [(row["rounds"], row["rows_changed"] > 900) for row in rows if row["kind"] == "data"] == [
        (4, True), (1, False),
    ]  # fmt: skip
    assert all(row["start_up"] for row in rows if row["kind"] == "data")
    assert {"Data migrations were run after the schema's: move.", "Walked down as well: c3."} <= set(
        answer.document["notes"]
    )


def test_ways_down_that_fail(world: World, worker: Worker) -> None:
    """In a migration of the change's, and in one that is merged: for each dataset its own."""
    world.profile({**PROFILE, "downgrade": True})
    for name in ("raises", "passes"):
        world.dataset(name, "ways", TIP.encode(), db_user=name)
    body = "if op.get_bind().engine.url.username == 'raises':\n    raise RuntimeError('never down')"
    try:
        answer = worker.run(world.change(script("d4", "c3", "pass", body)), "gate-ways")
    finally:
        world.profile(PROFILE)
    for name, fault, step in (("raises", "change", ("d4", "c3")), ("passes", "operator", ("c3", "b2"))):
        messages = [message for message in answer.document["messages"] if message["dataset"] == name]
        assert [message["code"] for message in messages] == ["migration_unfinished", "migration_raised"]
        failed = messages[1]
        assert (failed["kind"], failed["from"], failed["to"], failed["fault"]) == ("downgrade", *step, fault)
        assert failed["ours"] == (fault != "change")
        assert "downgrade" in failed["remedy"]
    results = {dataset["name"]: dataset["result"] for dataset in answer.document["datasets"]}
    assert results == {"raises": "FAILURE", "passes": "INFRASTRUCTURE"}
