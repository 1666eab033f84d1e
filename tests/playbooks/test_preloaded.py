# SPDX-License-Identifier: Apache-2.0
"""What the steps of the roles share is imported once, before they are forked."""

import subprocess
import sys

from tests.kit import ROOT

PROGRAM = """
import sys
from ansible.plugins.loader import action_loader
action_loader.add_directory(sys.argv[1])
plugin = action_loader.get("update_mirror", class_only=True)
shared = sys.modules[plugin.__module__].SHARED
missing = [name for name in shared if f"ansible.module_utils.{name}" not in sys.modules]
assert shared and not missing, missing
assert [base.__module__ for base in plugin.__mro__][1] == "th_action_normal"
"""


def test_all_that_is_named_is_there() -> None:
    words = [sys.executable, "-c", PROGRAM, str(ROOT / "roles" / "project" / "action_plugins")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
