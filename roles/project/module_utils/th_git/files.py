# SPDX-License-Identifier: Apache-2.0
"""Reading the contents of commits from git's objects, without a checkout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_git.client import OVER_LIMIT, Git, GitError
from ansible.module_utils.th_git.process import OUTPUT_LIMIT
from ansible.module_utils.th_parse import lfs

TREE_FILES_LIMIT = 20_000
TREE_BYTES_LIMIT = 64 * 1024 * 1024
FILE_LIMIT = 1024 * 1024
SMALL_FILE = 64 * 1024

LFS_FILES_LIMIT = 1000

_NAME = 1024  # bytes of listing per file
_LINK = "120000"
MODULE = "160000"
"""The mode of a submodule."""


@dataclass(frozen=True)
class Entry:
    """An entry of a commit's tree; `size` is 0 for a submodule."""

    mode: str
    name: str
    size: int
    path: str


def entries(git: Git, repository: Path, *words: str, output_limit: int = OUTPUT_LIMIT) -> Iterator[Entry]:
    """The files of a commit, as ``git ls-tree`` lists them with `words`. Raises GitError."""
    words = ("ls-tree", "-z", "-l", "--full-tree", *words)
    listing = git.run(*words, cwd=repository, quiet=True, output_limit=output_limit)
    for entry in listing.split(b"\0"):
        meta, _, path = entry.partition(b"\t")
        if meta:
            mode, kind, name, size = meta.decode("ascii").split()
            if kind == "blob" and not size.isdigit():
                raise GitError("ls-tree", 1, f"fatal: object {name} is missing", 0)
            if kind != "tree":
                yield Entry(mode, name, int(size) if kind == "blob" else 0, path.decode("utf-8", "backslashreplace"))


@dataclass(frozen=True)
class Survey:
    """The size of a whole commit, and the paths in it that lead elsewhere: symbolic links and submodules."""

    files: int
    bytes: int
    links: frozenset[str]
    modules: tuple[str, ...]


def survey(git: Git, repository: Path, commit: str) -> Survey:
    """Examine a whole commit before it is checked out. Raises GitError; StepError when it exceeds git's limits."""
    files = size = 0
    links, modules = set(), []
    limits = git.limits
    try:
        most = min(_NAME * limits.files, OUTPUT_LIMIT) if limits else OUTPUT_LIMIT
        found = list(entries(git, repository, "-r", commit, "--", output_limit=most))
    except StepError as error:
        if error.code != OVER_LIMIT or limits is None:
            raise
        detail = f"{commit[:12]} holds too many files; the limit is {limits.files:,} (checkout_files_limit)."
        raise StepError(OVER_LIMIT, detail) from None
    for entry in found:
        files += 1
        size += entry.size
        if entry.mode == _LINK:
            links.add(entry.path)
        elif entry.mode == MODULE:
            modules.append(entry.path)
    if limits and files > limits.files:
        detail = f"{commit[:12]} holds {files:,} files; the limit is {limits.files:,} (checkout_files_limit)."
        raise StepError(OVER_LIMIT, detail)
    if limits and size > limits.bytes:
        detail = f"{commit[:12]} holds {size:,} bytes; the limit is {limits.bytes:,} (checkout_bytes_limit)."
        raise StepError(OVER_LIMIT, detail)
    return Survey(files, size, frozenset(links), tuple(modules))


def scripts(
    git: Git,
    repository: Path,
    commit: str,
    folder: str,
    recursive: bool = False,
    wanted: Callable[[str], bool] = lambda path: path.endswith(".py"),
) -> list[tuple[str, bytes]]:
    """The regular files (path, content) of a folder in a commit that are `wanted`; none when there is no such folder.

    Raises StepError when there is far too much of them.
    """
    prefix = "" if folder in ("", ".") else folder.rstrip("/") + "/"
    words = [*(["-r"] if recursive else []), commit, "--", *([prefix] if prefix else [])]
    found: list[tuple[str, str]] = []
    total = 0
    for entry in entries(git, repository, *words):
        if entry.mode in (_LINK, MODULE) or not wanted(entry.path):
            continue
        total += entry.size
        found.append((entry.path, entry.name))
        if len(found) > TREE_FILES_LIMIT or total > TREE_BYTES_LIMIT:
            where = folder or "The repository"
            raise StepError("checkout_failed", f"{where} of {commit[:12]} holds too many files to read.")
    return _blobs(git, repository, found)


