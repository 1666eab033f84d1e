# SPDX-License-Identifier: Apache-2.0
"""The folder that all processes of the tests share, and what is made once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible.module_utils.th_sandbox.box import Settings
    from ansible.module_utils.th_server.engine import Engine

FOLDER: list[Path] = []
"""The folder; none where no tests run."""


def create_data(folder: Path, options: Sequence[str], sandbox: Settings, engine: Engine | None = None) -> None:
    """Create an empty data directory in `folder`/data, of the machine's server unless there is an `engine`: a copy of
    a shared one."""
    from ansible.module_utils.th_dataset.empty_data import copy_empty_data
    from ansible.module_utils.th_server.engine import of_machine

    copy_empty_data(FOLDER[0] if FOLDER else folder.parent, folder, engine or of_machine(), options, 300, sandbox)


def share_empty_data(snapshots: Path) -> None:
    """Make a folder of snapshots, which has the empty data directories of all tests."""
    snapshots.mkdir(mode=0o700, exist_ok=True)
    if FOLDER:
        (FOLDER[0] / "empty").mkdir(mode=0o700, exist_ok=True)
        (snapshots / "empty").symlink_to(FOLDER[0] / "empty")
