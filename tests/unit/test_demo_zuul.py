# SPDX-License-Identifier: Apache-2.0
"""What the demo hands in is what Zuul would, and it knows a wrong answer from the right one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from demo import zuul
from demo.__main__ import EXPECTED, as_expected
from demo.project import CHANGES_DIR, Change
from demo.services import JOB
from demo.zuul import Answer
from worker.request import Request

CHANGE = Change(1203, "good", "Subject", "refs/zuul/master/Zabc", "a" * 40)


@pytest.fixture
def published(tmp_path: Path) -> Callable[..., Answer]:
    """Publish a result and make the answer that links to it."""

    def publish(result: str, *messages: tuple[str, str]) -> Answer:
        told = [{"text": text, "detail": detail} for text, detail in messages]
        (tmp_path / "a b").mkdir()
        (tmp_path / "a b" / "result.json").write_text(json.dumps({"messages": told}))
        (tmp_path / "a b" / "index.html").touch()
        return Answer(result, f"{tmp_path.as_uri()}/a%20b/", 1.0, {"result": result})

    return publish


def test_worker_takes_the_arguments():
    given = zuul.arguments(CHANGE, "git://127.0.0.1:9418")
    request = Request.parse(JOB, "gearman's", given)
    assert request.id == given["ZUUL_UUID"]
    assert (request.ref, request.commit, request.branch) == (CHANGE.ref, CHANGE.commit, "master")
    assert (request.change, request.patchset) == ("1203", "1")
    assert request.log_path == f"03/1203/1/check/{JOB}/{request.id[:7]}"
    assert given["ZUUL_CHANGES"] == "mlflow/mlflow:master:refs/changes/03/1203/1"


def test_every_submission_is_another_build():
    assert zuul.arguments(CHANGE, "git://h")["ZUUL_UUID"] != zuul.arguments(CHANGE, "git://h")["ZUUL_UUID"]


def test_every_change_of_the_demo_has_an_expected_answer():
    assert {patch.stem.partition("-")[2] for patch in CHANGES_DIR.glob("*.patch")} == set(EXPECTED)


NOT_ENDED = "FAILURE - Did not find the end of a migration after a start"
FAILED = "WARNING - Migration dc11669786a5->d5e6f7a8b9c0 failed to complete"
DUPLICATE = "(1062, \"Duplicate entry '2-train' for key 'x'\")"
TOO_MANY = "WARNING - Migration dc11669786a5->e6f7a8b9c0d1 changed too many rows (500001)"
SEED = "FAILURE - Could not setup seed database."


@pytest.mark.parametrize(
    ("name", "result", "messages", "fits"),
    [
        ("good", "SUCCESS", [], True),
        ("good", "WARNING - Migration a->b took too long", [], False),
        ("good", "none: Zuul would launch it again", [], False),
        ("duplicates", NOT_ENDED, [(NOT_ENDED, ""), (FAILED, DUPLICATE)], True),
        ("duplicates", NOT_ENDED, [(NOT_ENDED, ""), (FAILED, "another error")], False),
        ("duplicates", SEED, [(SEED, "")], False),
        ("duplicates", "SUCCESS", [], False),
        ("limit", TOO_MANY, [(TOO_MANY, "500,001 rows")], True),
        ("limit", "WARNING - Migration a->e6f7a8b9c0d1 took too long", [], False),
        ("limit", "SUCCESS", [], False),
    ],
)
def test_only_the_right_answer_is_right(published, name, result, messages, fits):
    assert as_expected(Change(1, name, "", "", ""), published(result, *messages)) is fits


def test_right_answer_without_a_report_is_wrong(published, tmp_path):
    change = Change(1, "good", "", "", "")
    given = published("SUCCESS")
    (tmp_path / "a b" / "index.html").unlink()
    assert not as_expected(change, given)
    assert not as_expected(change, Answer("SUCCESS", "", 1.0, {}))
