# SPDX-License-Identifier: Apache-2.0
"""The folder that an engine is made in, and how it becomes the engine.

An engine is made in ``.<name>@<random>``, beside its final place, which is a symbolic link: it is set to a finished
folder at the end, atomically, so an engine is whole or not there. `MANIFEST` in the folder says what it was made of.
While it is made, the folder has `WORK` with the claim of the run of Ansible that makes it. What a killed run has left
has a claim that has ended, and the next run removes it. The folder that a new one has replaced stays for a day, as a
job that has begun with it may need its files.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.th_core.artifacts import disk_full_message, read_json, write_json
from ansible.module_utils.th_core.claim import claim, is_claimed, locked, release
from ansible.module_utils.th_core.remove import remove
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_engines.entry import Entry

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

MANIFEST, WORK = "engine.json", ".build"
FRESH = 24 * 3600
"""Seconds for which a folder is kept after another one has replaced it."""
LOOK_SECONDS = 0.5
"""Seconds between two looks whether another run has made the engine."""
_STATE, _REPLACED = "build.json", ".replaced"


@dataclass(frozen=True)
class Build:
    """An engine that is being made: its `name` and `family`, its `folder`, its final place `home`, and its `recipe`."""

    name: str
    family: str
    folder: str
    home: str
    recipe: Mapping[str, Any]

    @property
    def work(self) -> Path:
        """The folder for what is only needed until the engine is made."""
        return Path(self.folder) / WORK

    @classmethod
    def read(cls, folder: str) -> Build:
        """The build in a folder. Raises StepError ``playbook_failed``."""
        found = read_json(Path(folder) / WORK / _STATE)
        found.pop("schema", None)
        if not found:
            raise StepError("playbook_failed", f"No engine is being made in {folder}: begin_engine comes first.")
        return cls(**found)


def manifest(home: Path) -> dict[str, Any]:
    """The manifest of an engine that this role has made; {} if there is none."""
    try:
        return read_json(home / MANIFEST) if home.is_symlink() else {}
    except (OSError, ValueError, TypeError):
        return {}


def is_there(entry: Entry, recipe: Mapping[str, Any]) -> bool:
    """Whether the engine is there, made of this recipe."""
    return manifest(entry.home).get("recipe") == recipe


def begin(entry: Entry, family: str, recipe: Mapping[str, Any], renew: bool, time_limit: float) -> Build | None:
    """A new folder to make an engine in; None if the engine is there, made of the same recipe, and need not be renewed.

    Waits while another run makes it, at most for `time_limit` seconds; that run's result is new enough. Raises
    StepError.
    """
    root = entry.home.parent
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    if os.path.lexists(entry.home) and not entry.home.is_symlink():
        raise StepError("playbook_failed", f"{entry.home} was not made by this role: move it away.")
    while True:
        with locked(root):
            folders = _folders(entry)
            if not any(is_claimed(folder / WORK) for folder in folders):
                for folder in folders:
                    if not _is_needed(entry, folder):
                        remove(folder)
                if not renew and is_there(entry, recipe):
                    return None
                return _new(entry, family, recipe, time_limit)
        renew = False
        time.sleep(LOOK_SECONDS)


def finish(build: Build, about: Mapping[str, Any]) -> None:
    """Make a finished folder the engine. `about` is added to its manifest."""
    folder, home = Path(build.folder), Path(build.home)
    about = {"name": build.name, "recipe": dict(build.recipe), **about}
    write_json(folder / MANIFEST, about)
    remove(build.work)
    # the files must be on the disk before the link is
    subprocess.run(["sync", "--file-system", str(folder)], check=False)
    with locked(home.parent):
        before = home.resolve() if home.is_symlink() else None
        link = folder.with_name(f"{folder.name}.link")
        link.symlink_to(folder.name)
        link.replace(home)
        if before and before.is_dir() and before != folder:
            (before / _REPLACED).touch()
        handle = os.open(home.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def run_build_step(module: AnsibleModule, step: Callable[[Build], Mapping[str, Any]]) -> None:
    """Run a step of a build as a module; whatever makes it fail, nothing of the build is left."""
    folder = Path(module.params["build"])
    try:
        result = step(Build.read(str(folder)))
    except StepError as error:
        abandon(folder)
        module.fail_json(msg=error.detail, code=error.code)
    except OSError as error:
        abandon(folder)
        module.fail_json(msg=problem(error, folder))
    except BaseException:
        abandon(folder)
        raise
    module.exit_json(changed=True, **result)


def abandon(folder: Path) -> None:
    """Remove the folder of a build that has failed."""
    release(folder / WORK)
    remove(folder)


def problem(error: OSError, folder: Path) -> str:
    """The sentence for what the operating system has refused in a folder, with a remedy."""
    if error.filename is None:
        error = OSError(error.errno, error.strerror, str(folder))
    if full := disk_full_message(error):
        return f"{full} An engine takes up to 1 GiB while it is made."
    return f"{error.filename}: {error.strerror}. This user must be able to write to the folder of the engines."


def _folders(entry: Entry) -> list[Path]:
    """All folders of an engine, and links to them that a killed run has left."""
    return sorted(entry.home.parent.glob(f".{entry.name}@*"))


def _is_needed(entry: Entry, folder: Path) -> bool:
    if folder.is_symlink():
        return False
    if entry.home.is_symlink() and entry.home.resolve() == folder.resolve():
        return True
    replaced = folder / _REPLACED
    return replaced.is_file() and time.time() - replaced.stat().st_mtime < FRESH


def _new(entry: Entry, family: str, recipe: Mapping[str, Any], time_limit: float) -> Build:
    folder = Path(tempfile.mkdtemp(prefix=f".{entry.name}@", dir=entry.home.parent))
    folder.chmod(0o755)  # the worker's user reads it
    build = Build(entry.name, family, str(folder), str(entry.home), dict(recipe))
    build.work.mkdir(mode=0o700)  # a source of packages may have a password
    claim(build.work, time_limit)
    write_json(build.work / _STATE, asdict(build))
    return build
