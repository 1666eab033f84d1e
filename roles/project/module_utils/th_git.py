# SPDX-License-Identifier: Apache-2.0
"""Git, run so that neither a server nor a repository can make it do anything but git's work.

No configuration but ours is read, no hook, filter or credential helper is run, only named transports are
allowed, and every command has a time limit and a line in a log.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.th_contain import CappedLog, printable
from ansible.module_utils.th_step import StepError

PASSED_ENVIRONMENT = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSH_AUTH_SOCK",
)
"""What git gets of the worker's environment: how to reach the network, and the operator's ssh agent."""

LOCAL_TIME_LIMIT = 600.0
"""Seconds for a command that does not use the network."""

TREE_FILES_LIMIT = 20_000
TREE_BYTES_LIMIT = 64 * 1024 * 1024
FILE_LIMIT = 1024 * 1024

_CONFIG = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.untrackedCache": "false",
    "credential.helper": "",
    "advice.detachedHead": "false",
    "gc.autoDetach": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "init.defaultBranch": "master",
    "protocol.ext.allow": "never",
    "submodule.recurse": "false",
}
# what git itself wrote into the history of old projects, and what nobody can mend any more
_FSCK_CONFIG = {
    "fetch.fsckObjects": "true",
    "fetch.fsck.badTimezone": "ignore",
    "fetch.fsck.missingSpaceBeforeDate": "ignore",
    "fetch.fsck.zeroPaddedFilemode": "ignore",
}

_GONE = ("couldn't find remote ref", "did not contain", "not our ref", "unadvertised object")

_USERINFO = re.compile(r"(?<=://)[^/\s'\"]+@")  # up to the last "@": a password may have one as it is
REMOTE_PROTOCOLS = "http:https:git:ssh"


def mask(words: str) -> str:
    """A text without the user and password of any URL in it."""
    return _USERINFO.sub("", words)


def is_local(url: str) -> bool:
    """Whether a repository's URL names a folder of this machine."""
    return url.startswith(("/", "file://"))


def join_url(base: str, project: str) -> str:
    """A project's URL below a base URL."""
    return f"{base.rstrip('/')}/{project}"


class GitError(Exception):
    """A git command that failed: its exit status (None: the time limit) and what it said, masked."""

    def __init__(self, command: str, exit_status: int | None, said: str, seconds: float, output: bytes = b"") -> None:
        self.command = command
        self.output = output
        self.exit = exit_status
        self.said = said.strip()
        lines = self.said.splitlines() or [f"exit status {exit_status}"]
        start = next(
            (index for index, line in enumerate(lines) if line.startswith(("fatal:", "error:"))), len(lines) - 1
        )
        reason = " ".join(lines[start : start + (2 if lines[start].endswith(":") else 1)])
        if exit_status is None:
            reason = f"no end after {seconds:.0f} s"
        self.reason = printable(reason)[:500].rstrip(".")
        super().__init__(f"git {command}: {self.reason}")

    @property
    def gone(self) -> bool:
        """Whether the server answered that it does not have what was asked for."""
        return any(words in self.said for words in _GONE)

    @property
    def refused(self) -> bool:
        """Whether git did not take the objects because of what they are."""
        return "fsck error" in self.said or "error in object" in self.said

    @property
    def ours(self) -> bool:
        """Whether a local command failed for this machine's sake: its time limit, or permissions."""
        return (self.exit is None and self.command in ("clone", "checkout")) or "Permission denied" in self.said


@dataclass(frozen=True)
class Patience:
    """How often the network is tried, how long each time, and how long to wait between (seconds)."""

    attempts: int = 3
    time_limit: float = 300.0
    backoff: float = 1.0


