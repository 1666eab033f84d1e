# SPDX-License-Identifier: Apache-2.0
"""Running git safely: neither a server nor a repository can make it do anything else.

Git reads no configuration but this module's, runs no hook, filter or credential helper, and uses only the transports
that are named here. Every command has a time limit and is logged.
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
from ansible.module_utils.th_git.process import OUTPUT_LIMIT, GitLimits, run_git
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
"""The error code for what exceeds a limit."""

AS_IT_IS = "* -text -ident -working-tree-encoding\n"
"""Attributes that override those of a commit, so that checked-out files are byte for byte the objects in git."""

_GONE = ("couldn't find remote ref", "did not contain", "not our ref", "unadvertised object")
_OVER = {
    "File too large": "a file of more than {0.bytes:,} bytes (checkout_bytes_limit)",
    "unable to write file": "a file of more than {0.bytes:,} bytes (checkout_bytes_limit)",
    "Out of memory": "more than {0.memory:,} bytes of memory (checkout_memory_limit)",
}
"""Git's messages when a resource limit has stopped it; those about files also appear when the disk is full."""
_NAMES_FILES = ("checkout", "submodule")
_OF_A_SERVER = re.compile(r"remote: |(?:fatal|error): remote error: ")
_FULL = 16 * 1024 * 1024  # with fewer free bytes, a disk counts as full


def is_local(url: str) -> bool:
    """Whether a repository's URL is a folder on this machine."""
    return url.startswith(("/", "file://"))


def join_url(base: str, project: str) -> str:
    """A project's URL below a base URL."""
    return f"{base.rstrip('/')}/{project}"


def _over(limits: GitLimits | None, stderr: str) -> str:
    """Which resource limit has stopped a command; "" for none."""
    return next((text.format(limits) for sign, text in _OVER.items() if limits and sign in stderr), "")


def _has_system_error(command: str, stderr: str, error: str) -> bool:
    """Whether git has met this error of the operating system, which is then the end of a line. The server's lines are
    skipped; where git prints names of a commit's files, which can imitate an error, only the last line counts."""
    lines = [line.rstrip() for line in stderr.strip().split("\n") if not _OF_A_SERVER.match(line)]
    return any(line.endswith(error) for line in (lines[-1:] if command in _NAMES_FILES else lines))


class GitError(Exception):
    """A git command that failed: its exit status (None: its time limit) and its stderr, masked."""

    def __init__(self, command: str, exit_status: int | None, stderr: str, seconds: float, output: bytes = b"") -> None:
        self.command = command
        self.output = output
        self.exit = exit_status
        self.stderr = stderr.strip()
        self.reason = printable(reason(self.stderr, exit_status, seconds))[:REASON_LIMIT].rstrip(".")
        super().__init__(f"git {command}: {self.reason}")

    @property
    def gone(self) -> bool:
        """Whether the server answered that it does not have the requested object or ref."""
        return any(words in self.stderr for words in _GONE)

    @property
    def refused(self) -> bool:
        """Whether git refused the objects because they are malformed."""
        return "fsck error" in self.stderr or "error in object" in self.stderr

    @property
    def transient(self) -> bool:
        """Whether a command that talks to a server may succeed a moment later."""
        return is_transient(self.stderr, self.exit)

    @property
    def machine_fault(self) -> bool:
        """Whether a local command failed because of this machine: a time limit, or permissions."""
        timed_out = self.exit is None and self.command in ("clone", "checkout")
        return timed_out or _has_system_error(self.command, self.stderr, "Permission denied")


@dataclass(frozen=True)
class RetryPolicy:
    """How often a network command is tried, how long each attempt may take, and how long to wait between (seconds)."""

    attempts: int = 3
    time_limit: float = 300.0
    backoff: float = 1.0


