# SPDX-License-Identifier: Apache-2.0
"""The operator's proxy from the environment: builds are connected through it, and never see its password."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ansible.module_utils.th_core.step import StepError

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@dataclass(frozen=True)
class Upstream:
    """An HTTP proxy; `authorization` is the value of its header, "" for none."""

    host: str
    port: int
    authorization: str

    @classmethod
    def of(cls, name: str, url: str) -> Upstream:
        """The proxy that a variable names. Raises StepError ``playbook_failed``."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port or 80
        except ValueError:
            parts = urlsplit("")
            host, port = None, 0
        if parts.scheme != "http" or not host:
            raise StepError(
                "playbook_failed",
                f"{name} of the worker's environment has to be http://HOST:PORT: builds reach the network through it.",
            )
        authorization = ""
        if parts.username is not None:
            account = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + base64.b64encode(account.encode()).decode()
        return cls(host, port, authorization)


@dataclass(frozen=True)
class Upstreams:
    """The proxies for ``http`` and ``https``, and the hosts that are reached without one."""

    plain: Upstream | None = None
    tls: Upstream | None = None
    without: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Upstreams:
        """The proxies of an environment; lower-case variables are preferred, as by curl and uv."""

        def value(*names: str) -> Upstream | None:
            for name in names:
                for spelled in (name, name.upper()):
                    if environment.get(spelled):
                        return Upstream.of(spelled, environment[spelled])
            return None

        without = environment.get("no_proxy", environment.get("NO_PROXY", ""))
        return cls(value("http_proxy", "all_proxy"), value("https_proxy", "all_proxy"), without)

    def towards(self, host: str, port: int, tls: bool) -> Upstream | None:
        """The proxy for a host, or None where there is none."""
        if any(_means(entry.strip().lower(), host, port) for entry in self.without.split(",")):
            return None
        return self.tls if tls else self.plain


def _means(entry: str, host: str, port: int) -> bool:
    """Whether an entry of ``no_proxy`` means a host: by its name or a domain's, with a port or without, by its address
    or a network's."""
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        name, _, wanted = entry.partition(":")
        name = name.removeprefix("*").lstrip(".")
        return bool(name) and wanted in ("", str(port)) and f".{host}".endswith(f".{name}")


def without_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without the proxy variables."""
    return {name: value for name, value in environment.items() if name.lower() not in NAMES}