class Git:
    """Runs git for one job and logs every command with its output and its time.

    `bases` are the URLs as configured; where one has a user and password, git gets it in its environment, and
    arguments, logs and the checkout's configuration have the URL without.
    """

    def __init__(self, log: CappedLog, bases: Sequence[str], patience: Patience) -> None:
        self._log = log
        self.bases = tuple(bases)
        self._patience = patience
        self._secrets = [base.partition("://")[2].rpartition("@")[0] for base in bases if mask(base) != base]
        config = dict(_CONFIG)
        for base in bases:
            if mask(base) != base:
                config[f"url.{base}.insteadOf"] = mask(base)
        self._environment = {
            name: os.environ[name]
            for name in (*PASSED_ENVIRONMENT, "PATH", "HOME", "USER", "LOGNAME")
            if name in os.environ
        }
        self._environment |= {
            "LC_ALL": "C",
            "TZ": "UTC",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "SSH_ASKPASS": "true",
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
        }
        if any(base.startswith(("/", "file://")) for base in bases):
            # a folder of repositories on this machine is mostly another user's, such as Zuul's merger's; git wants to
            # be told so, and hears it from nothing but a file
            self._global = tempfile.NamedTemporaryFile("w", prefix="th-gitconfig-")  # noqa: SIM115 - lives as we do
            self._global.write("[safe]\n\tdirectory = *\n")
            self._global.flush()
            self._environment["GIT_CONFIG_GLOBAL"] = self._global.name
        self._config = config

    def run(
        self,
        *words: str,
        cwd: Path | None = None,
        time_limit: float = LOCAL_TIME_LIMIT,
        given: bytes | None = None,
        local: bool = False,
        fsck: bool = False,
        quiet: bool = False,
    ) -> bytes:
        """Run one command and return its stdout. Raises GitError; StepError when the disk is full.

        `given` goes to stdin. `local` allows repositories on this machine besides remote ones. `fsck` has the
        objects that are fetched checked. `quiet` keeps stdout, which is data, out of the log.
        """
        config = self._config | (_FSCK_CONFIG if fsck else {})
        environment = self._environment | {
            "GIT_ALLOW_PROTOCOL": REMOTE_PROTOCOLS + (":file" if local else ""),
            "GIT_CONFIG_COUNT": str(len(config)),
        }
        for index, (key, value) in enumerate(config.items()):
            environment[f"GIT_CONFIG_KEY_{index}"] = key
            environment[f"GIT_CONFIG_VALUE_{index}"] = value
        shown = self._mask(" ".join(words))
        begun = time.monotonic()
        with tempfile.TemporaryFile() as told:
            if given is not None:
                told.write(given)
                told.seek(0)
            process = subprocess.Popen(
                ["git", *words],
                cwd=cwd,
                env=environment,
                stdin=told,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            try:
                output, errors = process.communicate(timeout=time_limit)
                exit_status: int | None = process.returncode
            except subprocess.TimeoutExpired:
                exit_status = None
                os.killpg(process.pid, signal.SIGKILL)
                output, errors = process.communicate()
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
        seconds = time.monotonic() - begun
        said = self._mask(errors.decode("utf-8", "replace"))
        ended = "" if exit_status == 0 else f", exit {exit_status}" if exit_status is not None else ", killed"
        self._log.line(f"git {printable(shown)} ({seconds:.3f} s{ended})")
        heard = "" if quiet else self._mask(output[:65536].decode("utf-8", "replace"))
        for line in (heard + "\n" + said).splitlines():
            if line.strip():
                self._log.line(f"    {printable(line)}")
        if exit_status != 0:
            if "No space left on device" in said:
                raise StepError("disk_full", f"The disk is full: git {words[0]} could not write.")
            raise GitError(words[0], exit_status, said, seconds, output)
        return output

    def _mask(self, words: str) -> str:
        for secret in self._secrets:
            words = words.replace(f"{secret}@", "")
        return mask(words)

    def answers(self, url: str) -> bool:
        """Whether a repository's server answers at all."""
        try:
            self.run(
                "ls-remote", "--quiet", "--", url, "HEAD", time_limit=self._patience.time_limit, local=is_local(url)
            )
        except GitError:
            return False
        return True

    def remote(self, url: str, *words: str, cwd: Path | None = None, fsck: bool = False) -> bytes:
        """Run one command that talks to the server of `url`, several times when it fails. Raises GitError."""
        patience = self._patience
        for attempt in range(1, patience.attempts + 1):
            try:
                return self.run(*words, cwd=cwd, time_limit=patience.time_limit, local=is_local(url), fsck=fsck)
            except GitError as error:
                if error.gone or error.refused or attempt == patience.attempts:
                    raise
                time.sleep(patience.backoff * attempt)
        raise AssertionError("at least one attempt is made")

    def text(self, *words: str, cwd: Path) -> str:
        """Run one local command and return its stdout as text, stripped."""
        return self.run(*words, cwd=cwd).decode("utf-8", "replace").strip()

    def commit(self, repository: Path, name: str) -> str | None:
        """The commit that a ref or an object's name stands for; None when it is not there."""
        try:
            return self.text(
                "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", cwd=repository
            )
        except GitError:
            return None

    def clone_mirror(self, mirror: Path, target: Path, origin: str) -> None:
        """Clone from a local mirror without sharing a file with it; nothing is checked out yet.

        `origin` is the URL that the clone's remote gets, without user and password.
        """
        self.run("clone", "--no-hardlinks", "--no-checkout", "--quiet", "--", str(mirror), str(target), local=True)
        self.run("config", "remote.origin.url", mask(origin), cwd=target)

    def checkout(self, repository: Path, commit: str) -> None:
        """Put a commit into the working folder, HEAD detached."""
        self.run("checkout", "--detach", "--force", "--quiet", commit, "--", cwd=repository)

    def scripts(
        self,
        repository: Path,
        commit: str,
        folder: str,
        recursive: bool = False,
        wanted: Callable[[str], bool] = lambda path: path.endswith(".py"),
    ) -> list[tuple[str, bytes]]:
        """The regular files (path, content) of a folder in a commit that are `wanted`; none where it has no such.

        Raises StepError when they are beyond all measure.
        """
        prefix = "" if folder in ("", ".") else folder.rstrip("/") + "/"
        words = ["ls-tree", "-z", "-l", "--full-tree", *(["-r"] if recursive else []), commit, "--"]
        listing = self.run(*words, *([prefix] if prefix else []), cwd=repository, quiet=True)
        found: list[tuple[str, str]] = []
        total = 0
        for entry in listing.split(b"\0"):
            meta, _, raw_path = entry.partition(b"\t")
            if not meta:
                continue
            mode, kind, name, size = meta.decode("ascii").split()
            path = raw_path.decode("utf-8", "backslashreplace")
            if kind != "blob" or mode == "120000" or not wanted(path):
                continue
            total += int(size)
            found.append((path, name))
            if len(found) > TREE_FILES_LIMIT or total > TREE_BYTES_LIMIT:
                where = folder or "The repository"
                raise StepError("checkout_failed", f"{where} of {commit[:12]} holds too many files to read.")
        return self._blobs(repository, found)

    def differing(self, repository: Path, one: str, other: str) -> list[str]:
        """The files that differ between two commits."""
        words = ("diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", one, other, "--")
        listing = self.run(*words, cwd=repository, quiet=True)
        return [path.decode("utf-8", "backslashreplace") for path in listing.split(b"\0") if path]

    def conflicts(self, repository: Path, one: str, other: str) -> list[str]:
        """The files that cannot be merged between two commits; none, too, where this git (before 2.38) cannot tell."""
        words = ("merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", one, other)
        try:
            self.run(*words, cwd=repository, quiet=True)
        except GitError as error:
            if error.exit != 1:
                return []
            files = error.output.split(b"\0")[1:]
            return [path.decode("utf-8", "backslashreplace") for path in dict.fromkeys(files) if path]
        return []

    def file(self, repository: Path, commit: str, path: str) -> bytes | None:
        """One file's content in a commit; None when it is not there, no regular file, or too long."""
        found = self.run("ls-tree", "-z", "-l", "--full-tree", commit, "--", path, cwd=repository, quiet=True)
        parts = found.rstrip(b"\0").partition(b"\t")[0].decode("ascii").split()
        if len(parts) != 4 or parts[1] != "blob" or parts[0] == "120000" or int(parts[3]) > FILE_LIMIT:
            return None
        return self._blobs(repository, [(path, parts[2])])[0][1]

    def _blobs(self, repository: Path, wanted: list[tuple[str, str]]) -> list[tuple[str, bytes]]:
        if not wanted:
            return []
        asked = "".join(f"{name}\n" for _, name in wanted).encode("ascii")
        output = self.run("cat-file", "--batch", cwd=repository, given=asked, quiet=True)
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
