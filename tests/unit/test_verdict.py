# SPDX-License-Identifier: Apache-2.0
"""From artifact files to a verdict: the recorded cases, and whatever else could be in the files."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.recorded_walks import CASES, Case, case
from worker.config.dataset_limits import LIMITS
from worker.counters import MEASURED
from worker.inputs import untrusted
from worker.report import summary
from worker.verdict import CODES, Fault, Message, Outcome, Problem, artifacts, decide, judge
from worker.verdict.checkout import CheckoutRecord
from worker.verdict.result_text import LENGTH


@pytest.mark.parametrize("walked", CASES, ids=lambda walked: walked.name)
def test_a_recorded_case_means_what_it_meant(walked: Case) -> None:
    found = walked.verdict()
    assert {
        "result": found.outcome.name,
        "fault": found.fault.value,
        "zuul": found.gearman_result(),
        "messages": [
            {"code": item.code, "text": item.text, "dataset": item.dataset, "detail": item.detail}
            | ({} if item.counts else {"excuse": item.excuse})
            for item in found.messages
        ],
        "datasets": {item.name: item.outcome.name for item in found.datasets},
    } == {key: walked.expected[key] for key in ("result", "fault", "zuul", "messages", "datasets")}


def test_every_code_has_a_recorded_case() -> None:
    seen = {message["code"] for walked in CASES for message in walked.expected["messages"]}
    # nothing of a job with wrong arguments is ever published
    assert seen == set(CODES) - {"bad_request"}


def test_the_migrations_say_what_became_of_them() -> None:
    rows = {row.migration.to: row for row in case("migration_raised").verdict().datasets[0].migrations}
    last = rows.pop("6e20a5d8f3c6")
    assert (last.result, last.by_change, last.migration.exit) == ("failure", True, 1)
    assert last.file == "catalog/db/migrations/versions/6e20a5d8f3c6_unique_isbn.py"
    assert {(row.result, row.by_change) for row in rows.values()} == {("ok", False)}


def test_a_migration_has_the_limit_of_its_own_or_the_default() -> None:
    rows = {row.migration.to: row for row in case("success").verdict().datasets[0].migrations}
    limits = {name: limit for name, limit in rows["5d17f4c9e6b5"].limits.items() if limit is not None}
    assert limits == {"seconds": 120, "rows_changed": 250000, "rows_read": 2000000}
    assert rows["5d17f4c9e6b5"].limits.keys() == {counter.name for counter in MEASURED}
    assert rows["6e20a5d8f3c6"].limits["seconds"] == 60
    assert not rows["5d17f4c9e6b5"].over


def test_what_is_over_a_limit_is_marked() -> None:
    last = case("too_many_rows").verdict().datasets[0].migrations[-1]
    assert (last.result, last.over) == ("warning", {"rows_changed", "rows_read"})


def test_what_only_warns_or_is_waived_is_marked_and_fails_nothing() -> None:
    for name in ("success_with_a_limit_that_only_warns", "success_with_waivers"):
        found = case(name).verdict()
        last = found.datasets[0].migrations[-1]
        assert (last.result, last.over, set(last.excused)) == ("ok", set(last.excused), last.over)
        assert last.over and last.notable
        assert found.messages and not any(message.counts for message in found.messages)
        assert found.fault is Fault.NONE


def test_remarks_are_those_of_the_migration() -> None:
    found = case("two_databases").verdict().datasets[0]
    remarks = {row.migration.to: dict(row.remarks) for row in found.migrations if row.remarks}
    assert remarks == {"main:416": {"_416_bugs": "https://bugs.example.org/1856"}}
    told = {"_13_bugs": "a", "_138": "b", "_138_bugs": "c", "_x.0001_a_why": "d", "_about": "e"}
    assert list(judge.remarks_of(told, "138")) == ["_138", "_138_bugs"]
    assert list(judge.remarks_of(told, "main:13,x.0001_a")) == ["_13_bugs", "_x.0001_a_why"]
    assert judge.remarks_of(told, "base") == {}


def test_a_step_down_is_the_changes_when_what_it_leaves_is() -> None:
    rows = case("success_down_and_up_again").verdict().datasets[0].migrations
    down = [(row.migration.from_, row.by_change, row.file[-15:]) for row in rows if row.migration.kind == "downgrade"]
    assert down == [
        ("6e20a5d8f3c6", True, "unique_isbn.py"[-15:].rjust(15, "_")),
        ("5d17f4c9e6b5", False, "split_names.py".rjust(15, "_")),
        ("4c83e2b5d0a4", False, "ex_loans_due.py"),
    ]


def test_a_way_down_that_fails_is_not_the_changes_unless_it_touches_what_it_runs_with(tmp_path: Path) -> None:
    shutil.copytree(case("downgrade_of_the_branch_raised").artifacts, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "checkout.json"
    document = json.loads(path.read_text())
    for helpers, fault in (([], Fault.OPERATOR), (["catalog/db/env.py"], Fault.CHANGE)):
        document["touched"]["helpers"] = helpers
        path.write_text(json.dumps(document))
        assert decide.decide(artifacts.read(tmp_path), ["user_001"]).fault is fault


def test_a_data_migration_of_the_change_is_its_own() -> None:
    last = case("success_with_a_data_migration").verdict().datasets[0].migrations[-1]
    assert (last.by_change, last.migration.kind, last.migration.rounds) == (True, "data", 14)
    assert (last.migration.seconds, last.migration.start_up) == (31.5, 1.9)


def test_the_changes_own_failure_is_not_hidden_behind_that_of_a_dataset() -> None:
    said = [
        Message.of("migration_unfinished", dataset="a", blame=Fault.DATASET),
        Message.of("migration_unfinished", dataset="b"),
    ]
    assert decide.of_messages(said).fault is Fault.CHANGE
    assert decide.of_messages(said[:1]).fault is Fault.DATASET


def test_what_is_said_of_a_dataset_stays_together_the_worst_first() -> None:
    found = case("five_datasets_fail_in_five_ways").verdict()
    assert [(message.dataset[-1], message.code) for message in found.messages] == [
        ("1", "migration_unfinished"), ("1", "migration_raised"), ("2", "migration_unfinished"),
        ("2", "migration_timed_out"), ("3", "version_unchanged"), ("4", "migration_too_long"), ("5", "server_died"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("codes", "retry"),
    [
        (["git_unreachable"], True),
        (["server_died", "index_unreachable"], True),
        (["server_died", "disk_full"], False),
        (["server_died", "migration_raised"], False),
        (["canceled", "server_died"], False),
        ([], False),
    ],
)
def test_what_may_be_tried_again(codes: list[str], retry: bool) -> None:
    messages = [Message(code, CODES[code].text) for code in codes]
    assert decide.of_messages(messages).may_retry is retry


def test_the_message_names_file_and_line() -> None:
    failed = case("migration_raised").verdict().messages[1]
    assert (failed.file, failed.line) == ("catalog/db/migrations/versions/6e20a5d8f3c6_unique_isbn.py", 17)
    assert (failed.stage, failed.from_, failed.to) == ("change 42,3", "5d17f4c9e6b5", "6e20a5d8f3c6")


def test_a_failure_that_happens_without_the_change_says_so() -> None:
    (message,) = case("too_long_in_a_release").verdict().messages
    assert message.fault is Fault.DATASET
    assert "without the change" in message.explanation
    assert "without the change" not in case("too_long").verdict().messages[0].explanation


def test_a_migration_that_we_have_ended_is_unfinished() -> None:
    assert case("canceled").verdict().datasets[0].migrations[-1].result == "unfinished"


def test_a_message_more_weighs_as_if_it_had_been_there() -> None:
    late = Message.of("upload_failed", detail="disk")
    good = decide.with_message(case("success").verdict(), late)
    assert (good.outcome, good.fault, good.gearman_result()) == (Outcome.INFRASTRUCTURE, Fault.MACHINE, None)
    assert decide.with_message(case("too_long").verdict(), late).outcome is Outcome.WARNING
    canceled = decide.with_message(case("canceled").verdict(), late)
    assert (canceled.outcome, canceled.gearman_result()) == (Outcome.CANCELED, "CANCELED")


def test_details_of_our_own_are_harmless_too() -> None:
    found = decide.of_messages([Message.of("playbook_failed", detail="\x1b[2Jgone\u202e")])
    assert found.messages[0].detail == "\ufffd[2Jgone\ufffd"


def test_an_error_at_a_migration_that_ended_well_is_not_lost(tmp_path: Path) -> None:
    shutil.copytree(case("success").artifacts, tmp_path, dirs_exist_ok=True)
    place = {"stage": "change 42,3", "from": "5d17f4c9e6b5", "to": "6e20a5d8f3c6"}
    with (tmp_path / "walk-user_001.jsonl").open("a") as stream:
        stream.write(json.dumps({"event": "error", "code": "walk_failed", "detail": "after it", **place}) + "\n")
    found = decide.decide(artifacts.read(tmp_path), ["user_001"])
    assert (found.outcome, [message.code for message in found.messages]) == (Outcome.FAILURE, ["walk_failed"])


def test_what_the_walk_says_of_a_version_is_said_once(tmp_path: Path) -> None:
    for code in ("version_mismatch", "version_unchanged", "version_not_in_tree"):
        shutil.copytree(case("version_unchanged").artifacts, tmp_path, dirs_exist_ok=True)
        place = {"stage": "change 42,3", "from": "5d17f4c9e6b5", "to": "6e20a5d8f3c6"}
        path = tmp_path / "walk-user_001.jsonl"
        kept = [line for line in path.read_text().splitlines() if '"final"' not in line]
        kept.append(json.dumps({"event": "error", "code": code, "detail": "so it is", **place}))
        path.write_text("\n".join(kept) + "\n")
        (message,) = decide.decide(artifacts.read(tmp_path), ["user_001"]).messages
        assert (message.code, message.detail, message.step) == (code, "so it is", "schema")


def change_of(tmp_path: Path, **fields: Any) -> decide.Verdict:
    """The good case, with other facts about the change."""
    shutil.copytree(case("success").artifacts, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "checkout.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return decide.decide(artifacts.read(tmp_path), ["user_001"])


def test_a_new_migration_below_the_datasets_version_was_not_run(tmp_path: Path) -> None:
    tree = json.loads((case("success").artifacts / "checkout.json").read_text())["revisions"]
    tree["new"] = {"down": [], "file": "new.py"}
    tree["1f0c6a52be01"]["down"] = ["new"]
    touched = {"added": ["6e20a5d8f3c6", "new"], "altered": ["1f0c6a52be01"], "removed": []}
    (message,) = change_of(tmp_path, revisions=tree, touched=touched).messages
    assert (message.code, message.detail) == ("change_not_run", "new")


def test_a_dataset_that_was_taken_with_the_change_in_it_is_past_it(tmp_path: Path) -> None:
    added = {"added": ["1f0c6a52be01", "6e20a5d8f3c6"]}
    assert change_of(tmp_path, touched=added).outcome is Outcome.SUCCESS


def test_a_migration_of_the_change_that_a_release_has_run_was_not_run(tmp_path: Path) -> None:
    for kind in ("added", "altered"):
        (message,) = change_of(tmp_path, touched={kind: ["3b6e01f9a7d3"]}).messages
        assert (message.code, message.detail) == ("change_not_run", "3b6e01f9a7d3")


def test_without_the_change_in_the_checkout_there_is_no_success(tmp_path: Path) -> None:
    (message,) = change_of(tmp_path, stages=[]).messages
    assert message.code == "artifacts_damaged"
    (tmp_path / "checkout.json").unlink()
    assert decide.decide(artifacts.read(tmp_path), ["user_001"]).outcome is Outcome.INFRASTRUCTURE


def test_a_dataset_that_is_named_twice_is_judged_once() -> None:
    found = decide.decide(artifacts.read(case("success").artifacts), ["user_001", "user_001"])
    assert [item.name for item in found.datasets] == ["user_001"]


def squashed(tmp_path: Path, replaces: list[str], **more: Any) -> list[str]:
    """What the good case says when the change adds a migration that stands for others."""
    tree = json.loads((case("success").artifacts / "checkout.json").read_text())["revisions"]
    tree["squash"] = {"down": [], "file": "squash.py", "replaces": replaces}
    tree.update(more)
    touched = {"added": ["6e20a5d8f3c6", "squash", *more], "altered": [], "removed": []}
    return [message.code for message in change_of(tmp_path, revisions=tree, touched=touched).messages]


def test_a_squashed_migration_is_past_when_all_that_it_replaces_has_run(tmp_path: Path) -> None:
    assert squashed(tmp_path, ["1f0c6a52be01", "2a94d7e3c8f2"]) == []
    assert squashed(tmp_path, ["1f0c6a52be01", "never"]) == ["change_not_run"]
    assert squashed(tmp_path, []) == ["change_not_run"]


def test_a_squashed_migration_can_replace_another(tmp_path: Path) -> None:
    second = {"down": [], "file": "second.py", "replaces": ["squash", "3b6e01f9a7d3"]}
    assert squashed(tmp_path, ["1f0c6a52be01"], second=second) == []
    assert squashed(tmp_path, ["never"], second=second) == ["change_not_run"]


@pytest.mark.parametrize(("altered", "codes"), [([], []), (["1f0c6a52be01"], ["change_not_run"])])
def test_what_a_merged_squash_stands_for_is_past_with_it(tmp_path: Path, altered: list[str], codes: list[str]) -> None:
    """Unless the change has a hand in it, and may only say so."""
    tree = json.loads((case("success").artifacts / "checkout.json").read_text())["revisions"]
    tree["old"] = {"down": [], "file": "old.py"}
    tree["1f0c6a52be01"]["replaces"] = ["old"]
    touched = {"added": ["6e20a5d8f3c6"], "altered": ["old", *altered], "removed": []}
    assert [message.code for message in change_of(tmp_path, revisions=tree, touched=touched).messages] == codes


def test_squashed_migrations_that_replace_each_other_prove_nothing(tmp_path: Path) -> None:
    assert squashed(tmp_path, ["other"], other={"down": [], "file": "o.py", "replaces": ["squash"]}) == [
        "change_not_run"
    ]


def steps(tmp_path: Path, version: list[str], *walked: tuple[str, str, str, str], tree: Any = None) -> list[str]:
    """The codes for steps (kind, from, to, version after it) of the stage of the change."""
    revisions = tree or {"1": {"down": []}, "2": {"down": ["1"]}, "api:1": {"down": []}, "api:2": {"down": ["api:1"]}}
    stage = {"name": "change", "slug": "change", "kind": "change", "heads": ["2", "api:2"]}
    checkout = {"stages": [stage], "revisions": revisions, "touched": {"added": list(revisions)}}
    (tmp_path / "checkout.json").write_text(json.dumps(checkout))
    (tmp_path / "dataset-a.json").write_text(json.dumps({"version": version}))
    events: list[dict[str, Any]] = [{"event": "stage", "name": "change"}]
    for kind, from_, to, after in walked:
        step = {"kind": kind, "from": from_, "to": to}
        events += [{"event": "begin", **step}, {"event": "end", **step, "exit": 0, "version": after}]
    (tmp_path / "walk-a.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    rows = judge.walk(artifacts.read(tmp_path).walks["a"], artifacts.checkout.read(tmp_path) or CheckoutRecord(), False)
    return [message.code for message in rows[0]]


@pytest.mark.parametrize(
    ("version", "step", "codes"),
    [
        (["1"], ("schema", "1", "2", "2"), []),
        (["1", "api:1"], ("schema", "1", "2", "2,api:1"), []),
        (["1"], ("schema", "1", "2", "1,2"), []),
        (["2"], ("schema", "1", "2", "2"), ["version_unchanged"]),
        (["1", "api:1"], ("downgrade", "1", "base", "base"), []),
        (["api:2", "1"], ("downgrade", "1", "base", "api:1"), ["version_mismatch"]),
        (["2"], ("downgrade", "2", "base", "1"), []),
        (["1"], ("schema", "1", "2", "1"), ["version_unchanged"]),
        (["1"], ("schema", "1", "2", "9"), ["version_not_in_tree"]),
        (["1"], ("schema", "1", "2", "base"), ["version_mismatch"]),
        (["1"], ("schema", "1", "2", ""), ["version_mismatch"]),
        (["2"], ("downgrade", "2", "1", "1"), []),
        (["2"], ("downgrade", "2", "1", "2"), ["version_unchanged"]),
        (["2"], ("downgrade", "2", "1", "1,2"), ["version_mismatch"]),
        (["2"], ("downgrade", "2", "1", "base"), ["version_mismatch"]),
        (["1"], ("downgrade", "1", "base", "base"), []),
        (["1"], ("downgrade", "1", "base", "1"), ["version_unchanged"]),
        (["1"], ("downgrade", "1", "base", "2"), ["version_mismatch"]),
        (["1"], ("downgrade", "1", "base", ""), ["version_mismatch"]),
        (["1", "api:1"], ("downgrade", "1", "base", "api:1"), []),
        (["1", "api:1"], ("downgrade", "1", "base", "api:2"), ["version_mismatch"]),
        (["2"], ("data", "data", "online", "2"), []),
        (["2"], ("data", "data", "online", ""), []),
        (["2"], ("later", "1", "2", "1"), ["version_mismatch"]),
    ],
)
def test_the_version_after_a_step(
    tmp_path: Path, version: list[str], step: tuple[str, str, str, str], codes: list[str]
) -> None:
    assert steps(tmp_path, version, step) == codes


def test_versions_that_differ_only_far_behind_differ(tmp_path: Path) -> None:
    long = ",".join(f"app{number}.0001_initial" for number in range(30)) + ","
    tree = {"x" * 9000 + end: {"down": []} for end in "ab"}
    assert steps(tmp_path, [], ("schema", "base", "x" * 9000 + "a", long + "x" * 9000 + "a"), tree=tree) == []
    assert steps(tmp_path, [], ("schema", "base", "x" * 9000 + "a", long + "x" * 9000 + "b"), tree=tree) != []
    assert steps(tmp_path, [], ("schema", "base", "x" * 20_001 + "a", "x" * 20_001 + "b"), tree=tree) != []


def test_the_number_of_a_failed_step_down_does_not_count_as_run(tmp_path: Path) -> None:
    shutil.copytree(case("success_down_and_up_again").artifacts, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "walk-user_001.jsonl"
    ups = [line for line in path.read_text().splitlines() if '"to": "6e20a5d8f3c6"' not in line]
    path.write_text("\n".join(ups) + "\n")
    assert "change_not_run" in [item.code for item in decide.decide(artifacts.read(tmp_path), ["user_001"]).messages]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
words = st.sampled_from(["a", "b", "a,b", "base", "", "c" * 500, "x\n\x1b[0m", "stable/1", "api:1", "data"])
kinds = st.sampled_from(["schema", "data", "downgrade", "later"])
limit_tables = st.dictionaries(
    st.sampled_from(["default", "api:default", "a->b", "data->b", "warn_only"]), st.integers() | st.booleans()
)
waivers = st.lists(
    st.fixed_dictionaries(
        {"migration": st.sampled_from(["a->b", "data->b"]), "reason": words | json_values},
        optional={"limit": st.sampled_from(LIMITS) | json_values, "bug": words | json_values},
    )
    | json_values,
    max_size=3,
)
revisions = st.dictionaries(
    words, st.fixed_dictionaries({}, optional={"down": st.lists(words), "replaces": st.lists(words) | json_values})
)
fields = {
    "event": st.sampled_from(["restored", "stage", "skipped", "begin", "end", "error", "final", "later"]),
    "stage": words, "name": words, "from": words, "to": words, "version": words, "expected": words, "dataset": words,
    "code": st.sampled_from([*CODES, "migration_raised", "migration_killed", "other", ""]),
    "exit": st.sampled_from([0, 0, 0, 1, -9, None]),
    "seconds": st.floats() | st.integers(),
    "counters": st.fixed_dictionaries({}, optional={"rows_changed": st.integers(), "rows_read": json_values}),
    "kind": kinds, "direction": st.sampled_from(["up", "down"]), "rounds": st.integers(), "start_up": st.floats(),
    "limits": st.dictionaries(st.sampled_from(LIMITS), limit_tables | json_values),
    "waivers": waivers, "revisions": revisions, "databases": st.lists(json_values, max_size=2),
    "touched": st.fixed_dictionaries({}, optional={"added": st.lists(words), "removed": st.lists(words)}),
    "messages": st.lists(st.fixed_dictionaries({}, optional={"code": words, "detail": words}), max_size=2),
}  # fmt: skip
likely = st.fixed_dictionaries({}, optional={key: value | json_values for key, value in fields.items()})
lines = st.lists((likely | json_values).map(json.dumps) | st.text(max_size=30), max_size=12).map("\n".join)


@pytest.fixture(scope="module")
def any_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose files every example writes anew."""
    return tmp_path_factory.mktemp("any")


