# SPDX-License-Identifier: Apache-2.0
"""etc/zuul/layout.yaml is a layout that Zuul 2.x takes, and docs/zuul.md shows what Zuul makes of it."""

import copy
import textwrap
from typing import Any

import pytest

from tests.integration.zuul2 import Zuul2
from tests.integration.zuul2 import layout as read
from tests.kit import ROOT
from tests.kit.recorded_walks import case
from worker.inputs import documents

LAYOUT = ROOT / "etc" / "zuul" / "layout.yaml"
URL = "https://logs.example.org/31/4731/2/check/gate-real-db-upgrade_mlflow/8c1e2ab/"


@pytest.fixture(scope="module")
def zuul() -> Zuul2:
    return Zuul2()


@pytest.fixture
def layout() -> Any:
    return read(LAYOUT)


def test_zuul_takes_it(zuul: Zuul2, layout: Any) -> None:
    zuul.validate(layout)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("pipelines", "manager", "Independent"),
        ("pipelines", "trigger", {"gerrit": [{"event": "comment"}]}),
        ("jobs", "voting", "no"),
        ("jobs", "failure_message", "x"),
        ("projects", "checks", []),
    ],
)
def test_the_validator_sees_mistakes(zuul: Zuul2, layout: Any, part: str, key: str, value: Any) -> None:
    wrong = copy.deepcopy(layout)
    wrong[part][0][key] = value
    with pytest.raises(zuul.invalid):
        zuul.validate(wrong)


@pytest.mark.parametrize(
    ("comment", "pipelines"),
    [
        ("Patch Set 2:\n\nrecheck", ["check"]),
        ("Patch Set 2: Code-Review+1\n\nRecheck", ["check"]),
        ("recheck", ["check"]),
        ("Patch Set 2:\n\nrecheck migrations", ["migrations"]),
        ("Patch Set 12: Code-Review-1 Workflow+1\n\nrecheck migrations\n", ["migrations"]),
        ("Patch Set 2:\n\nplease recheck migrations", []),
        ("Patch Set 2:\n\n(3 comments)\n\nrecheck the migrations", []),
        ("Patch Set 2: Verified-1\n\nBuild failed.\n\n- gate-x https://logs/ : FAILURE in 3s", []),
    ],
)
def test_comments_that_start_it_again(zuul: Zuul2, layout: Any, comment: str, pipelines: list[str]) -> None:
    assert zuul.triggered(layout, type="comment-added", comment=comment) == pipelines


def test_what_else_starts_it(zuul: Zuul2, layout: Any) -> None:
    assert zuul.triggered(layout, type="patchset-created") == ["check"]
    approval = [{"description": "Approved", "value": "1"}]
    assert zuul.triggered(layout, type="comment-added", comment="Patch Set 1:", approvals=approval) == ["gate"]


def test_only_changes_that_matter_are_sent(zuul: Zuul2, layout: Any) -> None:
    job = zuul.job(layout["jobs"][0])
    change = zuul.model.Change(zuul.model.Project("mlflow/mlflow"))
    for branch, file, sent in [
        ("master", "mlflow/store/db_migrations/versions/0a1b_add.py", True),
        ("stable/3.4", "mlflow/store/tracking/dbmodels/models.py", True),
        ("master", "docs/index.md", False),
        ("feature", "mlflow/store/db_migrations/versions/0a1b_add.py", False),
    ]:
        change.branch, change.files = branch, [file]
        assert job.changeMatches(change) is sent, (branch, file)


def test_its_job_is_the_one_that_the_workers_configuration_has(layout: Any) -> None:
    example = documents.read_mapping(ROOT / "etc" / "turbo-hipster" / "config.yaml")
    functions = {entry["function"] for entry in example["plugins"]}
    assert functions == {f"build:{job['name']}" for job in layout["jobs"]}
    for pipeline in layout["pipelines"]:
        assert layout["projects"][0][pipeline["name"]] == [job["name"] for job in layout["jobs"]]


def test_the_review_comments_of_the_document_are_what_zuul_writes(zuul: Zuul2, layout: Any) -> None:
    document = (ROOT / "docs" / "zuul.md").read_text()
    for name, seconds in {"migration_raised": 192, "success": 41}.items():
        result = case(name).verdict().gearman_result()
        assert result
        comment = zuul.comment(layout, "check", result, URL, seconds)
        shown = textwrap.indent(comment.rstrip("\n"), "    ")
        assert shown in document, shown


def test_a_job_with_files_never_runs_for_a_ref_or_a_timer(zuul: Zuul2, layout: Any) -> None:
    """What docs/zuul.md says of post and timer pipelines: Zuul's own code, whose items there have no files."""
    entry = layout["jobs"][0]
    matching = zuul.job({**entry, "branch": ["^master$"]})
    project = zuul.model.Project("mlflow/mlflow")
    updated, timed = zuul.model.Ref(project), zuul.model.NullChange(project)
    updated.ref = "master"
    assert not matching.changeMatches(updated) and not matching.changeMatches(timed)
    only_branch, neither = zuul.job({**entry, "files": []}), zuul.job({**entry, "files": [], "branch": []})
    assert only_branch.changeMatches(updated) and not only_branch.changeMatches(timed)
    assert neither.changeMatches(updated) and neither.changeMatches(timed)
    updated.ref = "refs/tags/3.4"
    assert not only_branch.changeMatches(updated) and neither.changeMatches(updated)
