# SPDX-License-Identifier: Apache-2.0
"""Running a job's first step like any other (`normal`), after Ansible has imported what the steps share.

Ansible loads an action plugin with the name of a module in the process from which it forks the workers, and all others
in the workers. So an import here is done once and not in each step, where it would take longer than everything else.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from pathlib import Path

import ansible.module_utils

HERE = Path(__file__).resolve().parent
SHARED = (
    "th_checkout.checkout", "th_environment.find", "th_walk.walk", "th_dataset.private_dataset",
    "th_dataset.external_dataset",
)  # fmt: skip
"""Modules that import most of what the steps import."""


def _preload() -> None:
    folders = [str(folder) for folder in sorted(HERE.parents[1].glob("*/module_utils"))]
    paths = ansible.module_utils.__path__
    paths.extend(folder for folder in folders if folder not in paths)
    for name in SHARED:
        with contextlib.suppress(ImportError):  # a step that needs it reports that
            importlib.import_module(f"ansible.module_utils.{name}")


if "th_action_normal" not in sys.modules:
    _spec = importlib.util.spec_from_file_location("th_action_normal", HERE / "normal.py")
    assert _spec is not None and _spec.loader is not None
    _normal = importlib.util.module_from_spec(_spec)
    sys.modules["th_action_normal"] = _normal
    _spec.loader.exec_module(_normal)
    _preload()


class ActionModule(sys.modules["th_action_normal"].ActionModule):  # type: ignore[misc]
    """Run a task's module."""
