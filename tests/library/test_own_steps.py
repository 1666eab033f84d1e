# SPDX-License-Identifier: Apache-2.0
"""Steps of one project: where their file is, and what is said of one that fails."""

import re
from typing import Any

import pytest
import yaml

from tests.kit import ROOT, load_module

report = load_module("own_steps", "report_step")
profile = load_module("project", "project_profile")
VARIABLES = yaml.safe_load((ROOT / "roles" / "own_steps" / "vars" / "main.yaml").read_text())
OUT = [
    "../org/thing", "org/../thing", "org/..", "..", "/etc", "org//thing", "org/./thing", "org/thing\n", "", "org/",
    "~/x", "org/thing/../../x", ".hidden/x", "-x/y", "org/a b", "{{ x }}", "org/\0", "a" + "/..",
]  # fmt: skip
IN = ["org/thing", "mlflow/mlflow", "a", "a/b/c", "Org_1/x.y-z+1", "_x/y"]


def test_no_name_of_a_project_leads_out_of_the_folder_of_the_profiles() -> None:
    """The steps are found by the rule by which profiles are: what is no project has neither."""
    assert "__own_steps_project, match_type='fullmatch'" in VARIABLES["__own_steps_file"]
    rule = re.compile(VARIABLES["__own_steps_project"])
    for name in OUT:
        assert not rule.fullmatch(name) and not profile.PROJECT.fullmatch(name), name
    for name in IN:
        assert rule.fullmatch(name) and profile.PROJECT.fullmatch(name), name


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"msg": "No."}, "No."),
        ({"msg": "non-zero return code", "stdout": "a", "stderr": "b\nc\n"}, "non-zero return code: c\nb\nc"),
        ({"msg": "MODULE FAILURE", "module_stderr": "Traceback\nKeyError: 'x'"},
         "MODULE FAILURE: KeyError: 'x'\nTraceback\nKeyError: 'x'"),
        ({"msg": "One or more items failed", "results": [{"msg": "ok"}, {"failed": True, "msg": "second"}]}, "second"),
        ({"msg": "One or more items failed", "results": []}, "One or more items failed"),
        ({"stderr": "only"}, "only"),
        ({}, ""),
    ],
)  # fmt: skip
def test_what_a_step_says_that_has_failed(result: dict[str, Any], said: str) -> None:
    assert report.output_of(result) == said


def test_of_much_that_was_printed_the_end_is_kept() -> None:
    said = report.output_of({"msg": "no", "stdout": "x" * 100_000 + "\nend"})
    assert said.startswith("no: end\n... x") and said.endswith("\nend") and len(said) < 1600
