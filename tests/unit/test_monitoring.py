# SPDX-License-Identifier: Apache-2.0
"""The keys of how a worker is seen from outside."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kit import ROOT
from tests.kit.service import write_config
from worker.config import Config, config, monitoring
from worker.config.monitoring import Monitoring
from worker.errors import ConfigError

Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    return lambda **keys: config.load(write_config(tmp_path, 4730, **keys))


def test_by_default_there_is_a_log_of_text_and_nothing_else(load: Load) -> None:
    assert load().monitoring == Monitoring("text", 0, "127.0.0.1", 0)


def test_all_of_them(load: Load) -> None:
    keys: dict[str, Any] = {"log_format": "json", "log_max_bytes": 1_000_000, "debug_log": "log"}
    assert load(**keys, metrics={"port": 9119, "host": "::"}).monitoring == Monitoring("json", 1_000_000, "::", 9119)


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"log_format": "xml"}, "log_format: is 'xml'; use one of text, json"),
        ({"log_max_bytes": 1_000_000}, "log_max_bytes: is for a log in a file; give debug_log, too, or take it out"),
        ({"log_max_bytes": 10, "debug_log": "log"}, "log_max_bytes: is less than 65536; 0 lets logrotate do it"),
        ({"log_max_bytes": -1}, "log_max_bytes: must be a whole number from 0 to "),
        ({"metrics": 9119}, "metrics: must be a mapping of keys"),
        ({"metrics": {"port": 65536}}, "metrics.port: must be a whole number from 0 to 65535"),
        ({"metrics": {"host": "a b"}}, "metrics.host: 'a b' is not a valid host name; use a name or an address"),
        ({"metrics": {"surprise": 1}}, "metrics.surprise: is not a known key; there are: host, port"),
    ],
)
def test_what_is_wrong_is_named(load: Load, tmp_path: Path, keys: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**keys)
    assert str(caught.value).startswith(f"{tmp_path}/config.json: {error}")


def test_a_running_worker_keeps_its_own(load: Load) -> None:
    old = load(debug_log="log")
    keys: dict[str, Any] = {"log_format": "json", "log_max_bytes": 100_000, "metrics": {"host": "::1", "port": 1}}
    new, waiting = load(debug_log="log", **keys).while_running(old)
    assert new.monitoring == old.monitoring
    assert waiting == ["log_format", "log_max_bytes", "metrics.host", "metrics.port"]


class TestPort:
    def test_a_free_one(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
        monitoring.demand(Path("c"), Monitoring("text", 0, "127.0.0.1", port))

    def test_none(self) -> None:
        monitoring.demand(Path("c"), Monitoring("text", 0, "no.such.host.invalid", 0))

    @pytest.mark.parametrize("host", ["no.such.host.invalid", "a..b", "192.0.2.1"])
    def test_a_host_that_is_not_ours(self, host: str) -> None:
        with pytest.raises(ConfigError, match=f"^c: metrics: {host}:9119 cannot be listened to .*; use another"):
            monitoring.demand(Path("c"), Monitoring("text", 0, host, 9119))


def test_the_document_has_every_key() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    for key in ("log_format", "log_max_bytes", "metrics", "port", "host"):
        assert f"| `{key}` |" in text
