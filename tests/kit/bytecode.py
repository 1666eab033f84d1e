# SPDX-License-Identifier: Apache-2.0
"""The bytecode of environments that tests walk in many times, made once, as the role does for those that jobs share."""

import os
import subprocess
from pathlib import Path

from tests.kit import ROOT

IMPORTER = ROOT / "roles" / "build_environment" / "files" / "import_modules.py"


def keep(venv: Path, *modules: str, folder: Path | None = None) -> None:
    """Have an environment's Python compile what modules come to, where they are, or into a folder."""
    unwanted = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    if folder:
        environment["PYTHONPYCACHEPREFIX"] = str(folder)
    subprocess.run([str(venv / "bin" / "python"), str(IMPORTER), *modules], env=environment, check=True)
