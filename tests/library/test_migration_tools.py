# SPDX-License-Identifier: Apache-2.0
"""The rows of the migration tools: each fits the profile, the role and the documentation."""

import subprocess
import sys

import pytest
from ansible.module_utils.th_tools.tool import Tool
from ansible.module_utils.th_tools.tools import TOOLS, VERSIONS

from tests.kit import ROOT

PROGRAMS = ROOT / "roles" / "run_migrations" / "files"
PROFILES = (ROOT / "docs" / "profiles.md").read_text()
EVERY = pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS.keys())
LIGHT = """
import sys
from pathlib import Path
import ansible.module_utils
ansible.module_utils.__path__.extend(map(str, Path(sys.argv[1]).glob("*/module_utils")))
from ansible.module_utils.th_tools import profile, tools
print(*sorted(name.removeprefix("ansible.module_utils.") for name in sys.modules if ".th_" in name))
"""


@EVERY
def test_its_keys_are_documented(tool: Tool) -> None:
    section = PROFILES.partition(f"### tool: {tool.name}\n")[2].partition("\n##")[0]
    assert section
    for key in tool.keys(["main"]).keys() - {"downgrade_command"}:
        assert f"`{key}`" in section, key


@EVERY
def test_the_keys_that_it_names_are_its_own(tool: Tool) -> None:
    named = {*tool.where, *tool.in_checkout, *(["config"] if tool.configured else [])}
    assert tool.where and named <= tool.keys([""]).keys()
    assert ("versions" in tool.keys([""])) == (len(tool.versions) > 1)


def test_each_walking_program_is_there_and_is_of_one_tool() -> None:
    programs = [tool.program for tool in TOOLS.values() if tool.program]
    assert sorted(programs) == sorted(path.name for path in PROGRAMS.glob("walk_*.py"))


def test_each_way_to_keep_versions_has_one_name_and_a_tool() -> None:
    for tool in TOOLS.values():
        for versions in tool.versions:
            assert VERSIONS[versions.name] is versions
            assert versions in TOOLS[versions.kept_by].versions


def test_what_reads_scripts_is_imported_where_it_is_used() -> None:
    """Most steps import the rows, and few read scripts."""
    words = [sys.executable, "-c", LIGHT, str(ROOT / "roles")]
    shelves = {name.partition(".")[0] for name in subprocess.check_output(words, text=True).split()}
    assert shelves == {"th_core", "th_tools"}