def differing(git: Git, repository: Path, one: str, other: str) -> list[str]:
    """The files that differ between two commits."""
    words = ("diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", one, other, "--")
    listing = git.run(*words, cwd=repository, quiet=True)
    return [path.decode("utf-8", "backslashreplace") for path in listing.split(b"\0") if path]


def containing(git: Git, repository: Path, commit: str, word: str, places: Sequence[str]) -> list[str]:
    """The files of a commit, below any of `places`, that contain a word. Raises GitError."""
    if not places:
        return []
    words = ("grep", "--name-only", "--full-name", "--fixed-strings", "--text", "--no-textconv", "-z", "-e", word)
    below = [f":(top,literal){place}" for place in places]
    try:
        listing = git.run(*words, commit, "--", *below, cwd=repository, quiet=True)
    except GitError as error:
        if error.exit == 1 and not error.stderr:
            return []
        raise
    start = len(commit) + 1
    return [path.decode("utf-8", "backslashreplace")[start:] for path in listing.split(b"\0") if path]


def conflicts(git: Git, repository: Path, one: str, other: str) -> list[str]:
    """The files with merge conflicts between two commits; none as well where git cannot say (before 2.38)."""
    words = ("merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", one, other)
    try:
        git.run(*words, cwd=repository, quiet=True)
    except GitError as error:
        if error.exit != 1:
            return []
        files = error.output.split(b"\0")[1:]
        return [path.decode("utf-8", "backslashreplace") for path in dict.fromkeys(files) if path]
    return []


def lfs_pointers(git: Git, repository: Path, commit: str) -> list[str]:
    """The files of a checked-out commit that are only pointers to contents in Git LFS."""
    listing = git.run("ls-files", "-z", "--", ":(top,attr:filter=lfs)", cwd=repository, quiet=True)
    tracked = {path.decode("utf-8", "backslashreplace") for path in listing.split(b"\0") if path}
    if not tracked:
        return []
    short = [
        (entry.path, entry.name)
        for entry in entries(git, repository, "-r", commit, "--")
        if entry.path in tracked and entry.mode not in (_LINK, MODULE) and 0 < entry.size <= lfs.POINTER_LIMIT
    ]
    found = _blobs(git, repository, short[:LFS_FILES_LIMIT])
    return sorted(path for path, content in found if lfs.is_pointer(content))


def file(git: Git, repository: Path, commit: str, path: str) -> bytes | None:
    """One file's content in a commit; None when it does not exist, is not a regular file, or is too long."""
    return files(git, repository, commit, [path])[path]


def files(git: Git, repository: Path, commit: str, paths: Iterable[str]) -> dict[str, bytes | None]:
    """The contents of several files in a commit, by path, as `file` has each.

    `commit` is a full hash, whose contents never change: small files are read once and kept.
    """
    known = git.small_files.setdefault((repository, commit), {})
    found = {path: known[path] for path in paths if path in known}
    unknown = [path for path in dict.fromkeys(paths) if path not in known]
    if unknown:
        found.update(dict.fromkeys(unknown))
        there = [
            (entry.path, entry.name)
            for entry in entries(git, repository, commit, "--", *unknown)
            if entry.mode not in (_LINK, MODULE) and entry.path in found and entry.size <= FILE_LIMIT
        ]
        found.update(_blobs(git, repository, there))
        known.update((path, found[path]) for path in unknown if len(found[path] or b"") <= SMALL_FILE)
    return found


def _blobs(git: Git, repository: Path, wanted: list[tuple[str, str]]) -> list[tuple[str, bytes]]:
    if not wanted:
        return []
    asked = "".join(f"{name}\n" for _, name in wanted).encode("ascii")
    output = git.run("cat-file", "--batch", cwd=repository, stdin=asked, quiet=True)
    files: list[tuple[str, bytes]] = []
    position = 0
    for path, name in wanted:
        end = output.index(b"\n", position)
        header = output[position:end].decode("ascii").split()
        if len(header) != 3 or header[0] != name:
            raise GitError("cat-file", 1, f"fatal: object {name} is missing", 0)
        size = int(header[2])
        files.append((path, output[end + 1 : end + 1 + size]))
        position = end + 1 + size + 1
    return files
