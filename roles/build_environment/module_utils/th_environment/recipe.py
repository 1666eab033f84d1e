# SPDX-License-Identifier: Apache-2.0
"""What an environment is made of: the interpreter, the cut-off date of packages, and a profile's `install`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_environment.uv import uv_path


@dataclass(frozen=True)
class Python:
    """An interpreter for environments: the `path` of its executable, which is not a link; `prefix` is the folder of its
    library, and `own` the executable if it is elsewhere, otherwise the same as `prefix`."""

    path: str
    version: str
    prefix: str
    own: str


@dataclass(frozen=True)
class Recipe:
    """What one environment is made of. `folder` is where the project is in its repository, "" at the top."""

    python: Python
    exclude_newer: str
    install: Mapping[str, Any]
    folder: str = ""

    @classmethod
    def of(
        cls, profile: Mapping[str, Any], checkout: Mapping[str, Any], stage: str, kind: str, branch: str
    ) -> Recipe:
        """The interpreter, date and `install` of a release, or of a branch that is one of the releases, or the
        profile's.

        `checkout` is the artifact; `branch` is the job's, for when that has none. Raises StepError.
        """
        keys: tuple[str, ...]
        if kind == "release":
            known = {item["slug"]: item["name"] for item in checkout.get("stages", ())}
            wanted, keys = known.get(stage, stage), ("name",)
        else:
            wanted, keys = checkout.get("branch") or branch, ("name", "ref")
        found = next((one for one in profile["releases"] if wanted in [one[key] for key in keys]), None)
        settings = found or profile
        try:
            python = find_python(settings["python"])
        except StepError as error:
            where = f"releases: {found['name']}: " if found else ""
            raise StepError(error.code, where + error.detail, **error.more) from None
        return cls(python, settings["exclude_newer"], settings["install"], profile.get("folder", ""))

    def root(self, src: Path) -> Path:
        """The project's folder in a checkout. Raises StepError if it does not exist or leads out of the checkout."""
        root = src / self.folder
        if not root.is_dir() or not Path(os.path.realpath(root)).is_relative_to(os.path.realpath(src)):
            raise StepError("environment_failed", f"The checkout has no folder {self.folder} (the profile's folder).")
        return root

    def installing(self, venv: Path) -> tuple[str, ...]:
        """The arguments of uv to install into an environment."""
        newest = ("--exclude-newer", f"{self.exclude_newer}T00:00:00Z") if self.exclude_newer else ()
        # the cache is a separate mount, so files cannot be hard-linked
        return ("pip", "install", "--python", str(venv), "--link-mode", "copy", *newest)


def find_python(wanted: str) -> Python:
    """The interpreter that the profile names. Raises StepError ``profile_wrong``."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment |= {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_CONFIG": "1", "LC_ALL": "C.UTF-8"}
    wanted = os.path.expanduser(wanted)
    code = "import platform, sys; print(platform.python_version()); print(sys.base_prefix)"
    try:
        found = _output([uv_path(), "python", "find", "--no-project", "--system", wanted], environment)
        # executables of pyenv, uv and others are links to links, whose folders do not exist in a box
        path = os.path.realpath(found)
        version, prefix = _output([path, "-I", "-S", "-c", code], environment).splitlines()
        prefix = os.path.realpath(prefix)
        return Python(path, version, prefix, prefix if Path(path).is_relative_to(prefix) else path)
    except (OSError, ValueError, subprocess.SubprocessError):
        raise StepError(
            "profile_wrong", f"python: there is no interpreter {wanted} on this machine: install it."
        ) from None


def _output(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(argv, env=environment, cwd="/", capture_output=True, timeout=60, check=True, text=True)
    return done.stdout.strip()
