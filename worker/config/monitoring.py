# SPDX-License-Identifier: Apache-2.0
"""The keys of the configuration for the log and the metrics."""

import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path

from worker import logs
from worker.config import zuul_server
from worker.errors import ConfigError
from worker.inputs.documents import Section

_LEAST_BYTES, _MOST_BYTES = 64 * 1024, 1 << 40


@dataclass(frozen=True)
class Monitoring:
    """`log_format` is one of `logs.FORMS`. `log_max_bytes` 0 means that another program rotates the log.

    `metrics_host` and `metrics_port` are the address of the metrics; port 0 means none.
    """

    log_format: str
    log_max_bytes: int
    metrics_host: str
    metrics_port: int

    def changed(self, old: "Monitoring") -> list[str]:
        """The keys whose values differ from `old`; all of them need a restart."""
        keys = {"log_format": "log_format", "log_max_bytes": "log_max_bytes", "metrics_host": "metrics.host",
                "metrics_port": "metrics.port"}  # fmt: skip
        return [key for name, key in keys.items() if getattr(self, name) != getattr(old, name)]


def read(top: Section) -> Monitoring:
    """Read the keys from the document. Raises ConfigError."""
    section = top.section("metrics", {})
    host = section.text("host", "127.0.0.1")
    if not zuul_server.HOST.fullmatch(host):
        remedy = "use a name or an address, such as 127.0.0.1 or ::"
        raise section.error("host", f"{host!r} is not a valid host name", remedy)
    port = section.integer("port", 0, 0, 65535)
    section.done()
    max_bytes = top.integer("log_max_bytes", 0, 0, _MOST_BYTES)
    if 0 < max_bytes < _LEAST_BYTES:
        raise top.error("log_max_bytes", f"is less than {_LEAST_BYTES}", "0 lets logrotate do it")
    if max_bytes and not top.has("debug_log"):
        raise top.error("log_max_bytes", "is for a log in a file", "give debug_log, too, or take it out")
    return Monitoring(top.choice("log_format", logs.FORMS), max_bytes, host, port)


def url(host: str, port: int) -> str:
    """The URL of a worker's metrics."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"


def demand(path: Path, keys: Monitoring) -> None:
    """Raise ConfigError, about the file at `path`, if the metrics cannot be served at the configured address.

    A worker calls it before it goes to the background, where nobody would see the error.
    """
    host, port = keys.metrics_host, keys.metrics_port
    if not port:
        return
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with contextlib.closing(socket.socket(family, kind, protocol)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except (OSError, UnicodeError) as error:
        raise taken(path, host, port, error) from error


def taken(path: Path, host: str, port: int, error: Exception) -> ConfigError:
    """The error for an address that cannot be listened on."""
    problem = f"{host}:{port} cannot be listened to ({getattr(error, 'strerror', '') or error})"
    return ConfigError(path, "metrics", problem, "use another port or host, or port 0 for no metrics")
