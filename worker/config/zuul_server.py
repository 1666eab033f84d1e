# SPDX-License-Identifier: Apache-2.0
"""The section `zuul_server` of the configuration: the Gearman server, and the base URL of the repositories."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from worker.config import tls
from worker.inputs import git_url
from worker.inputs.documents import Section

EMBEDDED = "embedded"
"""The value of gearman_host for a Gearman server inside the worker's own process."""

HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_-]{0,254}")
"""A host name, or an IPv4 or IPv6 address."""


KEYS = (
    "gearman_host", "gearman_port", "git_url", "git_origin", "gerrit_site", "zuul_site", "gearman_ssl_key",
    "gearman_ssl_cert", "gearman_ssl_ca", "gearman_ssl_name",
)  # fmt: skip
"""The keys of this section."""

PathOf = Callable[[Section, str], Path | None]


@dataclass(frozen=True)
class ZuulServer:
    """Where jobs come from. `origin` is the base URL of the repositories with branches and tags; "" means ZUUL_URL.

    `ssl` are the files for TLS to the Gearman server, None without TLS.
    """

    origin: str = field(repr=False)
    gearman_host: str
    gearman_port: int
    ssl: tls.Files | None = None

    @property
    def embedded(self) -> bool:
        """Whether the worker is its own Gearman server."""
        return self.gearman_host == EMBEDDED


def read(section: Section, path_of: PathOf) -> ZuulServer:
    """Read the section `zuul_server`; `path_of` returns the absolute path in a key, or None. Raises ConfigError."""
    section.expect(*KEYS)
    host = section.text("gearman_host")
    if not HOST.fullmatch(host):
        remedy = f"use a name, an address or {EMBEDDED}"
        raise section.error("gearman_host", f"{host!r} is not a valid host name", remedy)
    port = section.integer("gearman_port", 4730, 0, 65535)
    if port == 0 and host != EMBEDDED:
        remedy = f"0 (any free port) goes with gearman_host: {EMBEDDED} only"
        raise section.error("gearman_port", "must be a port from 1 to 65535", remedy)
    urls = {name: _git_base(section, name) for name in ("git_url", "git_origin", "gerrit_site")}
    section.text("zuul_site", "")
    files = _tls(section, path_of, host)
    section.done()
    return ZuulServer(urls["git_url"] or urls["git_origin"] or urls["gerrit_site"], host, port, files)


def _tls(section: Section, path_of: PathOf, host: str) -> tls.Files | None:
    keys = {part: f"gearman_ssl_{part}" for part in tls.PARTS}
    paths = {part: path_of(section, key) for part, key in keys.items()}
    named = section.has("gearman_ssl_name")
    name = section.text("gearman_ssl_name", host)
    if not named and not any(paths.values()):
        return None
    if host == EMBEDDED:
        given = next((keys[part] for part, path in paths.items() if path), "gearman_ssl_name")
        remedy = "take it out: the embedded server is reachable from this machine only"
        raise section.error(given, f"does not go with gearman_host: {EMBEDDED}", remedy)
    for part, path in paths.items():
        if path is None:
            remedy = f"give all of {', '.join(keys.values())}, or none of them"
            raise section.error(keys[part], "is missing", remedy)
    files = tls.Files(**{part: path for part, path in paths.items() if path}, name=name)
    try:
        files.check()
    except tls.FileError as error:
        raise section.error(keys[error.part], error.problem, error.remedy) from error
    return files


def _git_base(section: Section, name: str) -> str:
    url = section.text(name, "")
    problem = git_url.problem(url) if url else ""
    if problem:
        raise section.error(name, f"{git_url.mask(url)!r} {problem}")
    return url.rstrip("/") or url
