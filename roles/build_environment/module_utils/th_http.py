# SPDX-License-Identifier: Apache-2.0
"""What a client asks a proxy for, read strictly: what two readers could understand in two ways is not passed on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ansible.module_utils.th_outside import normal

HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host")
)
"""Headers of one connection, and the host, which is the one that was asked for. Those of proxies come to them."""

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
        """Whether it asks for a connection that only the two ends understand."""
        return not self.path

    @property
    def authority(self) -> str:
        """The host and port, as headers have them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.tunnel or self.port != 80 else host

    def onward(self, to_proxy: bool, authorization: str = "") -> bytes:
        """The request as it is sent on: to where it goes, or to another proxy with what opens that one."""
        target = self.authority if self.tunnel else self.path
        if to_proxy and not self.tunnel:
            target = f"http://{self.authority}{self.path}"
        lines = [f"{self.method} {target} HTTP/1.1", f"Host: {self.authority}"]
        if authorization:
            lines.append(f"Proxy-Authorization: {authorization}")
        if not self.tunnel:
            lines += [f"{name}: {value}" for name, value in passed_on(self.headers)] + ["Connection: close"]
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
    """The headers that are not those of one connection."""
    of_connection = [value for name, value in headers if name.lower() == "connection"]
    named = {word.strip().lower() for value in of_connection for word in value.split(",")}
    left_out = HOP_BY_HOP | named
    return [(name, value) for name, value in headers if name.lower() not in left_out and not _of_proxy(name)]


def _of_proxy(name: str) -> bool:
    return name.lower().startswith("proxy-")


def _length(headers: Sequence[tuple[str, str]]) -> int:
    lengths = {value.strip() for name, value in headers if name.lower() == "content-length"}
    if any(name.lower() == "transfer-encoding" for name, _ in headers):
        raise ValueError("the length of what is sent has to be said")
    if not lengths:
        return 0
    length = lengths.pop()
    if lengths or not re.fullmatch(r"[0-9]{1,15}", length):
        raise ValueError("this is no length")
    return int(length)
