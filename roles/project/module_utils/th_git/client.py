# SPDX-License-Identifier: Apache-2.0
"""Git, run so that neither a server nor a repository can make it do anything but git's work.

No configuration but ours is read, no hook, filter or credential helper is run, only named transports are
allowed, and every command has a time limit and a line in a log.
"""

from __future__ import annotations

import copy
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage

from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import mask, printable
from ansible.module_utils.th_git.errors import REASON_LIMIT, is_transient, reason
from ansible.module_utils.th_git.process import OUTPUT_LIMIT, Limits, run_git
from ansible.module_utils.th_git.settings import (
    CONFIG,
    FSCK_CONFIG,
    REMOTE_PROTOCOLS,
    WITHOUT_CREDENTIALS,
    as_environment,
    environment,
    with_secrets,
    without_credentials,
)
from ansible.module_utils.th_sandbox.capped_log import CappedLog

LOCAL_TIME_LIMIT = 600.0
"""Seconds for a command that does not use the network."""

OVER_LIMIT = "over_limit"
"""The code of the failure of what goes over a limit."""

AS_IT_IS = "* -text -ident -working-tree-encoding\n"
"""Attributes that outweigh those of a commit: what is read from git's objects is what Python reads in the checkout."""

_GONE = ("couldn't find remote ref", "did not contain", "not our ref", "unadvertised object")
_OVER = {
    "File too large": "a file of more than {0.bytes:,} bytes (checkout_bytes_limit)",
    "unable to write file": "a file of more than {0.bytes:,} bytes (checkout_bytes_limit)",
    "Out of memory": "more than {0.memory:,} bytes of memory (checkout_memory_limit)",
}
"""What git says when a limit of the system has stopped it; or, of a file, when the disk is full."""
_NAMES_FILES = ("checkout", "submodule")
_OF_A_SERVER = re.compile(r"remote: |(?:fatal|error): remote error: ")
_FULL = 16 * 1024 * 1024  # bytes that are free on a disk that is full


def is_local(url: str) -> bool:
    """Whether a repository's URL names a folder of this machine."""
    return url.startswith(("/", "file://"))


def join_url(base: str, project: str) -> str:
    """A project's URL below a base URL."""
    return f"{base.rstrip('/')}/{project}"


def _over(limits: Limits | None, said: str) -> str:
    """Which limit of the system has stopped a command; "" for none."""
    return next((text.format(limits) for sign, text in _OVER.items() if limits and sign in said), "")


def _says(command: str, said: str, error: str) -> bool:
    """Whether git has met an error of the system. Such a line ends with it; others may hold what a server says, and
    names of a commit's files, of which the last line has the end in front of the error."""
    lines = [line.rstrip() for line in said.strip().split("\n") if not _OF_A_SERVER.match(line)]
    return any(line.endswith(error) for line in (lines[-1:] if command in _NAMES_FILES else lines))


class GitError(Exception):
    """A git command that failed: its exit status (None: the time limit) and what it said, masked."""

    def __init__(self, command: str, exit_status: int | None, said: str, seconds: float, output: bytes = b"") -> None:
        self.command = command
        self.output = output
        self.exit = exit_status
        self.said = said.strip()
        self.reason = printable(reason(self.said, exit_status, seconds))[:REASON_LIMIT].rstrip(".")
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
    def transient(self) -> bool:
        """Whether a command that talks to a server may end otherwise a moment later."""
        return is_transient(self.said, self.exit)

    @property
    def ours(self) -> bool:
        """Whether a local command failed for this machine's sake: its time limit, or permissions."""
        timed_out = self.exit is None and self.command in ("clone", "checkout")
        return timed_out or _says(self.command, self.said, "Permission denied")


@dataclass(frozen=True)
class Patience:
    """How often the network is tried, how long each time, and how long to wait between (seconds)."""

    attempts: int = 3
    time_limit: float = 300.0
    backoff: float = 1.0


