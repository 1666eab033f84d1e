# SPDX-License-Identifier: Apache-2.0
"""The submodules of a checkout: fetched from servers that are allowed, and whose fault it is when they cannot be."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ansible.module_utils.th_git import Git, GitError, is_local, mask
from ansible.module_utils.th_git_files import Survey, survey
from ansible.module_utils.th_git_settings import REMOTE_PROTOCOLS, SUBMODULE_FSCK_CONFIG
from ansible.module_utils.th_step import StepError
from ansible.module_utils.th_text import printable

SUBMODULE_DEPTH = 10
SUBMODULES_LIMIT = 200
"""How many there may be in a checkout, nested ones among them: a repository can hold itself."""
_ASKED = 5  # servers of a change's own that are asked whether they are there

_SCP_FORM = re.compile(r"(?:[A-Za-z0-9._-]+@)?([A-Za-z0-9][A-Za-z0-9.-]*):(?!/?/|:).+")


def check_out_submodules(git: Git, repository: Path, merged: str | None, depth: int = 0, count: int = 0) -> int:
    """Check out the submodules of a fresh checkout, theirs too; returns how many, with the `count` that there were.

    `merged` is a commit whose submodules are nobody's fault. Raises StepError: ``checkout_failed`` for one
    whose URL or path is not allowed, whose commit is not there, or whose server does not answer and is a foreign
    one that `merged` does not name; ``git_unreachable`` for any other whose server does not answer, ``git_refused``
    for any other whose server refuses.
    """
    if not (repository / ".gitmodules").is_file() or (repository / ".gitmodules").is_symlink():
        return count
    modules = _paths(survey(git, repository, "HEAD"))
    if not modules:
        return count
    count += len(modules)
    if depth >= SUBMODULE_DEPTH:
        raise StepError("checkout_failed", f"Submodules are nested more than {SUBMODULE_DEPTH} deep.")
    if count > SUBMODULES_LIMIT:
        raise StepError("checkout_failed", f"There are more than {SUBMODULES_LIMIT} submodules.")
    git.run("submodule", "--quiet", "init", cwd=repository)
    urls = _urls(git, repository, "--local")
    for name, url in urls:
        problem = submodule_problem(url, git.bases)
        if problem:
            raise StepError("checkout_failed", f"Submodule {printable(name)} is not fetched: {problem}.")
        if url.startswith("/"):
            # of a folder that is named as a folder, git would share the files with that repository
            git.run("config", f"submodule.{name}.url", f"file://{url}", cwd=repository)
    if not urls:
        return count
    local = next(filter(is_local, git.bases), "")
    words = ("submodule", "--quiet", "update", "--force", "--checkout")
    try:
        git.remote(local, *words, cwd=repository, config=SUBMODULE_FSCK_CONFIG)
    except GitError as error:
        former = _urls(git, repository, f"--blob={merged}:.gitmodules") if merged else []
        known = {url for _, url in former}
        brought = [url for _, url in urls if url not in known and not _below(url, git.bases)]
        by_change = error.gone or error.refused or any(git.trouble(url) for url in brought[:_ASKED])
        code = "checkout_failed" if by_change else "git_unreachable" if error.transient else "git_refused"
        raise StepError(code, f"The submodules cannot be fetched: {error.reason}.") from None
    for path in modules:
        below = repository / path
        if (below / ".git").is_file() and not below.is_symlink():
            count = check_out_submodules(git, below, None, depth + 1, count)
    return count


def _paths(found: Survey) -> tuple[str, ...]:
    """The places of a commit's submodules. Raises StepError for one that git could take for another place.

    Git has put submodules where they did not belong by way of a symbolic link whose name differed in case alone
    (CVE-2024-32002) or in a character at its end (CVE-2025-48384).
    """
    links = {_folded(path) for path in found.links}
    for path in found.modules:
        if not path.isprintable() or path != path.strip():
            raise StepError("checkout_failed", f"A submodule lies at {path!r}, which is no name for a folder.")
        parts = _folded(path).split("/")
        if any("/".join(parts[:length]) in links for length in range(1, len(parts) + 1)):
            raise StepError("checkout_failed", f"The submodule at {path} lies where a symbolic link leads elsewhere.")
    return found.modules


def _folded(path: str) -> str:
    return "/".join(part.strip().casefold() for part in path.split("/"))


def _below(url: str, bases: Sequence[str]) -> bool:
    return any(url.startswith(mask(base).rstrip("/") + "/") for base in bases)


def _urls(git: Git, repository: Path, source: str) -> list[tuple[str, str]]:
    """The names and URLs of submodules; `source` is an option of ``git config``.

    ``--local`` has what ``git submodule init`` has settled on, relative URLs resolved.
    """
    words = ("config", source, "-z", "--get-regexp", r"^submodule\..*\.url$")
    try:
        listing = git.run(*words, cwd=repository, quiet=True)
    except GitError:
        return []
    found = []
    for entry in listing.decode("utf-8", "replace").split("\0"):
        key, _, url = entry.partition("\n")
        if key:
            found.append((key[len("submodule.") : -len(".url")], url))
    return found


def submodule_problem(url: str, bases: Sequence[str]) -> str:
    """Why a submodule's URL is not allowed; "" when it is."""
    shown = printable(mask(url))
    if not url or url.startswith("-") or not url.isprintable() or " " in url or "\\" in url:
        return f"{shown!r} is not a URL"
    if is_local(url):
        path = os.path.realpath(url.removeprefix("file://"))
        for base in bases:
            root = os.path.realpath(base.removeprefix("file://"))
            if is_local(base) and os.path.commonpath([path, root]) == root:
                return ""
        return f"{shown} is on this machine, outside of the repositories"
    scheme, separator, rest = url.partition("://")
    if separator and scheme in REMOTE_PROTOCOLS.split(":"):
        host = rest.partition("/")[0].rpartition("@")[2]
        return f"{shown} names no host" if not host or host.startswith(("-", ":")) else ""
    if not separator and _SCP_FORM.fullmatch(url):
        return ""
    return f"{shown} is not an http, https, git or ssh URL"
