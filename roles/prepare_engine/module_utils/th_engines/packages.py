# SPDX-License-Identifier: Apache-2.0
"""Fetching the packages of a suite, and all that they need, without installing anything on this machine.

apt runs with a state, a cache and a source of its own, as if nothing were installed. It needs no root, and it checks
the signatures as always. The machine's settings of apt, such as a proxy, apply.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible.module_utils.th_core.step import StepError

_SETTINGS = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Sources::List;
APT::Default-Release "";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Get::Assume-Yes "true";
APT::Get::AllowUnauthenticated "false";
APT::Get::Download-Only "true";
APT::Update::Error-Mode "any";
APT::Color "false";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Cache::archives "archives";
Dir::Etc::sourcelist "{folder}/engine.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Log "{folder}";
"""
_NOISE = re.compile("Some index files failed|Download is performed unsandboxed")
_PROBLEMS = (
    (
        re.compile(
            r"Unable to locate package (\S{1,200})"
            r"|[Pp]ackage '?([^\s']{1,200})'? (?:is not available|has no installation candidate)"
        ),
        "The suite {suite} has no package {word}: correct engines.{name}.debian.packages (engines.yaml).",
    ),
    (
        re.compile(r"No space left on device|enough free space in (\S{1,400})"),
        "The disk is full ({folder}): free some space. An engine takes up to 1 GiB while it is made.",
    ),
    (
        re.compile(r"does not have a Release file|404 {1,3}Not Found \[[^\n]{0,300}Release|Failed to stat - stat \(2:"),
        "The mirror {mirror} has no suite {suite}: correct engines.{name}.debian.suite (engines.yaml), or set"
        " prepare_engine_source to a mirror that has it.",
    ),
    (
        re.compile(r"NO_PUBKEY|is not signed|signatures couldn't be verified|signatures were invalid|EXPKEYSIG"),
        "The suite {suite} of {mirror} is not signed with a key that this machine knows: upgrade"
        " debian-archive-keyring, or name a keyring in prepare_engine_source. apt: {said}",
    ),
    (
        re.compile(
            r"Could not resolve|Temporary failure|Could not connect|Connection (?:failed|refused|timed out|reset)"
            r"|Unable to connect|Failed to fetch|Network is unreachable|Could not handshake"
        ),
        "The mirror {mirror} cannot be used: {said} See whether this machine reaches it, and run this again; or set"
        " prepare_engine_source to another mirror.",
    ),
)


def fetch(
    name: str, suite: str, packages: Sequence[str], source: str, folder: Path, time_limit: float
) -> list[Path]:
    """Fetch packages and all that they depend on into a folder; returns the files. Raises StepError, OSError."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise StepError(
            "playbook_failed",
            f"engines.{name}.debian needs apt-get and dpkg-deb, which are not here: name a vendor's tarball instead"
            " (engines.yaml).",
        )
    for path in ("state/lists/partial", "cache/archives/partial"):
        (folder / path).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    (folder / "engine.sources").write_text(source)
    settings = folder / "apt.conf"
    settings.write_text(_SETTINGS.format(folder=folder))
    for command in (["update"], ["install", "--no-install-recommends", "--", *packages]):
        said = _run(["apt-get", "-q", "-c", str(settings), *command], folder, time_limit)
        if said is not None:
            raise StepError("playbook_failed", _problem(said, name=name, suite=suite, source=source, folder=folder))
    return sorted((folder / "cache" / "archives").glob("*.deb"))


def versions(files: Sequence[Path]) -> dict[str, str]:
    """The version of each package, by its name."""
    return dict(sorted(map(_version, files)))


def _version(file: Path) -> tuple[str, str]:
    name, version, _ = file.name.split("_")
    return name, version.replace("%3a", ":")


def _run(command: list[str], folder: Path, time_limit: float) -> str | None:
    """None, or what a command said that has failed."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=time_limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StepError(
            "playbook_failed",
            f"apt-get did not end in {time_limit:.0f} s (prepare_engine_time_limit): see whether the mirror answers,"
            " and run this again.",
        ) from error
    return None if done.returncode == 0 else done.stdout


def _problem(said: str, *, name: str, suite: str, source: str, folder: Path) -> str:
    mirror = next(iter(re.findall(r"^URIs: *(\S+)", source, re.MULTILINE)), "")
    mirror = re.sub(r"//[^/@]*@", "//", mirror)
    lines = " ".join(_told(said))[-600:]
    for pattern, words in _PROBLEMS:
        if found := pattern.search(said):
            word = next((group for group in found.groups() if group), "")
            return words.format(name=name, suite=suite, mirror=mirror, word=word, said=lines, folder=folder)
    return f"apt-get has failed: {lines or said[-600:]}"


def _told(said: str) -> Iterator[str]:
    """The errors and warnings that apt has printed, without the user and password in a URL."""
    for line in said.splitlines():
        if line.startswith(("E: ", "W: ")) and not _NOISE.search(line):
            yield re.sub(r"//[^/@\s]*@", "//", line[3:].strip()).rstrip(".") + "."
