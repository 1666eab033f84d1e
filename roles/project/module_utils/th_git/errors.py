# SPDX-License-Identifier: Apache-2.0
"""Error messages of git, curl and ssh about a server: the reason in one line, and whether a retry may help.

Git has the same exit status for all of them, so the messages have to be parsed. Git is run with LC_ALL=C.
"""

from __future__ import annotations

import os
import re
import socket
from urllib.parse import unquote, urlsplit

REASON_LIMIT = 500
_LOOKED_AT = 16_384  # characters, at the end: a server can print a lot before

_TRANSIENT = re.compile(
    r"timed? ?out|no end after|connection reset|reset by peer|broken pipe|early eof|unexpected disconnect"
    r"|hung up unexpectedly|connection (?:was )?(?:closed|terminated|aborted)|closed by remote host|empty reply"
    r"|returned error: (?:5\d\d|408|425|429)|too many requests|temporary failure in name resolution|try again"
    r"|network is (?:unreachable|down)|no route to host|host is (?:unreachable|down)|operation too slow"
    r"|rpc failed|not closed cleanly|non-properly terminated|transfer closed|recv failure|send failure"
    r"|invalid index-pack output|bad line length|service unavailable|internal server error|too many connections"
)
"""Errors that may be gone a moment later."""
_REFUSED = re.compile(r"connection refused|failed to connect|couldn't connect|could not connect")
_UNKNOWN_HOST = re.compile(r"could not resolve (?:host|proxy): ([^\s;,]{1,253})")
# errors that outweigh the end of a connection: the server gives its reason and then hangs up
_PERMANENT = re.compile(
    r"authentication failed|could not read (?:username|password)|permission denied|host key|access denied|not exported"
    r"|does not appear to be a git repository|not found|forbidden|certificate|unable to look"
    r"|returned error: (?:3\d\d|4(?:0[0-79]|1\d|2[0-46-8]))|no matching |not allowed|not supported|no such file"
    r"|name or service not known|too many authentication failures|cannot run ssh|dubious ownership"
)
_NO_REASON = ("Could not read from remote repository", "the remote end hung up")


def is_transient(stderr: str, exit_status: int | None) -> bool:
    """Whether a retry may help: with the network, or a server that is down or busy. Everything else stays until
    somebody changes it: an address, a permission, a key, a certificate."""
    if exit_status is None:
        return True
    words = stderr[-_LOOKED_AT:].lower()
    if unknown := _UNKNOWN_HOST.search(words):  # curl has the same message for a name that does not exist
        return _may_be_resolved(unknown[1])
    if _TRANSIENT.search(words):
        # ssh always ends with "hung up", after its own error
        return not _PERMANENT.search(words) or "temporary failure" in words
    # a server that restarts refuses for a moment; over ssh, what refuses is mostly not a git server at all
    return bool(_REFUSED.search(words)) and "ssh: connect to host" not in words


def _may_be_resolved(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror as error:
        return error.errno == socket.EAI_AGAIN
    except (OSError, UnicodeError):
        return False
    return True


def reason(stderr: str, exit_status: int | None, seconds: float) -> str:
    """The line of stderr that has the reason; those of ssh and of the server are preferred to git's."""
    if exit_status is None:
        return f"no end after {seconds:.0f} s"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or [f"exit status {exit_status}"]
    first = next((index for index, line in enumerate(lines) if line.startswith(("fatal:", "error:"))), len(lines) - 1)
    found = lines[first]
    if any(words in found for words in _NO_REASON):
        before = [line for line in lines[:first] if not line.startswith(("@@@", "Warning:", "warning:"))]
        reasons = [line for line in before if "IDENTIFICATION HAS CHANGED" in line] + before[-1:]
        found = ": ".join(line.strip("@ ").rstrip(".") for line in dict.fromkeys(reasons)) or found
    else:
        found = " ".join(lines[first : first + (2 if found.endswith(":") else 1)])
        remote = [line for line in lines[:first] if line.startswith("remote:") and len(line) > len("remote: ")]
        found = f"{found} ({remote[-1].rstrip('.')})" if remote else found
    return found


def folder_problem(url: str) -> str:
    """Why a repository in a folder of this machine cannot be read, in more detail than git gives; "" if it can."""
    path = unquote(urlsplit(url).path) if url.startswith("file://") else url
    if not path.startswith("/"):
        return ""
    place = ""
    for part in path.strip("/").split("/"):
        if place and not os.access(place, os.X_OK):
            return f"the user of this process may not enter {place}"
        place += f"/{part}"
        if not os.path.lexists(place):
            return f"{place} does not exist"
    return "" if os.access(path, os.R_OK | os.X_OK) else f"the user of this process may not read {path}"
