# SPDX-License-Identifier: Apache-2.0
"""From a Gearman job to a published verdict, with everything real: what changes do, and what the answer is."""

import gzip
import json

import pytest

from worker import documents

from .world import DUMP, JOB, PROFILE, Worker, World, script

UNFINISHED = "FAILURE - Did not find the end of a migration after a start"


def test_a_good_change(world: World, worker: Worker) -> None:
    answer = worker.run(world.migration("op.add_column('t', sa.Column('more', sa.Integer))"))
    assert answer.result == "SUCCESS" and answer.finals == ["complete"]
    document = answer.document
    assert document["result"] == "SUCCESS" and document["messages"] == []
    steps = [(row["stage"].split()[0], row["from"], row["to"]) for row in document["datasets"][0]["migrations"]]
    assert steps == [("stable/1", "a1", "b2"), ("master", "b2", "c3"), ("change", "c3", "d4")]
    assert [row["by_change"] for row in document["datasets"][0]["migrations"]] == [False, False, True]
    assert document["datasets"][0]["final"] == "d4"
    names = {path.name for path in answer.folder.iterdir()}
    assert {"index.html", "job.yaml", "reproduce.sh", "artifacts", "first.log", "git_prep.log"} <= names
    assert "secret-of-the-dataset" not in "".join(
        path.read_text(errors="replace") for path in answer.folder.rglob("*") if path.is_file()
    )


def test_zuul_sees_a_build_from_its_start_to_its_end(world: World, worker: Worker) -> None:
    answer = worker.run(world.migration("pass"))
    first = answer.packets[0]
    assert first.kind == "data" and {"number", "manager", "name", "url"} <= set(first.data)
    assert len({data["number"] for data in answer.data}) == 1
    done = [packet.data["done"] for packet in answer.packets if packet.kind == "status"]
    assert done == sorted(done) and len(done) > 3
    assert len({data.get("progress") for data in answer.data}) > 3


def test_a_unique_index_over_duplicates(world: World, worker: Worker) -> None:
    answer = worker.run(world.migration("op.create_index('uq', 't', ['name'], unique=True)"))
    assert answer.finals == ["fail"]
    assert answer.result is not None
    assert answer.result.splitlines()[:2] == [UNFINISHED, "WARNING - Migration c3->d4 failed to complete"]
    assert "1062" in answer.result
    assert answer.codes == ["migration_unfinished", "migration_raised"]
    failed = answer.document["messages"][1]
    assert failed["file"] == "migrations/versions/d4_.py" and failed["line"] == 10
    assert failed["fault"] == "change"


def test_a_change_over_the_limits(world: World, worker: Worker) -> None:
    answer = worker.run(world.migration("op.execute(\"UPDATE t SET note = 'x'\")"))
    assert answer.result is not None
    assert answer.result.startswith("WARNING - Migration c3->d4 changed too many rows (1001)")
    assert answer.codes == ["migration_changed_rows"]


def test_an_excess_that_is_waived_or_only_warns_is_told_and_fails_nothing(world: World, worker: Worker) -> None:
    world.dataset(
        "first",
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


def test_three_datasets_are_three_tests(world: World, worker: Worker) -> None:
    world.dataset("one", "three")
    world.dataset("two", "three", dump=DUMP.replace("% 500", "").encode())
    world.dataset("zero", "three", dump=None)
    arguments = world.migration("op.create_index('uq', 't', ['name'], unique=True)")
    answer = worker.run(arguments, "gate-three")
    results = {dataset["name"]: dataset["result"] for dataset in answer.document["datasets"]}
    assert results == {"one": "FAILURE", "two": "SUCCESS", "zero": "INFRASTRUCTURE"}
    assert answer.codes == ["migration_unfinished", "migration_raised", "seed_missing"]
    assert answer.document["result"] == "FAILURE"


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


@pytest.mark.parametrize(
    ("dump", "code", "words"),
    [
        (b"this is not SQL", "seed_broken", "syntax"),
        (gzip.compress(DUMP.encode()), "seed_broken", ""),
        (b"-- PostgreSQL database dump\nCOPY t FROM stdin;\n", "seed_broken", "PostgreSQL"),
        (b"CREATE TABLE t (id int) COLLATE utf8mb4_0900_ai_ci;\n", "seed_broken", "MySQL 8"),
    ],
)
def test_a_dump_that_cannot_be_used(world: World, worker: Worker, dump: bytes | None, code: str, words: str) -> None:
    good = world.root / "datasets" / "first" / "seed.sql"
    kept = good.read_bytes()
    good.unlink()
    world.dataset("first", dump=dump)
    try:
        answer = worker.run(world.migration("pass"))
    finally:
        good.write_bytes(kept)
    assert answer.codes == [code] and words in answer.said()
    assert answer.result is None and answer.document["fault"] == "dataset"


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


def test_the_published_job_is_complete_and_holds_no_secret(world: World, worker: Worker) -> None:
    url = world.url.replace("git://", "git://someone:pass-word@")
    answer = worker.run(
        {**world.migration("pass"), "ZUUL_URL": url, "EXTRA": "x", "ZUUL_EXTRA_SWIFT_URL": "sig-nature"}
    )
    published = documents.read_mapping(answer.folder / "job.yaml")
    assert published["th_job"]["name"] == JOB
    assert "th_job_dir" not in published
    everything = "".join(path.read_text(errors="replace") for path in answer.folder.rglob("*") if path.is_file())
    assert "pass-word" not in everything and "sig-nature" not in everything


def test_a_jobs_arguments_are_data_and_no_templates(world: World, worker: Worker) -> None:
    """Ansible would run a lookup in a variable's text."""
    witness = world.root / "witness"
    evil = "{{ lookup('pipe', 'touch " + str(witness) + "') }}{% x %}{{ no_such_variable }}"
    answer = worker.run({**world.migration("pass"), "ZUUL_CHANGES": evil, "ZUUL_SOMETHING": evil})
    assert answer.result == "SUCCESS" and (answer.folder / "index.html").is_file()
    assert not witness.exists()
    kept = documents.read_mapping(answer.folder / "job.yaml")["th_job"]["zuul"]
    assert kept["ZUUL_CHANGES"] == evil
    refused = worker.run({**world.migration("pass"), "ZUUL_BRANCH": "{{lookup('pipe','id')}}"})
    assert refused.result is not None and refused.result.startswith("FAILURE - Wrong job argument ZUUL_BRANCH")
