# SPDX-License-Identifier: Apache-2.0
"""The box that a stage's code runs in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.th_sandbox.box import Box, Settings
from ansible.module_utils.th_walk.stages import WalkStage


@dataclass(frozen=True)
class StageBoxes:
    """The boxes of a job: the sandbox's `settings`, the folder of the walking programs, and that of the job."""

    settings: Settings
    programs: Path
    job_dir: Path

    def of(self, stage: WalkStage, built: Mapping[str, Any], home: Path, bytecode: Path | None, socket: str) -> Box:
        """A box with the stage's environment to read, the database's socket, and no network. Only the change's own
        checkout is writable: other jobs share that of a release. Nor may a change write the bytecode of a shared
        environment."""
        src = Path(built["src"])
        read = [Path(built["venv"]), Path(built["prefix"]), self.programs, home / "files"]
        own, shared = list[Path](), list[Path]()
        if stage.kind == "change":
            own.append(src)
            if bytecode:
                (own if bytecode.is_relative_to(self.job_dir) else read).append(bytecode)
        else:
            read.append(src)
            shared += [bytecode] if bytecode else []
        if socket:
            read.append(Path(socket))
        return Box(self.settings, read, own, [home], shared)
