# SPDX-License-Identifier: Apache-2.0
"""What git is told by its environment, so that it does git's work and nothing else, whoever has made the repository.

The configuration comes by the environment (``GIT_CONFIG_COUNT``), which outweighs any file; git hands it on to the
processes that it starts in submodules. A filter or a driver that a repository's own configuration names cannot be
switched off so: that is why git is never run in a repository that other people's code could write to.
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
"""What git gets of the worker's environment: how to reach the network, and the operator's ssh agent."""

REMOTE_PROTOCOLS = "http:https:git:ssh"

CONFIG = {
    "advice.detachedHead": "false",
    "core.alternateRefsCommand": "true",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    # names that are .git to other file systems are refused here, too
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
    # what git itself wrote into the history of old projects, and what nobody can fix any more
    "fetch.fsck.badTimezone": "ignore",
    "fetch.fsck.missingSpaceBeforeDate": "ignore",
    "fetch.fsck.zeroPaddedFilemode": "ignore",
    # of any size as one pack: that is a file whose size can be limited
    "fetch.unpackLimit": "1",
}
"""For what a change brings: objects that are not sound are refused."""

SUBMODULE_FSCK_CONFIG = FSCK_CONFIG | {
    f"fetch.fsck.{name}": "ignore"
    for name in (
        "badDate", "badDateOverflow", "badEmail", "badName", "missingEmail", "missingNameBeforeEmail",
        "missingSpaceBeforeEmail", "multipleAuthors", "nulInCommit", "zeroPaddedDate",
    )
}  # fmt: skip
"""For submodules, of which the whole history comes: who wrote what when is nobody's harm."""

_SET = {
    "GIT_ALLOW_PROTOCOL": REMOTE_PROTOCOLS,
    "GIT_ASKPASS": "true",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_PROXY_COMMAND": "",  # outweighs core.gitProxy
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15",
    "GIT_TEMPLATE_DIR": "",  # no hooks of the machine in a new repository
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
    "SSH_ASKPASS": "true",
    "TZ": "UTC",
}


WITHOUT_CREDENTIALS = {"http.emptyAuth": "false", "http.delegation": "none"}
"""Configuration for servers that are asked as anybody may ask them: not even by a ticket of Kerberos."""

_NOBODYS = "/dev/null/home"
_SSH_OPTIONS = (
    "IdentityAgent=none IdentitiesOnly=yes IdentityFile=/dev/null PubkeyAuthentication=no HostbasedAuthentication=no "
    "GSSAPIAuthentication=no"
)


def without_credentials(variables: Mapping[str, str]) -> dict[str, str]:
    """An environment of git's without the operator's agent, keys and home folder (``.netrc``, ``.ssh/config``)."""
    kept = {name: value for name, value in variables.items() if name not in ("SSH_AUTH_SOCK", "USER", "LOGNAME")}
    # ssh looks for the home folder in the password file, whatever HOME is
    options = " ".join(f"-o {option}" for option in _SSH_OPTIONS.split())
    return {**kept, "HOME": _NOBODYS, "GIT_SSH_COMMAND": f"{_SET['GIT_SSH_COMMAND']} -F /dev/null {options}"}


def environment() -> dict[str, str]:
    """The environment of every git command, but for the configuration."""
    # a relative place on it would be one in the checkout
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
    """The configuration that gives git the URLs with user and password for those (masked) that it is told.

    Git compares beginnings of texts: without the slash, ``http://host`` would be that of ``http://host.example.org``.
    """
    return {f"url.{whole}/.insteadOf": f"{masked}/" for whole, masked in bases if whole != masked}
