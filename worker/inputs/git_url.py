# SPDX-License-Identifier: Apache-2.0
"""Checks the addresses of git repositories, and masks secrets in them.

Some addresses make git do more than connect: `ext::command` runs the command, `--upload-pack=command` is an option, and
`ssh://-oProxyCommand=...` becomes an option of ssh. See gitremote-helpers(7) and CVE-2017-1000117.
"""

import re
from urllib.parse import urlsplit

SCHEMES = ("http", "https", "git", "ssh", "file")
MAX_LENGTH = 1024

_SCP_LIKE = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9][A-Za-z0-9._-]*:[A-Za-z0-9._~/+-][^:]*")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*|[0-9A-Fa-f:.]+")
# up to the last "@", as a password may contain an unescaped one
_USERINFO = re.compile(r"\b([a-z][a-z0-9+.-]{0,30})://([^/\s@:\"'<>]*)(:[^/\s\"'<>]*)?@", re.IGNORECASE)


def problem(url: str) -> str:
    """Why `url` is not accepted as the address of a repository, or as a base address of several; "" if it is."""
    found = _characters(url)
    if found:
        return found
    if url.startswith("/"):
        return ""
    if "://" in url:
        return _with_scheme(url)
    if _SCP_LIKE.fullmatch(url):
        return ""
    return f"is not an address for git: use {', '.join(SCHEMES)}://, user@host:path or an absolute path"


def _characters(url: str) -> str:
    if not url:
        return "is empty"
    if len(url) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    if any(ord(character) <= 32 or 127 <= ord(character) < 160 for character in url):
        return "holds a space or a control character"
    if re.search(r"\{[{%#]", url):
        return "holds what a template engine would take for a template"
    if "::" in url.split("://", 1)[0] or url.startswith("-"):
        return "names a transport helper or an option of git, which is not allowed"
    return ""


def _with_scheme(url: str) -> str:
    scheme = url.split("://", 1)[0].lower()
    if scheme not in SCHEMES:
        return f"has the scheme {scheme[:20]!r}; only {', '.join(SCHEMES)} are allowed"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is not a valid URL"
    if parts.query or parts.fragment:
        return "has a query or a fragment, which a repository's address has not"
    if scheme == "file":
        return "" if not host and parts.path.startswith("/") else "must be file:/// and an absolute path"
    if not _HOST.fullmatch(host) or (port is not None and port == 0):
        return "has no valid host name"
    if (parts.username or "").startswith("-"):
        return "has a user name that begins with '-'"
    return ""


def mask(text: str) -> str:
    """`text` with the passwords and tokens of all URLs in it replaced by `***`.

    A user name without a password counts as a token in http(s) URLs, but not in ssh URLs.
    """

    def hidden(match: re.Match[str]) -> str:
        scheme, user, password = match.groups()
        if password:
            return f"{scheme}://{user}:***@"
        return match.group(0) if scheme.lower() not in ("http", "https") else f"{scheme}://***@"

    return _USERINFO.sub(hidden, text)
