# SPDX-License-Identifier: Apache-2.0
"""The submodules of a checkout: fetching them from allowed servers, and deciding whose fault a failure is."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import mask, printable
from ansible.module_utils.th_git.client import Git, GitError, is_local
from ansible.module_utils.th_git.files import MODULE, Entry, Survey, entries, survey
from ansible.module_utils.th_git.settings import REMOTE_PROTOCOLS, SUBMODULE_FSCK_CONFIG

SUBMODULE_DEPTH = 10
SUBMODULES_LIMIT = 200
"""Maximum number in a checkout, including nested ones: a repository can contain itself."""
_WITHOUT = (
    " (those that merged code does not name are fetched without the passwords and keys of this worker: merge the entry"
    " in .gitmodules by a change of its own, or make the repository readable for everybody)"
)
_ASKED = 5  # at most so many servers that a change brings are probed

_SCP_FORM = re.compile(r"(?:[A-Za-z0-9._-]+@)?([A-Za-z0-9][A-Za-z0-9.-]*):(?!/?/|:).+")


@dataclass(frozen=True)
class Submodule:
    """A submodule of a checkout, with its URL as git resolved it; `named` is whether merged code has the same URL at
    that path, and `commits` are those that merged code has it at."""

    name: str
    path: str
    url: str
    named: bool = False
    commits: tuple[str, ...] = ()


def check_out_submodules(
    git: Git, repository: Path, merged: Sequence[str], depth: int = 0, count: int = 0, excuse_merged: bool = True
) -> int:
    """Check out the submodules of a fresh checkout, recursively; returns their number added to `count`.

    Submodules that the commits `merged` have are fetched with the worker's own passwords and keys, all others without.
    With `excuse_merged`, a failure of the former is never the checkout's fault. Raises StepError: ``checkout_failed``
    for a submodule whose URL or path is not allowed, whose commit does not exist, which needs credentials that it does
    not get, or whose server does not answer and is a foreign one that `merged` does not name; ``git_unreachable`` for
    any other whose server does not answer, and ``git_refused`` for any other whose server refuses.
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
    for name, url in urls.items():
        problem = submodule_problem(url, git.bases)
        if problem:
            raise StepError("checkout_failed", f"Submodule {printable(name)} is not fetched: {problem}.")
        if url.startswith("/"):
            # given a plain path, git would share files with that repository
            git.run("config", f"submodule.{name}.url", f"file://{url}", cwd=repository)
    if not urls:
        return count
    found = _compared(git, repository, urls, merged)
    known = {one.path for one in found if one.named}
    _update(git, repository, [path for path in modules if path in known], [], excuse_merged=excuse_merged)
    others = [one for one in found if not one.named]
    foreign = [one for one in others if not _below(one.url, git.bases)] if excuse_merged else []
    apart = {one.path for one in foreign}
    anonymous = git.anonymous()
    paths = [path for path in modules if path not in known]
    _update(anonymous, repository, [path for path in paths if path not in apart],
            [one for one in others if one not in foreign], excuse_merged=excuse_merged)
    # a server that the change has chosen is not the worker's business, and what it reports cannot be trusted
    remaining = [path for path in paths if path in apart]
    _update(anonymous, repository, remaining, foreign, excuse_merged=excuse_merged, chosen_by_change=True)
    for path in modules:
        below = repository / path
        if (below / ".git").is_file() and not below.is_symlink():
            commits = [commit for one in found if one.path == path and one.named for commit in one.commits]
            count = check_out_submodules(git, below, commits, depth + 1, count, excuse_merged)
    return count


def _update(
    git: Git,
    repository: Path,
    paths: Sequence[str],
    unmerged: Sequence[Submodule],
    excuse_merged: bool,
    chosen_by_change: bool = False,
) -> None:
    """Fetch and check out some submodules. `unmerged` are those that merged code does not name; `chosen_by_change`
    says that all of them are on servers that the change has chosen."""
    if not paths:
        return
    local = next(filter(is_local, git.bases), "")
    words = ("submodule", "--quiet", "update", "--force", "--checkout", "--")
    try:
        git.remote(
            local, *words, *(f":(top,literal){path}" for path in paths), cwd=repository, config=SUBMODULE_FSCK_CONFIG
        )
    except GitError as error:
        foreign = [one.url for one in unmerged if not _below(one.url, git.bases)]
        if not excuse_merged:
            named = _urls(git, repository, "--local").values()
            foreign = [url for url in named if not _below(url, git.bases)]
        private = len(foreign) < len(unmerged) and not error.transient
        by_change = error.gone or error.refused or private or chosen_by_change
        by_change = by_change or any(git.server_error(url) for url in foreign[:_ASKED])
        code = "checkout_failed" if by_change else "git_unreachable" if error.transient else "git_refused"
        why = _WITHOUT if private and not error.gone and not error.refused else ""
        raise StepError(code, f"The submodules cannot be fetched: {error.reason}{why}.") from None


