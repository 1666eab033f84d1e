# SPDX-License-Identifier: Apache-2.0
"""A tree of numbered migrations, read from their file names: none of the project's code is run.

Which files are scripts follows sqlalchemy-migrate (``migrate/versioning/version.py``), or plain numbering.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.module_utils.th_parse.digest import what_runs
from ansible.module_utils.th_parse.python import UnreadableError, read_each, sha256
from ansible.module_utils.th_tools.revisions import Revision, Tree, Unreadable

NUMBERED = re.compile(r"(\d{1,14})_.*\.py", re.DOTALL)
SQLALCHEMY_MIGRATE = re.compile(r"(\d{3,14}).*\.(?:py|sql)", re.DOTALL)
"""File names of scripts, which begin with the number."""
_FEWEST = 2  # parts of a SQL script's name


def read_numbered_tree(files: Iterable[tuple[str, bytes]], name: re.Pattern[str] = NUMBERED) -> Tree:
    """Read a tree from the files (path, content) of the versions folders. Files with other names are ignored."""
    scripts: dict[int, dict[str, bytes]] = {}
    unreadable: list[Unreadable] = []
    for path, content in sorted(files):
        match = name.fullmatch(path.rpartition("/")[2])
        if match is None:
            continue
        version = scripts.setdefault(int(match[1]), {})
        other = next((one for one in version if one.endswith(".py")), "") if path.endswith(".py") else ""
        if other:
            reason = f"version {int(match[1])} is in {other} already"
            unreadable.append(Unreadable(path, reason, sha256(content)))
        else:
            version[path] = content
    modules = {path: text for version in scripts.values() for path, text in version.items() if path.endswith(".py")}
    digests = read_each(modules, what_runs)
    revisions: dict[str, Revision] = {}
    down: tuple[str, ...] = ()
    for number in sorted(scripts):
        revisions[str(number)] = _version(str(number), down, scripts[number], digests)
        down = (str(number),)
    return Tree(revisions, tuple(unreadable))


def _version(
    name: str, down: tuple[str, ...], files: dict[str, bytes], read: Mapping[str, Any | UnreadableError]
) -> Revision:
    """A version from its Python and SQL scripts; SQL scripts for other servers, or for downgrades, do not alter it."""
    digests, wholes = [], []
    main, refers = "", False
    for path in sorted(files):
        found: Any = {}
        if path.endswith(".py"):
            main = main or path
            # the walk only needs the number of a script that cannot be read
            found = {} if isinstance(read[path], UnreadableError) else read[path]
        elif _is_sql_upgrade(path):
            main = path if not main or main.endswith(".py") else main  # SQL takes precedence over Python
        else:
            continue
        plain = sha256(files[path])
        digests.append(found.get("digest", plain))
        wholes.append(found.get("whole", plain))
        refers = refers or found.get("refers", False)
    main = main or min(files)
    others = tuple(sorted(files.keys() - {main}))
    return Revision(name, down, main, _joined(digests), others=others, whole=_joined(wholes), refers=refers)


def _joined(digests: list[str]) -> str:
    return digests[0] if len(digests) == 1 else sha256("\n".join(digests).encode())


def _is_sql_upgrade(path: str) -> bool:
    """Whether sqlalchemy-migrate may take a SQL script for an upgrade (``Version._add_script_sql``).

    Its name is ``<number>_<description>_<database>_<operation>.sql``; of databases it takes the server's, else the
    default.
    """
    parts = path.rpartition("/")[2].replace(".sql", "").split("_")
    return parts[-1] == "upgrade" and (len(parts) == _FEWEST or parts[-2] in ("mysql", "default", "mariadb"))
