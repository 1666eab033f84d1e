# SPDX-License-Identifier: Apache-2.0
"""Where the migration scripts lie when they run, and which files of the repository those are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath


class ScriptFolders:
    """The folders of a stage's scripts: `folders` in the checkout `src`, and their installed copies.

    With alembic, env.py is beside the scripts' folder. A project that is not installed in place runs from the
    packages of the environment `venv`, where a folder keeps the last parts of its path in the repository.
    """

    def __init__(self, src: Path, venv: Path, folders: Iterable[str]) -> None:
        named = [PurePosixPath(folder) for folder in folders]
        named += [folder.parent for folder in named if (src / folder.parent / "env.py").is_file()]
        self._src = os.path.realpath(src)
        self._real: dict[str, str] = {os.path.realpath(src / folder): str(folder) for folder in named}
        for packages in sorted(venv.glob("lib/python3*/site-packages")):
            for folder in named:
                for installed in _ends(folder):
                    if (packages / installed).is_dir():
                        self._real.setdefault(os.path.realpath(packages / installed), str(folder))
                        break

    @property
    def folders(self) -> list[str]:
        """All of them, as real paths."""
        return list(self._real)

    def in_repository(self, file: str) -> str:
        """The repository's path of a file that was run, or for one in none of the folders, its path relative to the
        checkout; "" for what is no file name.
        """
        try:
            path = os.path.realpath(file)
        except (OSError, ValueError):
            return ""
        for folder in sorted(self._real, key=len, reverse=True):
            if path.startswith(folder + os.sep):
                found = os.path.normpath(os.path.join(self._real[folder], os.path.relpath(path, folder)))
                if os.path.isfile(os.path.join(self._src, found)):
                    return found
        return os.path.relpath(path, self._src)


def _ends(folder: PurePosixPath) -> Iterator[PurePosixPath]:
    """A folder's path, then without its first parts (such as ``src``); the longest first."""
    for number in range(len(folder.parts)):
        yield PurePosixPath(*folder.parts[number:])