def _compared(git: Git, repository: Path, urls: Mapping[str, str], merged: Sequence[str]) -> list[Submodule]:
    """The initialized submodules of a checkout, each compared with those of merged commits.

    One counts as `named` only if all entries of .gitmodules for its path have a URL that merged code has.
    """
    try:
        remote = git.text("config", "--get", "remote.origin.url", cwd=repository)
    except GitError:
        remote = ""
    known: set[str] = set()
    commits: dict[str, list[str]] = {}
    for commit in merged:
        known |= {resolved(remote, url) for url in _urls(git, repository, f"--blob={commit}:.gitmodules").values()}
        for entry in _entries(git, repository, commit):
            commits.setdefault(entry.path, []).append(entry.name)
    paths = _values(git, repository, "--blob=HEAD:.gitmodules", "path")
    bad = {path for name, path in paths if urls.get(name) is not None and urls[name] not in known}
    return [
        Submodule(name, path, urls[name], path not in bad, tuple(commits.get(path, ())))
        for name, path in dict(paths).items()
        if name in urls
    ]


def _entries(git: Git, repository: Path, commit: str) -> list[Entry]:
    try:
        return [entry for entry in entries(git, repository, "-r", commit, "--") if entry.mode == MODULE]
    except GitError:  # a submodule's commit, which may not exist
        return []


def resolved(remote: str, url: str) -> str:
    """A URL of .gitmodules, resolved like ``git submodule init`` does it if it is relative (git's ``relative_url``)."""
    if not url.startswith(("./", "../")) or not remote:
        return url
    base, colon = remote.removesuffix("/"), False
    while url.startswith(("./", "../")):
        if url.startswith("../"):
            above, slash, _ = base.rpartition("/")
            colon_found = ""
            if not slash:
                above, colon_found, _ = base.rpartition(":")
                colon = colon or bool(colon_found)
            base = above if slash or colon_found else "."
        url = url.partition("/")[2]
    return f"{base}{':' if colon else '/'}{url}".removesuffix("/")


def _paths(found: Survey) -> tuple[str, ...]:
    """The paths of a commit's submodules. Raises StepError for one that git could take for another path.

    Git has written submodules to other places through a symbolic link whose name differed only in case
    (CVE-2024-32002) or in a trailing character (CVE-2025-48384).
    """
    links = {_folded(path) for path in found.links}
    for path in found.modules:
        if not path.isprintable() or path != path.strip():
            raise StepError("checkout_failed", f"A submodule lies at {path!r}, which is not a valid folder name.")
        parts = _folded(path).split("/")
        if any("/".join(parts[:length]) in links for length in range(1, len(parts) + 1)):
            raise StepError("checkout_failed", f"The submodule at {path} lies where a symbolic link leads elsewhere.")
    return found.modules


def _folded(path: str) -> str:
    return "/".join(part.strip().casefold() for part in path.split("/"))


def _below(url: str, bases: Sequence[str]) -> bool:
    return any(url.startswith(mask(base).rstrip("/") + "/") for base in bases)


def _urls(git: Git, repository: Path, source: str) -> dict[str, str]:
    """The URLs of submodules by name; `source` is an option of ``git config``.

    With ``--local``, they are those that ``git submodule init`` has stored, with relative URLs resolved.
    """
    return dict(_values(git, repository, source, "url"))


def _values(git: Git, repository: Path, source: str, key: str) -> list[tuple[str, str]]:
    words = ("config", source, "-z", "--get-regexp", rf"^submodule\..*\.{key}$")
    try:
        listing = git.run(*words, cwd=repository, quiet=True)
    except GitError:
        return []
    found = []
    for entry in listing.decode("utf-8", "surrogateescape").split("\0"):
        name, _, value = entry.partition("\n")
        if name:
            found.append((name[len("submodule.") : -len(f".{key}")], value))
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
