# SPDX-License-Identifier: Apache-2.0
"""A git repository of MLflow: three releases in one history, and changes on top as Zuul would hand them over.

The releases are the source distributions of ``mlflow-skinny``, fetched with pip as it is configured here and
pinned by their SHA-256. Their files go straight from the archive into git: nothing is unpacked, nothing run.
Authors and dates are fixed, so the same inputs make the same commits everywhere.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.tools import DemoError, Say, built, key_of, run

PROJECT = "mlflow/mlflow"
TARGET = "master"
CHANGES_DIR = Path(__file__).parent / "changes"

_PACKAGE = "mlflow-skinny"
_WHO = "MLflow developers <dev@mlflow.example>"
GIT_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A developer",
    "GIT_AUTHOR_EMAIL": "developer@mlflow.example",
    "GIT_COMMITTER_NAME": "Zuul",
    "GIT_COMMITTER_EMAIL": "zuul@zuul.example",
    "GIT_AUTHOR_DATE": "1793000000 +0000",
    "GIT_COMMITTER_DATE": "1793000000 +0000",
}


@dataclass(frozen=True)
class Release:
    """A published version of the package, and the branch that it becomes the tip of.

    ``date`` is in seconds since the epoch.
    """

    version: str
    branch: str
    sha256: str
    date: int


RELEASES = (
    Release(
        "2.22.0",
        "stable/2.22",
        "774b58970038990650486cd934d46b7038fc390682c3bde70b4e5106f6857cce",
        1745483053,
    ),
    Release(
        "3.4.0",
        "stable/3.4",
        "1730207e64811b00ebfa2d5b9b899212a7e6a06e8cd49eb3f90888ff7e7bc3a7",
        1758089463,
    ),
    Release(
        "3.17.2",
        TARGET,
        "5f2a0812d019a8f517a58f1377922f75af4f42832be30c8f1441005b51288596",
        1792547877,
    ),
)


@dataclass(frozen=True)
class Change:
    """A change under review: ``ref`` is what Zuul made of it, one commit on top of the target branch."""

    number: int
    name: str
    subject: str
    ref: str
    commit: str

    @property
    def refspec(self) -> str:
        """Where Gerrit keeps its first patch set."""
        return _gerrit_ref(self.number)


@dataclass(frozen=True)
class Repository:
    """``base`` is the folder to serve: base + "/" + PROJECT is the repository, as Zuul joins its URLs."""

    base: Path
    changes: tuple[Change, ...]

    @property
    def path(self) -> Path:
        """The bare repository."""
        return self.base / PROJECT


def build(base: Path, downloads: Path, say: Say = lambda line: None) -> Repository:
    """Build the repository under ``base``, or take what is there; ``downloads`` keeps the packages.

    DemoError when a package cannot be fetched or is not the one that is pinned.
    """
    patches = sorted(CHANGES_DIR.glob("*.patch"))
    key = key_of(repr(RELEASES), *(patch.name + patch.read_text() for patch in patches), _own_source())
    with built(base, key) as fresh:
        if fresh is not None:
            archives = download(downloads, say)
            say("building the git repository")
            path = fresh / PROJECT
            path.mkdir(parents=True)
            git(path, "init", "--quiet", "--bare", f"--initial-branch={TARGET}", ".")
            git(path, "fast-import", "--quiet", "--date-format=raw", data=b"".join(_history(archives)))
            for patch in patches:
                _apply(path, patch)
            git(path, "pack-refs", "--all")
    repository = base / PROJECT
    return Repository(base, tuple(_change(repository, patch) for patch in patches))


def download(folder: Path, say: Say = lambda line: None) -> list[Path]:
    """Fetch the releases' source distributions into ``folder``; those that are there already are kept.

    Oldest first. pip compares the hashes before it opens an archive, and ours are compared here as well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{_PACKAGE.replace('-', '_')}-{release.version}.tar.gz" for release in RELEASES]
    missing = [
        (release, path)
        for release, path in zip(RELEASES, paths, strict=True)
        if not (path.is_file() and _sha256(path) == release.sha256)
    ]
    if missing:
        say(f"fetching {_PACKAGE} " + ", ".join(release.version for release, _ in missing))
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda item: _fetch(*item), missing))
    return paths


def git(path: Path, *arguments: str, data: bytes | None = None, **environment: str) -> str:
    """Run git in a repository with fixed names and dates, whatever the user's configuration says."""
    output = run(["git", *arguments], cwd=path, data=data, environment={**GIT_ENVIRONMENT, **environment})
    return output.decode().strip()


