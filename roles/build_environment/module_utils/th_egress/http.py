# SPDX-License-Identifier: Apache-2.0
"""Strict parsing of requests to a proxy: ambiguous ones, which another parser could read differently, are refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ansible.module_utils.th_egress.rules import normal

HOP_BY_HOP = frozenset(
    ("connection", "http2-settings", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host")
)
"""Hop-by-hop headers, and Host, which is set to the requested one. Headers for proxies are treated likewise."""
FRAMING = frozenset(("content-length", "transfer-encoding"))
"""Headers that determine the end of a message, which the sender's ``Connection`` header must not remove."""
_NEVER_OF_ONE_CONNECTION = FRAMING | {"host", "expect", "content-encoding", "content-range", "content-type"}

_LINE = re.compile(r"(?P<method>[A-Z]{1,20}) (?P<target>[!-~]+) HTTP/1\.[01]")
_HEADER = re.compile(r"(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*+(?P<value>[ \t!-~\x80-\xff]*)")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True)
class Request:
    """A request to a proxy. `path` is "" for a tunnel; `length` is that of the body, in bytes."""

    method: str
    host: str
    port: int
    path: str
    headers: Sequence[tuple[str, str]]
    length: int

    @classmethod
    def of(cls, head: bytes) -> Request:
        """Read the head of a request. Raises ValueError."""
        first, headers = read_head(head)
        line = _LINE.fullmatch(first)
        if line is None:
            raise ValueError("this is no request of HTTP")
        if line["method"] == "CONNECT":
            authority, path = line["target"], ""
        else:
            parts = urlsplit(line["target"])
            if parts.scheme != "http":
                raise ValueError("a proxy takes absolute URLs of http, and CONNECT")
            authority, path = parts.netloc, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        found = _AUTHORITY.fullmatch(authority)
        port = int(found["port"] or 80) if found else 0
        if found is None or port not in range(1, 65536) or (not path and not found["port"]):
            raise ValueError("this is no host")
        return cls(line["method"], normal(found["host"]), port, path, headers, _length(headers))

    @property
    def tunnel(self) -> bool:
        """Whether it asks for a tunnel."""
        return not self.path

    @property
    def authority(self) -> str:
        """The host and port in the form of headers."""
        full = authority(self.host, self.port)
        return full if self.tunnel or self.port != 80 else full.removesuffix(":80")

    def onward(self, to_proxy: bool, authorization: str = "") -> bytes:
        """A request that is no tunnel as it is sent on: to where it goes, or to another proxy with its password."""
        target = f"http://{self.authority}{self.path}" if to_proxy else self.path
        lines = [f"{self.method} {target} HTTP/1.1", f"Host: {self.authority}"]
        if authorization:
            lines.append(f"Proxy-Authorization: {authorization}")
        lines += [f"{name}: {value}" for name, value in _with_length(passed_on(self.headers), str(self.length))]
        return ("\r\n".join([*lines, "Connection: close"]) + "\r\n\r\n").encode("latin-1")


def authority(host: str, port: int) -> str:
    """A host and port in one."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tunnel(to: str, authorization: str = "") -> bytes:
    """The request for another proxy's tunnel, with what opens that one."""
    lines = [f"CONNECT {to} HTTP/1.1", f"Host: {to}"]
    lines += [f"Proxy-Authorization: {authorization}"] if authorization else []
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def read_head(head: bytes) -> tuple[str, list[tuple[str, str]]]:
    """The first line and the headers of a message. Raises ValueError."""
    first, *rows = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    headers = []
    for row in rows:
        match = _HEADER.fullmatch(row)
        if match is None:
            raise ValueError("this is no header of HTTP")
        headers.append((match["name"], match["value"]))
    return first, headers


def passed_on(headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The end-to-end headers. A ``Connection`` header cannot remove one that frames the message."""
    left_out = (HOP_BY_HOP | _options(headers)) - {"content-length"}
    return [(name, value) for name, value in headers if name.lower() not in left_out and not _of_proxy(name)]


def answered(headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers of a response that are passed on, with exactly one that determines its end. Raises ValueError."""
    coded = [(name, value) for name, value in headers if name.lower() == "transfer-encoding"]
    lengths = {value.strip() for name, value in headers if name.lower() == "content-length"}
    if len(coded) > 1 or (not coded and (len(lengths) > 1 or not all(map(_is_length, lengths)))):
        raise ValueError("an answer without one end")
    return _with_length(passed_on(headers), "" if coded else next(iter(lengths), "")) + coded


def _with_length(headers: Sequence[tuple[str, str]], length: str) -> list[tuple[str, str]]:
    """The headers with their Content-Length replaced by a single one, or by none ("")."""
    places = [index for index, (name, _) in enumerate(headers) if name.lower() == "content-length"]
    kept = [one for index, one in enumerate(headers) if index not in places]
    if places and length:
        kept.insert(places[0], ("Content-Length", length))
    return kept


def _options(headers: Sequence[tuple[str, str]]) -> frozenset[str]:
    """The headers that a message declares as hop-by-hop."""
    lists = [value for name, value in headers if name.lower() in ("connection", "proxy-connection")]
    return frozenset(word.strip().lower() for value in lists for word in value.split(","))


def _of_proxy(name: str) -> bool:
    return name.lower().startswith("proxy-")


def _length(headers: Sequence[tuple[str, str]]) -> int:
    """The length of a request's body. Raises ValueError if it is ambiguous."""
    if _options(headers) & _NEVER_OF_ONE_CONNECTION:
        raise ValueError("a Connection header cannot take away what belongs to the message")
    # servers that pass headers on as variables confuse the two
    if any("_" in name and name.lower().replace("_", "-") in FRAMING | {"host"} for name, _ in headers):
        raise ValueError("this is no header of HTTP")
    lengths = {value.strip() for name, value in headers if name.lower() == "content-length"}
    if any(name.lower() == "transfer-encoding" for name, _ in headers):
        raise ValueError("the request needs a Content-Length")
    if not lengths:
        return 0
    length = lengths.pop()
    if lengths or not _is_length(length):
        raise ValueError("this is no length")
    return int(length)


def _is_length(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,15}", text) is not None
