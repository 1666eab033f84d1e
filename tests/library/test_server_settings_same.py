# SPDX-License-Identifier: Apache-2.0
"""Whether a setting is in effect, as servers write it; a server that is asked for its options, told from a table."""

import pytest
from ansible.module_utils.th_dataset import server_settings
from ansible.module_utils.th_dataset.server_settings import apply, blamed, demand, fitting
from ansible.module_utils.th_dataset.settings import Given
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_server.engine import of_machine
from ansible.module_utils.th_server.mariadb import ServerError

from . import conftest  # noqa: F401 - ansible.module_utils knows the roles' helpers
from .test_meter import Fake

KNOWN = {"sql_mode": "", "optimizer_switch": "mrr=off,semijoin=on", "collation_server": "x"}


@pytest.mark.parametrize(
    ("name", "wanted", "found", "same"),
    [
        ("lower_case_table_names", "1", "0", False),
        ("max_allowed_packet", "1500", "1024", True),
        ("max_allowed_packet", "16777216", "1048576", False),
        ("innodb_strict_mode", "ON", "1", True),
        ("innodb_strict_mode", "OFF", "ON", False),
        ("sql_mode", "ANSI_QUOTES,STRICT_TRANS_TABLES", "STRICT_TRANS_TABLES,ANSI_QUOTES", True),
        ("sql_mode", "ANSI_QUOTES", "ANSI_QUOTES,STRICT_TRANS_TABLES", False),
        ("sql_mode", "", "STRICT_TRANS_TABLES", False),
        ("sql_mode", "ANSI", "REAL_AS_FLOAT,PIPES_AS_CONCAT,ANSI_QUOTES,IGNORE_SPACE,ANSI", True),
        ("collation_server", "utf8_general_ci", "utf8mb3_general_ci", True),
        ("collation_server", "utf8mb4_general_ci", "utf8mb3_general_ci", False),
        ("optimizer_switch", "mrr=on", "index_merge=on,mrr=on", True),
        ("optimizer_switch", "mrr=on,semijoin=default", "mrr=off,semijoin=on", False),
        ("max_statement_time", "30", "30.000000", True),
        ("transaction_isolation", "READ-COMMITTED", "READ-COMMITTED", True),
        ("time_zone", "+00:00", "SYSTEM", False),
    ],
)
def test_whether_a_setting_is_in_effect(name: str, wanted: str, found: str, same: bool) -> None:
    server = Fake(("GLOBAL VARIABLES", [(name, found), ("system_time_zone", "CET")]))
    if same:
        demand(server, {name: wanted})
        return
    with pytest.raises(SeedError, match=f"{name} is "):
        demand(server, {name: wanted})


def test_older_names_of_settings_and_zones_that_are_the_same() -> None:
    demand(Fake(("GLOBAL VARIABLES", [("tx_isolation", "SERIALIZABLE")])), {"transaction_isolation": "SERIALIZABLE"})
    zones = [("time_zone", "SYSTEM"), ("system_time_zone", "UTC")]
    demand(Fake(("GLOBAL VARIABLES", zones)), {"time_zone": "+00:00"})
    demand(Fake(("GLOBAL VARIABLES", zones)), {"time_zone": "SYSTEM"})


def test_a_setting_that_a_server_does_not_know_is_missed_where_it_changes_something() -> None:
    demand(Fake(("GLOBAL VARIABLES", [])), {"sql_require_primary_key": "OFF"})
    with pytest.raises(SeedError, match="does not know sql_require_primary_key"):
        demand(Fake(("GLOBAL VARIABLES", [])), {"sql_require_primary_key": "ON"})


def test_what_another_kind_of_server_has_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_settings, "_known", lambda engine: KNOWN)
    printed = {
        "sql_mode": "ONLY_FULL_GROUP_BY,TIME_TRUNCATE_FRACTIONAL",
        "optimizer_switch": "hash_join=on,mrr=on",
        "sql_require_primary_key": "OFF",
        "sql_auto_is_null": "OFF",
    }
    assert fitting(Given(printed, frozenset(printed)), of_machine()) == {
        "sql_mode": "ONLY_FULL_GROUP_BY", "optimizer_switch": "mrr=on", "sql_auto_is_null": "OFF",
    }  # fmt: skip
    with pytest.raises(SeedError, match="mariadbd of the engine system does not know hash_join: take it out"):
        fitting(Given(printed), of_machine())
    with pytest.raises(SeedError, match=r"sql_require_primary_key: .*null"):
        fitting(Given({"sql_require_primary_key": "ON"}, frozenset(["sql_require_primary_key"])), of_machine())


def test_how_a_server_gets_its_settings() -> None:
    options = ["--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci", "--userstat=ON"]
    assert apply({}, options, "/b", importing=False).options == tuple(options)
    values = {"collation_server": "latin1_bin", "log_bin": "ON", "max_statement_time": "3", "time_zone": "Europe/Rome"}
    walking = apply(values, options, "/b", importing=False)
    assert walking.options[:3] == ("--userstat=ON", "--collation-server=latin1_bin", "--log-bin=/b")
    assert {"--max-statement-time=3", "--character-set-server=latin1"} <= set(walking.options)
    assert walking.statements == ("SET GLOBAL time_zone = 'Europe/Rome';",)
    importing = apply(values, options, "", importing=True)
    assert importing.options == ("--userstat=ON", "--collation-server=latin1_bin", "--character-set-server=latin1")
    assert "log_bin" not in importing.values


def test_a_server_that_does_not_start_says_which_setting_it_is() -> None:
    error = ServerError("it did not start:\n[ERROR] mariadbd: unknown variable 'old-mode=X'\n[ERROR] Aborting")
    found = blamed(error, {"sql_mode": "", "old_mode": "X"})
    assert found is not None and "server_settings.old_mode" in str(found) and "Aborting" not in str(found)
    assert blamed(ServerError("[ERROR] InnoDB: no space"), {"old_mode": "X"}) is None
    unknown = ServerError("2026-11-30 [ERROR] Unknown/unsupported storage engine: RocksDB")
    assert "default_storage_engine" in str(blamed(unknown, {"log_bin": "ON", "default_storage_engine": "RocksDB"}))
