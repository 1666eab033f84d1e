# SPDX-License-Identifier: Apache-2.0
"""The environment of git, by which it does nothing but git's work, even in a hostile repository.

The configuration is passed in environment variables (``GIT_CONFIG_COUNT``), which override any file and are inherited
by the processes that git starts in submodules. They cannot disable a filter or driver that is named in a repository's
own configuration, so git is never run in a repository that untrusted code could write to.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

PASSED = (
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
    "HOME",
    "USER",
    "LOGNAME",
)
"""The variables that git gets from the worker's environment: how to reach the network, and the ssh agent."""

REMOTE_PROTOCOLS = "http:https:git:ssh"

CONFIG = {
    "advice.detachedHead": "false",
    "core.alternateRefsCommand": "true",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    # names that other file systems treat as .git are refused
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "core.untrackedCache": "false",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    "gc.autoDetach": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "init.defaultBranch": "master",
    "log.showSignature": "false",
    "protocol.ext.allow": "never",
    "submodule.recurse": "false",
}

FSCK_CONFIG = {
    "fetch.fsckObjects": "true",
    # mistakes that git itself made in the history of old projects, which cannot be fixed any more
    "fetch.fsck.badTimezone": "ignore",
    "fetch.fsck.missingSpaceBeforeDate": "ignore",
    "fetch.fsck.zeroPaddedFilemode": "ignore",
    # keep everything in one pack, whose file size can be limited
    "fetch.unpackLimit": "1",
}
"""For fetching a change: malformed objects are refused."""

SUBMODULE_FSCK_CONFIG = FSCK_CONFIG | {
    f"fetch.fsck.{name}": "ignore"
    for name in (
        "badDate", "badDateOverflow", "badEmail", "badName", "missingEmail", "missingNameBeforeEmail",
        "missingSpaceBeforeEmail", "multipleAuthors", "nulInCommit", "zeroPaddedDate",
    )
}  # fmt: skip
"""For submodules, which are fetched with their whole history: bad dates and names of authors do no harm."""

_SET = {
    "GIT_ALLOW_PROTOCOL": REMOTE_PROTOCOLS,
    "GIT_ASKPASS": "true",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_PROXY_COMMAND": "",  # overrides core.gitProxy
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15",
    "GIT_TEMPLATE_DIR": "",  # no hooks of this machine in new repositories
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
    "SSH_ASKPASS": "true",
    "TZ": "UTC",
}


WITHOUT_CREDENTIALS = {"http.emptyAuth": "false", "http.delegation": "none"}
"""Configuration for anonymous access: no Kerberos ticket, either."""

_NO_HOME = "/dev/null/home"
_SSH_OPTIONS = (
    "IdentityAgent=none IdentitiesOnly=yes IdentityFile=/dev/null PubkeyAuthentication=no HostbasedAuthentication=no "
    "GSSAPIAuthentication=no"
)


def without_credentials(variables: Mapping[str, str]) -> dict[str, str]:
    """An environment for git without the operator's agent, keys and home folder (``.netrc``, ``.ssh/config``)."""
    kept = {name: value for name, value in variables.items() if name not in ("SSH_AUTH_SOCK", "USER", "LOGNAME")}
    # ssh takes the home folder from the password file and ignores HOME
    options = " ".join(f"-o {option}" for option in _SSH_OPTIONS.split())
    return {**kept, "HOME": _NO_HOME, "GIT_SSH_COMMAND": f"{_SET['GIT_SSH_COMMAND']} -F /dev/null {options}"}


def environment() -> dict[str, str]:
    """The environment of every git command, without the configuration."""
    # a relative folder in PATH would be one in the checkout
    places = [place for place in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(place)]
    passed = {name: os.environ[name] for name in PASSED if name in os.environ}
    return {**passed, **_SET, "PATH": os.pathsep.join(places)}


def as_environment(config: Mapping[str, str]) -> dict[str, str]:
    """A configuration as environment variables (git-config(1), ENVIRONMENT)."""
    variables = {"GIT_CONFIG_COUNT": str(len(config))}
    for index, (key, value) in enumerate(config.items()):
        variables[f"GIT_CONFIG_KEY_{index}"] = key
        variables[f"GIT_CONFIG_VALUE_{index}"] = value
    return variables


def with_secrets(bases: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The configuration that makes git use the URL with user and password in place of the masked one.

    Git compares prefixes: without the slash, ``http://host`` would match ``http://host.example.org``.
    """
    return {f"url.{whole}/.insteadOf": f"{masked}/" for whole, masked in bases if whole != masked}
