# SPDX-License-Identifier: Apache-2.0
"""The files that an operator's own steps left in a job's results, if they are published."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

MOST = 200
"""How many files a page links to."""

DEPTH = 3
REFUSED = frozenset(
    "php phtml pht phps phar inc cgi fcgi fpl pl py pyc rb rhtml erb lua asp aspx asa asax ascx ashx asmx"
    " axd cer cshtml vbhtml jsp jspx jspf jsw jhtml do cfm cfml cfc nsf exe dll shtml shtm stm var map"
    " config ini htaccess htpasswd html htm xhtml xht mht mhtml hta svg svgz xml xsl xslt swf js mjs wasm".split()
)
"""File name extensions that the role upload_logs does not publish (its defaults; a test compares them)."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+@=,-]{0,199}")
_ELSEWHERE = ("artifacts", "first-try")
"""Folders whose files the page lists already."""

_MOST_ENTRIES = 5000


def find(results: Path) -> list[tuple[str, int]]:
    """The paths below a folder of results, by name, and their sizes: regular files that will be published."""
    return sorted(_walk(results))[:MOST]


def _walk(results: Path) -> Iterator[tuple[str, int]]:
    waiting, left = [("", 1)], _MOST_ENTRIES
    while waiting:
        folder, depth = waiting.pop()
        try:
            with os.scandir(results / folder) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        return
                    name = f"{folder}{entry.name}"
                    if not published(entry.name) or name in _ELSEWHERE:
                        continue
                    if entry.is_dir(follow_symlinks=False) and depth < DEPTH:
                        waiting.append((f"{name}/", depth + 1))
                    elif entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_nlink == 1:
                        yield name, entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue


def published(name: str) -> bool:
    """Whether a file or a folder of this name is published."""
    parts = name.lower().split(".")[1:]
    return bool(_NAME.fullmatch(name)) and not any(
        part in REFUSED or part.rstrip("0123456789") in REFUSED for part in parts
    )
