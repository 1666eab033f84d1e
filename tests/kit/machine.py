# SPDX-License-Identifier: Apache-2.0
"""Run something as a user who may do nothing, on a machine where all that it needs may lie in root's own folders.

    python -m tests.kit.machine FOLDER COMMAND...

In a mount namespace of its own, folders on the way to the checkout and to the interpreter that only root may enter
are covered with empty ones that hold just these. Outside nothing changes. FOLDER becomes the user's, and its home.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.kit import ROOT

USER = 64321
"""A number that no account has."""



def command(folder: Path, *words: str) -> list[str]:
    """What root runs to run `words` as that user, with `folder` as home."""
    program = [sys.executable, "-m", "tests.kit.machine", str(folder)]
    return ["unshare", "--mount", "--propagation", "private", *program, *words]


def main() -> None:
    """Arrange the mounts, and become the user."""
    folder = Path(sys.argv[1])
    os.chown(folder, USER, USER)
    needed = [folder, ROOT, Path(sys.prefix), Path(sys.base_prefix)]
    open_up([path for path in needed if closed(path)], Path(tempfile.mkdtemp()))
    environment = {
        "HOME": str(folder), "USER": "nobody-else", "LOGNAME": "nobody-else", "PYTHONDONTWRITEBYTECODE": "1",
        **{name: os.environ[name] for name in ("PATH", "CI", "ANSIBLE_CONFIG", "SSL_CERT_FILE") if name in os.environ},
    }  # fmt: skip
    rights = ["--reuid", str(USER), "--regid", str(USER), "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    os.execvpe("setpriv", ["setpriv", *rights, "--", *sys.argv[2:]], environment)


def closed(path: Path) -> Path | None:
    """The first folder on the way to a path that others may not enter."""
    return next((one for one in reversed(path.parents) if not one.stat().st_mode & 0o001), None)


def open_up(paths: list[Path], aside: Path) -> None:
    """Have what is at `paths` there still, and what bars the way to it not."""
    mount("--types", "tmpfs", "none", str(aside))
    for number, path in enumerate(paths):
        (aside / str(number)).mkdir()
        mount("--bind", str(path), str(aside / str(number)))
    for bar in {closed(path) for path in paths}:
        mount("--types", "tmpfs", "--options", "mode=0755", "none", str(bar))
    for number, path in enumerate(paths):
        path.mkdir(parents=True, exist_ok=True)
        mount("--bind", str(aside / str(number)), str(path))
    subprocess.run(["umount", "--recursive", str(aside)], check=True)
    aside.rmdir()


def mount(*words: str) -> None:
    """Mount; what fails ends the program."""
    subprocess.run(["mount", *words], check=True)


if __name__ == "__main__":
    main()