class Git:
    """Runs git for one job and logs every command with its output and its time.

    `bases` are the URLs as configured; a user and password in one of them reach git in its environment only, and
    arguments, logs and the checkout's configuration have the URL without them. `limits` apply to every command except
    those that are about `merged` code alone.
    """

    def __init__(
        self, log: CappedLog, bases: Sequence[str], retries: RetryPolicy, limits: GitLimits | None = None
    ) -> None:
        self._log = log
        self.bases = tuple(bases)
        self._patience = retries
        self.limits = limits
        self.small_files: dict[tuple[Path, str], dict[str, bytes | None]] = {}
        """The files that `th_git.files` has read already, by repository and commit, and by path."""
        self._secrets = [base.partition("://")[2].rpartition("@")[0] for base in bases if mask(base) != base]
        self._config = CONFIG | with_secrets([(base.rstrip("/"), mask(base).rstrip("/")) for base in bases])
        self._environment = environment()
        if any(map(is_local, bases)):
            # repositories on this machine mostly belong to another user, such as that of Zuul's merger; git uses them
            # only when a configuration file declares them safe
            self._global = tempfile.NamedTemporaryFile("w", prefix="th-gitconfig-")  # noqa: SIM115 - kept by self
            self._global.write("[safe]\n\tdirectory = *\n")
            self._global.flush()
            self._environment["GIT_CONFIG_GLOBAL"] = self._global.name

    def anonymous(self) -> Git:
        """The same without credentials: no password from a URL, no keys, no agent, no home folder."""
        other = copy.copy(self)
        other._config = CONFIG | WITHOUT_CREDENTIALS
        other._environment = without_credentials(self._environment)
        return other

    def run(
        self,
        *words: str,
        cwd: Path | None = None,
        time_limit: float = LOCAL_TIME_LIMIT,
        stdin: bytes | None = None,
        local: bool = False,
        config: Mapping[str, str] | None = None,
        quiet: bool = False,
        merged: bool = False,
        output_limit: int = OUTPUT_LIMIT,
    ) -> bytes:
        """Run one command and return its stdout. Raises GitError, and StepError for a full disk or an exceeded limit.

        `local` also allows repositories on this machine. `config` is added to the configuration of this object.
        `quiet` keeps stdout out of the log. `merged` says that only merged code is involved.
        """
        variables = self._environment | as_environment({**self._config, **(config or {})})
        if local:
            variables["GIT_ALLOW_PROTOCOL"] = f"{REMOTE_PROTOCOLS}:file"
        limits = None if merged else self.limits
        shown = self._mask(" ".join(words))
        begun = time.monotonic()
        result = run_git(
            words,
            cwd=cwd,
            environment=variables,
            stdin=stdin,
            time_limit=time_limit,
            limits=limits,
            output_limit=output_limit,
        )
        seconds = time.monotonic() - begun
        stderr = self._mask(result.errors.decode("utf-8", "replace"))
        status = "" if result.exit == 0 else f", exit {result.exit}" if result.exit is not None else ", killed"
        self._log.line(f"git {printable(shown)} ({seconds:.3f} s{status})")
        stdout = "" if quiet else self._mask(result.output[:65536].decode("utf-8", "replace"))
        for line in (stdout + "\n" + stderr).splitlines():
            if line.strip():
                self._log.line(f"    {printable(line)}")
        if result.exit != 0:
            full = limits and disk_usage(limits.folder.parent).free < _FULL
            if full or _has_system_error(words[0], stderr, "No space left on device"):
                raise StepError("disk_full", f"The disk is full: git {words[0]} could not write.")
            over = result.over or _over(limits, stderr)
            if over:
                raise StepError(OVER_LIMIT, f"What git {words[0]} brings is too much: {over}.")
            raise GitError(words[0], result.exit, stderr, seconds, result.output)
        return result.output

    def _mask(self, words: str) -> str:
        for secret in self._secrets:
            words = words.replace(f"{secret}@", "")
        return mask(words)

    def server_error(self, url: str) -> GitError | None:
        """The error of a repository's server that does not answer at all; None when it answers."""
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
        """Run one command that talks to the server of `url`, with retries when they may help. Raises as `run` does."""
        retries = self._patience
        for attempt in range(1, retries.attempts + 1):
            try:
                return self.run(
                    *words, cwd=cwd, time_limit=retries.time_limit, local=is_local(url), config=config, merged=merged
                )
            except GitError as error:
                if error.gone or error.refused or not error.transient or attempt == retries.attempts:
                    raise
                time.sleep(retries.backoff * attempt)
        raise AssertionError("at least one attempt is made")

    def fetch(self, url: str, ref: str, name: str, cwd: Path) -> None:
        """Fetch an unmerged ref as `name`, and check its objects. Raises as `run` does."""
        words = ("fetch", "--quiet", "--no-tags", "--", url, f"+{ref}:{name}")
        self.remote(url, *words, cwd=cwd, config=FSCK_CONFIG)

    def text(self, *words: str, cwd: Path) -> str:
        """Run one local command and return its stdout as text, stripped."""
        return self.run(*words, cwd=cwd).decode("utf-8", "replace").strip()

    def commit(self, repository: Path, name: str) -> str | None:
        """The commit that a ref or an object name resolves to; None when it does not exist."""
        try:
            return self.text(
                "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", cwd=repository
            )
        except GitError:
            return None

    def clone_mirror(self, mirror: Path, target: Path, origin: str) -> None:
        """Clone from a local mirror without sharing files with it, and without checking anything out.

        `origin` is the URL for the clone's remote; its user and password are left out.
        """
        words = ("clone", "--no-hardlinks", "--no-checkout", "--quiet", "--", str(mirror), str(target))
        self.run(*words, local=True, merged=True)
        self.run("config", "remote.origin.url", mask(origin), cwd=target)

    def checkout(self, repository: Path, commit: str) -> None:
        """Check a commit out with a detached HEAD, its files byte for byte as they are in the commit."""
        attributes = repository / ".git" / "info" / "attributes"
        if attributes.parent.parent.is_dir():  # otherwise it is a submodule, whose files are not read
            attributes.parent.mkdir(exist_ok=True)
            attributes.write_text(AS_IT_IS)
        self.run("checkout", "--detach", "--force", "--quiet", commit, "--", cwd=repository)
