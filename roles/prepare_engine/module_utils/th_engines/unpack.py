# SPDX-License-Identifier: Apache-2.0
"""Unpacking packages and tarballs into an engine's tree, and never outside of it.

Only files, folders and links are made, without an owner, set-user-ID bits or write permission for others. What a server
does not need is left out.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from ansible.module_utils.th_core.remove import remove
from ansible.module_utils.th_core.step import StepError

USR_LINKS = ("bin", "sbin", "lib", "lib64")
"""Links into ``usr``, as on every Debian since 12; packages name files by both paths."""
_BLOCK = 1 << 20
_REFUSED = "Nothing of the archive is used: get it from the vendor again."


class UnpackError(StepError):
    """An archive that cannot be unpacked."""

    def __init__(self, archive: Path, problem: str) -> None:
        super().__init__("playbook_failed", f"{archive}: {problem}")


def unpack_packages(files: Sequence[Path], tree: Path, left_out: Sequence[str]) -> None:
    """Unpack Debian packages into a tree with a ``usr``. Raises StepError, OSError."""
    for name in USR_LINKS:
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    for file in files:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(file)], stdout=subprocess.PIPE) as process:
            try:
                with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                    _extract(archive, file, tree, left_out, strip=0, loose_links=True)
            except tarfile.TarError as error:
                raise UnpackError(file, f"it cannot be unpacked ({error}).") from None
            finally:
                assert process.stdout is not None
                process.stdout.read()
        if process.returncode:
            raise UnpackError(file, "dpkg-deb cannot unpack it.")


def unpack_tarball(path: Path, sha256: str, tree: Path, left_out: Sequence[str]) -> None:
    """Unpack a vendor's tarball with this SHA-256 digest, without its top folder. Raises StepError."""
    try:
        with open(path, "rb") as stream:
            _compare(stream, path, sha256)
            # the same open file, so that what is unpacked is what was compared
            stream.seek(0)
            with tarfile.open(fileobj=stream, mode="r:*") as archive:
                _extract(archive, path, tree, left_out, strip=1, loose_links=False)
    except (tarfile.TarError, EOFError) as error:
        raise UnpackError(path, f"it is no tar archive that can be unpacked ({error}).") from None
    except OSError as error:
        if error.filename != str(path):
            raise
        problem = f"it cannot be read ({error.strerror}): put the tarball there (engines.yaml)."
        raise UnpackError(path, problem) from None


def _compare(stream: BinaryIO, path: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    while block := stream.read(_BLOCK):
        digest.update(block)
    if digest.hexdigest() != sha256.lower():
        problem = f"its SHA-256 digest is {digest.hexdigest()}, and not {sha256} (engines.yaml): fetch it again."
        raise UnpackError(path, problem)


def _extract(
    archive: tarfile.TarFile, path: Path, tree: Path, left_out: Sequence[str], *, strip: int, loose_links: bool
) -> None:
    """Unpack what is not left out. `strip` is the number of folders taken off each name; with `loose_links`, symbolic
    links may lead to where only the box has something."""
    top = tree.resolve()
    for member in archive:
        name = _name(member.name, path, strip)
        if not name or any(fnmatch.fnmatchcase(name, pattern) for pattern in left_out):
            continue
        target = tree / name
        parent = target.parent
        if not parent.resolve().is_relative_to(top):
            raise UnpackError(path, f"{member.name!r} would be outside of the engine's folder. {_REFUSED}")
        if member.isdir():
            # a folder where a link to one is, as in packages that name /lib, is there already
            target.mkdir(mode=0o755, parents=True, exist_ok=True)
            continue
        parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if os.path.lexists(target):
            remove(target)
        if member.isfile():
            content = archive.extractfile(member)
            assert content is not None
            with open(target, "xb") as stream:
                shutil.copyfileobj(content, stream, _BLOCK)
            target.chmod(0o755 if member.mode & 0o111 else 0o644)
        elif member.issym():
            if not loose_links and not (parent / member.linkname).resolve().is_relative_to(top):
                raise UnpackError(path, f"{member.name!r} is a link out of the engine's folder. {_REFUSED}")
            target.symlink_to(member.linkname)
        elif member.islnk():
            other = tree / _name(member.linkname, path, strip)
            if other.parent.resolve().is_relative_to(top) and other.is_file() and not other.is_symlink():
                os.link(other, target)
        else:
            raise UnpackError(path, f"{member.name!r} is neither a file, a folder nor a link. {_REFUSED}")


def _name(name: str, path: Path, strip: int) -> str:
    """The normal form of a member's name, without its first folders; "" for those themselves."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or (strip and name.startswith("/")):
        raise UnpackError(path, f"{name!r} would be outside of the engine's folder. {_REFUSED}")
    return "/".join(parts[strip:])
