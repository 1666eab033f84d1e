# SPDX-License-Identifier: Apache-2.0
"""The destinations that a build may connect to: the public internet, the indexes, and what the operator has named."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psutil
from ansible.module_utils.th_core.step import StepError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

INDEX_NAMES = (
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
)
"""Variables of uv and pip that hold URLs or folders of packages."""

WEB = (80, 443)
PORTS = {"http": 80, "https": 443}

NOT_OUTSIDE = tuple(
    map(
        ipaddress.ip_network,
        # listed here, because Python's `is_global` excludes networks that companies use for public servers
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",  # private, RFC 1918
            "100.64.0.0/10",  # a provider's own, RFC 6598
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # what a machine of Azure asks about itself
            "169.254.0.0/16",  # link-local; what machines of clouds ask about themselves
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocols' own, RFC 6890
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # tests of networks, RFC 2544
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
            "::/96",  # unspecified, loopback, IPv4-compatible
            "::ffff:0:0/96",  # IPv4 by another name
            "64:ff9b:1::/48",  # translation within a network, RFC 8215
            "2001::/32",  # Teredo: IPv4 within
            "2002::/16",  # 6to4: IPv4 within
            "fc00::/7",  # private, RFC 4193
            "fe80::/10",  # link-local
            "fec0::/10",  # site-local
            "ff00::/8",  # multicast
        ),
    )
)
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last four bytes are IPv4

_NAMED_INDEX = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*=(?=[a-z]+:|/)")
_HOST = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|\*|(?:\*\.)?[A-Za-z0-9_][A-Za-z0-9_.-]*)(?::(?P<port>\d{1,5}))?")


class RefusedError(Exception):
    """A build may not make this connection; the text says why. `outside` is whether it would leave this network."""

    def __init__(self, why: str, outside: bool = False) -> None:
        super().__init__(f"{why}; sandbox_build_hosts")
        self.outside = outside


@dataclass(frozen=True)
class Named:
    """An entry of ``sandbox_build_hosts``: ``example.org``, ``example.org:8443``, ``*.example.org``, ``*``."""

    host: str
    port: int | None

    @classmethod
    def of(cls, entry: str) -> Named:
        """Parse an entry. Raises StepError ``playbook_failed``."""
        match = _HOST.fullmatch(entry)
        if match is None or int(match["port"] or 1) not in range(1, 65536):
            wanted = "a name (example.org, *.example.org, *) or an address, and a port after a colon if need be"
            raise StepError("playbook_failed", f"sandbox_build_hosts: {entry!r} is not {wanted}.")
        return cls(normal(match["host"]), int(match["port"]) if match["port"] else None)

    def matches(self, host: str, port: int) -> bool:
        """Whether it matches this host (normalized by `normal`) and port."""
        if self.host == "*":
            found = True
        elif self.host.startswith("*."):
            found = host.endswith(self.host[1:])
        else:
            found = host == self.host
        return found and (port == self.port if self.port else port in WEB)

    @property
    def exact(self) -> bool:
        """Whether it names a single host, which is then allowed at any address."""
        return "*" not in self.host


@dataclass(frozen=True)
class Rules:
    """Which hosts and addresses may be connected to. `own` are the machine's addresses."""

    named: tuple[Named, ...]
    indexes: frozenset[tuple[str, int]]
    own: frozenset[Address]

    @classmethod
    def of(cls, entries: Iterable[str], urls: Iterable[str]) -> Rules:
        """With the operator's entries, and the URLs of indexes and files. Raises StepError ``playbook_failed``."""
        named = tuple(map(Named.of, entries))
        return cls(named, frozenset(filter(None, map(address_of, urls))), own_addresses())

    def trusts(self, host: str, port: int) -> bool:
        """Whether the operator has named this very host, so that it may be anywhere. Raises RefusedError."""
        if (host, port) in self.indexes:
            return True
        found = [one for one in self.named if one.matches(host, port)]
        if not found and port not in WEB:
            raise RefusedError("neither port 80 nor 443")
        if self.named and not found:
            raise RefusedError("not named", outside=True)
        return any(one.exact for one in found)

    def check(self, address: Address) -> None:
        """Raise RefusedError for an address that is not outside."""
        if isinstance(address, ipaddress.IPv6Address) and address in _TRANSLATED:
            self.check(ipaddress.IPv4Address(address.packed[-4:]))
        if address in self.own or any(address in network for network in NOT_OUTSIDE):
            raise RefusedError(f"{address} is not outside")


def normal(host: str) -> str:
    """A host in normalized form."""
    return host.strip("[]").rstrip(".").lower()


def own_addresses() -> frozenset[Address]:
    """All addresses of this machine."""
    found = set()
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family in (socket.AF_INET, socket.AF_INET6):
                found.add(ipaddress.ip_address(one.address.partition("%")[0]))
    return frozenset(found)


def index_values(environment: Mapping[str, str]) -> list[str]:
    """The URLs and folders of packages that the variables of uv and pip name."""
    words = [word for name in INDEX_NAMES for word in re.split(r"[\s,]+", environment.get(name, "")) if word]
    return [_NAMED_INDEX.sub("", word) for word in words]


def local_folders(values: Iterable[str]) -> list[Path]:
    """The folders on this machine among the `index_values`."""
    paths = [unquote(urlsplit(value).path) if value.startswith("file:") else value for value in values]
    return [Path(path) for path in paths if path.startswith("/")]


def address_of(url: str) -> tuple[str, int] | None:
    """The host and port of a URL; None where it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (normal(parts.hostname), port) if parts.hostname and port else None