@settings(max_examples=60)
@given(
    walk=lines,
    errors=lines,
    checkout=likely | json_values,
    dataset=likely | json_values,
    first=likely | json_values,
    ended=st.booleans(),
)
def test_any_files_give_a_verdict(
    any_folder: Path,
    walk: str,
    errors: str,
    checkout: Any,
    dataset: Any,
    first: Any,
    ended: bool,
) -> None:
    (any_folder / "walk-a.jsonl").write_text(walk, "utf-8", "surrogatepass")
    (any_folder / "errors.jsonl").write_text(errors, "utf-8", "surrogatepass")
    (any_folder / "checkout.json").write_text(json.dumps(checkout))
    (any_folder / "dataset-a.json").write_text(json.dumps(dataset))
    (any_folder / "first-try.json").write_text(json.dumps(first))
    read = artifacts.read(any_folder)
    if ended:
        read = replace(read, problems=(*read.problems, Problem("worker_stopped")))
    found = decide.decide(read, ["a", "b"])
    assert found.outcome is not Outcome.SUCCESS, "nothing was found out about the second dataset"
    assert found.messages
    result = found.gearman_result()
    assert result is None or 0 < len(result) <= LENGTH
    for text in (summary.line(found), summary.reason(found), *summary.notes(found)):
        assert "\n" not in text
    alone = decide.decide(read, ["a"])
    if alone.outcome is Outcome.SUCCESS:
        final = read.walks["a"]
        assert final.final == final.expected != ""
        assert final.migrations and all(row.succeeded for row in final.migrations)
        assert all(message.excuse for message in alone.messages)


@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from([0, 300, 19_990, 20_000]))
def test_two_versions_that_differ_never_look_alike(one: str, other: str, before: int) -> None:
    first, second = "v" * before + one, "v" * before + other
    shown = untrusted.version(first)
    assert (shown == untrusted.version(second)) == (one == other)
    assert shown == first or untrusted.version(shown) != shown, "nor like one that has been cut"


def test_no_folder_at_all_gives_a_verdict(tmp_path: Path) -> None:
    assert decide.decide(artifacts.read(tmp_path / "none"), ["a"]).outcome is Outcome.INFRASTRUCTURE


def test_what_zuul_is_told_fits_into_its_table() -> None:
    many = [
        Message.of("migration_too_long", "a" * 40, f"{number:040}", dataset="d", detail="x" * 300)
        for number in range(20)
    ]
    result = decide.of_messages(many).gearman_result()
    assert result is not None
    assert len(result) <= LENGTH
    assert result.startswith("WARNING - Migration aaaa")
    assert result.endswith(" (dataset d) and 19 more")