def export(path: Path, commit: str, target: Path) -> None:
    """Write the files of a commit into the new folder ``target``."""
    with _index(path, commit) as index:
        target.mkdir(parents=True)
        git(path, "--git-dir=.", f"--work-tree={target}", "checkout-index", "--all", GIT_INDEX_FILE=index)


def _apply(path: Path, patch: Path) -> None:
    """Make a change of ``<number>-<name>.patch``: a commit message, then a diff."""
    message, mark, diff = patch.read_text().partition("diff --git ")
    number, name = _number_and_name(patch)
    with _index(path, TARGET) as index:
        git(path, "apply", "--cached", "-", data=(mark + diff).encode(), GIT_INDEX_FILE=index)
        commit = _commit(path, index, TARGET, _zuul_ref(name), message)
    git(path, "update-ref", _gerrit_ref(number), commit)


def _change(path: Path, patch: Path) -> Change:
    number, name = _number_and_name(patch)
    ref = _zuul_ref(name)
    commit, subject = git(path, "log", "-1", "--format=%H%n%s", ref).split("\n", 1)
    return Change(number, name, subject, ref, commit)


def _number_and_name(patch: Path) -> tuple[int, str]:
    number, _, name = patch.stem.partition("-")
    return int(number), name


def _zuul_ref(name: str) -> str:
    # Zuul draws these at random; ours only look like it, so that they stay the same.
    return f"refs/zuul/{TARGET}/Z{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _gerrit_ref(number: int) -> str:
    return f"refs/changes/{number % 100:02}/{number}/1"


@contextmanager
def _index(path: Path, commit: str) -> Iterator[str]:
    """Give a temporary index that holds the tree of a commit."""
    with tempfile.TemporaryDirectory(prefix="th-demo-") as folder:
        index = str(Path(folder) / "index")
        git(path, "read-tree", commit, GIT_INDEX_FILE=index)
        yield index


def _commit(path: Path, index: str, parent: str, ref: str, message: str) -> str:
    tree = git(path, "write-tree", GIT_INDEX_FILE=index)
    commit = git(path, "commit-tree", tree, "-p", parent, data=message.strip().encode() + b"\n")
    git(path, "update-ref", ref, commit)
    return commit


def _history(archives: Sequence[Path]) -> Iterator[bytes]:
    """Yield the releases as git's fast-import stream; each replaces all files of the one before."""
    for number, (release, archive) in enumerate(zip(RELEASES, archives, strict=True)):
        message = f"MLflow {release.version}".encode()
        # Branches are made at the end: each name is then just a name of a commit in the one history.
        yield b"commit refs/heads/%s\nmark :%d\n" % (TARGET.encode(), number + 1)
        yield f"author {_WHO} {release.date} +0000\ncommitter {_WHO} {release.date} +0000\n".encode()
        yield b"data %d\n%s\n" % (len(message), message)
        yield b"from :%d\ndeleteall\n" % number if number else b"deleteall\n"
        yield from _files(archive)
        for name in (f"refs/heads/{release.branch}", f"refs/tags/v{release.version}"):
            yield f"reset {name}\nfrom :{number + 1}\n\n".encode()


def _files(archive: Path) -> Iterator[bytes]:
    """Yield an archive's files without its top folder, and without what packaging added to the project."""
    with tarfile.open(archive) as tar:
        for member in tar:
            name = member.name.partition("/")[2]
            if not member.isfile() or name == "PKG-INFO" or ".egg-info/" in name:
                continue
            source = tar.extractfile(member)
            if source is None or any(part in ("..", "", ".git") for part in name.split("/")) or '"' in name:
                raise DemoError(f"{archive.name}: {member.name!r} is no file that a release would have")
            content = source.read()
            mode = b"100755" if member.mode & 0o100 else b"100644"
            yield b'M %s inline "%s"\ndata %d\n%s\n' % (mode, name.encode(), len(content), content)


def _fetch(release: Release, path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text(f"{_PACKAGE}=={release.version} --hash=sha256:{release.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        run([*command, "--no-binary", _PACKAGE, "--dest", folder, "--requirement", str(wanted)])
        fetched = Path(folder) / path.name
        if _sha256(fetched) != release.sha256:
            raise DemoError(f"{path.name} is not the file that is pinned in demo/project.py")
        fetched.rename(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _own_source() -> bytes:
    return Path(__file__).read_bytes()
