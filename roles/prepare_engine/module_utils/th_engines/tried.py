# SPDX-License-Identifier: Apache-2.0
"""Whether an engine works."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_engines.build import Build
from ansible.module_utils.th_server import engine
from ansible.module_utils.th_server.engine import EngineError
from ansible.module_utils.th_server.mariadb import ServerError

_OF_THE_BOX = ("env", "prlimit", "setpriv")


def works(engines: Mapping[str, Any], name: str, engines_dir: Path) -> str:
    """The version of an engine that this machine has already. Raises StepError."""
    try:
        return str(engine.version(engine.find(name, engines[name], engines_dir)))
    except ServerError as error:
        raise StepError("playbook_failed", f"{error}.") from None


def tried(build: Build) -> str:
    """The version that the server prints in its box. Raises StepError."""
    folder = Path(build.folder)
    try:
        found = engine.find(build.name, {"family": build.family, "tree": str(folder)})
    except EngineError:
        problem = f"The engine {build.name} has no server of the family {build.family}: correct it in engines.yaml."
        raise StepError("playbook_failed", problem) from None
    try:
        version = engine.version(found)
    except EngineError as error:
        problem = f"The engine {build.name} does not work on this machine, and is not kept: {error}."
        raise StepError("playbook_failed", problem) from None
    missing = [name for name in _OF_THE_BOX if found.tree and not (folder / "usr" / "bin" / name).exists()]
    if missing:
        raise StepError(
            "playbook_failed",
            f"The engine {build.name} has no {', '.join(missing)}, which its box needs: name the packages coreutils and"
            " util-linux in prepare_engine_packages.",
        )
    return version
