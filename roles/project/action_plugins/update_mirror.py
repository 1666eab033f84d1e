# SPDX-License-Identifier: Apache-2.0
"""How a job's first step is run: as all are (`normal`), once Ansible has imported what the steps of the roles share.

Ansible loads a plugin that has a module's own name in the process from which it forks those that run tasks, and all
others in the forked ones. So this is the place where an import is done once, and not in each step, which that would
take longer than all else about it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from pathlib import Path

import ansible.module_utils

HERE = Path(__file__).resolve().parent
SHARED = ("th_checkout.checkout", "th_environment.find", "th_walk.walk", "th_dataset.snapshot")
"""Modules that import most of what the steps import."""


def _preload() -> None:
    folders = [str(folder) for folder in sorted(HERE.parents[1].glob("*/module_utils"))]
    paths = ansible.module_utils.__path__
    paths.extend(folder for folder in folders if folder not in paths)
    for name in SHARED:
        with contextlib.suppress(ImportError):  # a step that needs it says so
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