class Git:
    """Runs git for one job and logs every command with its output and its time.

    `bases` are the URLs as configured; where one has a user and password, git gets it in its environment, and
    arguments, logs and the checkout's configuration have the URL without. `limits` hold for every command that is not
    about `merged` code alone.
    """

    def __init__(
        self, log: CappedLog, bases: Sequence[str], patience: Patience, limits: Limits | None = None
    ) -> None:
        self._log = log
        self.bases = tuple(bases)
        self._patience = patience
        self.limits = limits
        self.small_files: dict[tuple[Path, str], dict[str, bytes | None]] = {}
        """What `th_git.files` has read already, by repository and commit, and by path."""
        self._secrets = [base.partition("://")[2].rpartition("@")[0] for base in bases if mask(base) != base]
        self._config = CONFIG | with_secrets([(base.rstrip("/"), mask(base).rstrip("/")) for base in bases])
        self._environment = environment()
        if any(map(is_local, bases)):
            # a folder of repositories on this machine is mostly another user's, such as Zuul's merger's; git wants to
            # be told so, and hears it from nothing but a file
            self._global = tempfile.NamedTemporaryFile("w", prefix="th-gitconfig-")  # noqa: SIM115 - lives as we do
            self._global.write("[safe]\n\tdirectory = *\n")
            self._global.flush()
            self._environment["GIT_CONFIG_GLOBAL"] = self._global.name

    def anonymous(self) -> Git:
        """The same without anything that would let it in: no password of a URL's, no keys, no agent, no home folder."""
        other = copy.copy(self)
        other._config = CONFIG | WITHOUT_CREDENTIALS
        other._environment = without_credentials(self._environment)
        return other

    def run(
        self,
        *words: str,
        cwd: Path | None = None,
        time_limit: float = LOCAL_TIME_LIMIT,
        given: bytes | None = None,
        local: bool = False,
        config: Mapping[str, str] | None = None,
        quiet: bool = False,
        merged: bool = False,
        output_limit: int = OUTPUT_LIMIT,
    ) -> bytes:
        """Run one command and return its stdout. Raises GitError; StepError when the disk is full, or for a limit.

        `given` goes to stdin. `local` allows repositories on this machine besides remote ones. `config` is added to
        ours. `quiet` keeps stdout, which is data, out of the log. `merged` is for what no change has a hand in.
        """
        variables = self._environment | as_environment({**self._config, **(config or {})})
        if local:
            variables["GIT_ALLOW_PROTOCOL"] = f"{REMOTE_PROTOCOLS}:file"
        limits = None if merged else self.limits
        shown = self._mask(" ".join(words))
        begun = time.monotonic()
        ended = run_git(
            words,
            cwd=cwd,
            environment=variables,
            given=given,
            time_limit=time_limit,
            limits=limits,
            output_limit=output_limit,
        )
        seconds = time.monotonic() - begun
        said = self._mask(ended.errors.decode("utf-8", "replace"))
        status = "" if ended.exit == 0 else f", exit {ended.exit}" if ended.exit is not None else ", killed"
        self._log.line(f"git {printable(shown)} ({seconds:.3f} s{status})")
        heard = "" if quiet else self._mask(ended.output[:65536].decode("utf-8", "replace"))
        for line in (heard + "\n" + said).splitlines():
            if line.strip():
                self._log.line(f"    {printable(line)}")
        if ended.exit != 0:
            full = limits and disk_usage(limits.folder.parent).free < _FULL
            if full or _says(words[0], said, "No space left on device"):
                raise StepError("disk_full", f"The disk is full: git {words[0]} could not write.")
            over = ended.over or _over(limits, said)
            if over:
                raise StepError(OVER_LIMIT, f"What git {words[0]} brings is too much: {over}.")
            raise GitError(words[0], ended.exit, said, seconds, ended.output)
        return ended.output

    def _mask(self, words: str) -> str:
        for secret in self._secrets:
            words = words.replace(f"{secret}@", "")
        return mask(words)

    def trouble(self, url: str) -> GitError | None:
        """What keeps a repository's server from answering at all; None when it answers."""
        try:
            self.run(
                "ls-remote", "--quiet", "--", url, "HEAD", time_limit=self._patience.time_limit, local=is_local(url)
            )
        except GitError as error:
            return error
        return None

    def remote(
        self,
        url: str,
        *words: str,
        cwd: Path | None = None,
        config: Mapping[str, str] | None = None,
        merged: bool = False,
    ) -> bytes:
        """Run one command that talks to the server of `url`, several times when that may help. Raises as `run` does."""
        patience = self._patience
        for attempt in range(1, patience.attempts + 1):
            try:
                return self.run(
                    *words, cwd=cwd, time_limit=patience.time_limit, local=is_local(url), config=config, merged=merged
                )
            except GitError as error:
                if error.gone or error.refused or not error.transient or attempt == patience.attempts:
                    raise
                time.sleep(patience.backoff * attempt)
        raise AssertionError("at least one attempt is made")

    def fetch(self, url: str, ref: str, name: str, cwd: Path) -> None:
        """Fetch a ref that nobody has merged yet, as `name`; its objects are checked. Raises as `run` does."""
        words = ("fetch", "--quiet", "--no-tags", "--", url, f"+{ref}:{name}")
        self.remote(url, *words, cwd=cwd, config=FSCK_CONFIG)

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
        words = ("clone", "--no-hardlinks", "--no-checkout", "--quiet", "--", str(mirror), str(target))
        self.run(*words, local=True, merged=True)
        self.run("config", "remote.origin.url", mask(origin), cwd=target)

    def checkout(self, repository: Path, commit: str) -> None:
        """Put a commit into the working folder, HEAD detached, its files byte for byte as they are in the commit."""
        attributes = repository / ".git" / "info" / "attributes"
        if attributes.parent.parent.is_dir():  # else it is a submodule's, of which nothing is read
            attributes.parent.mkdir(exist_ok=True)
            attributes.write_text(AS_IT_IS)
        self.run("checkout", "--detach", "--force", "--quiet", commit, "--", cwd=repository)
