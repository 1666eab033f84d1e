# SPDX-License-Identifier: Apache-2.0
"""The settings of a server that a dataset may name: which, with which values, and from what a client prints."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit import ROOT
from worker.config import datasets, server_settings
from worker.config.server_settings import ALIASES, SETTINGS, SettingError, read, refused
from worker.errors import DatasetError

DOCUMENT = (ROOT / "docs" / "datasets.md").read_text()
BESIDE = {"tx_isolation", "system_time_zone", "version"}
"""What the statement prints besides: older servers' name of a setting, and what tells where the values come from."""
DATASET = {
    "project": "org/toy", "type": "mysql", "database": "toy", "db_user": "toy", "db_pass": "toy", "seed_data": "x.sql",
}  # fmt: skip

TABS = "Variable_name\tValue\nsql_mode\t\nlower_case_table_names\t1\ndatadir\t/var/lib/mysql/\nversion\t8.0.36\n"
TABLE = """+------------------------+-----------------+
| Variable_name          | Value           |
+------------------------+-----------------+
| lower_case_table_names | 1               |
| sql_mode               |                 |
| plugin_dir             | /usr/lib/mysql/ |
+------------------------+-----------------+
3 rows in set (0.001 sec)
"""


def settings(given: Any, **more: Any) -> dict[str, str]:
    return dict(read({"server_settings": given, **more}, Path("/nowhere")).values)


def load(folder: Path, **keys: Any) -> datasets.Dataset:
    path = folder / "toy.json"
    path.write_text(json.dumps(DATASET | keys))
    return datasets.load(path)


def test_there_is_one_list_for_both_halves() -> None:
    link = ROOT / "roles" / "restore_datasets" / "module_utils" / "th_dataset" / "settings.py"
    assert link.read_bytes() == Path(server_settings.__file__).read_bytes()


def test_the_documented_statement_asks_for_every_setting() -> None:
    (statement,) = re.findall(r"^    SHOW GLOBAL VARIABLES.*?;$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"'(\w+)'", statement)) == SETTINGS.keys() | BESIDE


def test_every_setting_is_explained() -> None:
    table = DOCUMENT.split("\n### The settings\n")[1].split("\n### ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == sorted(SETTINGS)


@pytest.mark.parametrize(
    ("name", "value", "same"),
    [
        ("sql_mode", "strict_trans_tables, ANSI_QUOTES", "STRICT_TRANS_TABLES,ANSI_QUOTES"),
        ("sql_mode", ["ANSI"], "ANSI"),
        ("sql_mode", "", ""),
        ("sql-mode", "ANSI", "ANSI"),
        ("SQL_MODE", "ANSI", "ANSI"),
        ("innodb_strict_mode", False, "OFF"),
        ("log_bin", 1, "ON"),
        ("lower_case_table_names", 1, "1"),
        ("max_allowed_packet", "16M", "16777216"),
        ("group_concat_max_len", 2**64 - 1, str(2**64 - 1)),
        ("tx_isolation", "read committed", "READ-COMMITTED"),
        ("default_time_zone", "America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("time_zone", "+05:30", "+05:30"),
        ("max_statement_time", 1.5, "1.5"),
        ("optimizer_switch", "mrr=on,semijoin=default", "mrr=on,semijoin=default"),
        ("disabled_storage_engines", "MyISAM, ARCHIVE", "myisam,archive"),
        ("block_encryption_mode", "aes-256-cbc", "aes-256-cbc"),
        ("gtid_mode", "on_permissive", "ON_PERMISSIVE"),
    ],
)
def test_a_setting_and_its_value(name: str, value: object, same: str) -> None:
    assert settings({name: value}) == {server_settings.canonical(name): same}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("sql_mod", "ANSI", "did you mean sql_mode"),
        ("no_such_thing_at_all", "1", "is not a known setting"),
        ("sql_mode", "STRICT_TRANS_TABELS", "did you mean STRICT_TRANS_TABLES"),
        ("sql_mode", "ANSI\nplugin_load=x.so", "no setting has"),
        ("collation_server", "utf8mb4_bin --datadir=/", "letters, digits"),
        ("collation_server", "", "letters, digits"),
        ("default_storage_engine", "InnoDB; x", "letters, digits"),
        ("time_zone", "'; DROP DATABASE mysql; --", "zone's name"),
        ("time_zone", "../../etc/passwd", "zone's name"),
        ("innodb_strict_mode", "maybe", "must be ON or OFF"),
        ("lower_case_table_names", 2, "one of 0, 1"),
        ("lower_case_table_names", True, "one of 0, 1"),
        ("innodb_page_size", 5000, "one of 4096"),
        ("max_allowed_packet", -1, "a number from"),
        ("group_concat_max_len", True, "a number from"),
        ("group_concat_max_len", "9" * 30, "a number from"),
        ("optimizer_switch", "mrr", "flag=on"),
        ("disabled_storage_engines", "MyISAM;x", "storage engines"),
        ("block_encryption_mode", "aes-255-cbc", "such as aes-256-cbc"),
        ("sql_mode", "A" * 100_000, "no setting has"),
        ("log_bin", {"x": 1}, "no setting has"),
        ("log_bin", "/etc/binlog", "must be ON or OFF"),
        ("time_zone", None, ""),
    ],
)
def test_what_no_setting_can_be(name: str, value: object, words: str) -> None:
    if value is None:
        assert settings({name: None}) == {}
        return
    with pytest.raises(SettingError, match=re.escape(words)) as caught:
        settings({name: value})
    assert caught.value.key == f"server_settings.{name}" and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "name",
    "local_infile secure_file_priv secure-file-priv plugin_load plugin_load_add plugin_dir plugin_maturity init_file "
    "init_connect datadir basedir tmpdir general_log general_log_file slow_query_log_file log_error port socket "
    "bind_address skip_grant_tables skip_networking skip_log_bin event_scheduler symbolic_links chroot user pid_file "
    "log_bin_index wsrep_provider relay_log replicate_do_db master_info_file ssl_key loose_local_infile LOCAL_INFILE "
    "innodb_data_home_dir innodb_log_group_home_dir innodb_undo_directory innodb_data_file_path lc_messages_dir "
    "character_sets_dir ft_stopword_file feedback_url performance_schema innodb_buffer_pool_size max_connections "
    "innodb_stats_auto_recalc".split(),
)
def test_what_weakens_the_sandbox_or_is_the_machines_is_refused(name: str) -> None:
    for value in ("1", None):
        with pytest.raises(SettingError, match="cannot be set by a dataset: it"):
            settings({name: value})


def test_what_is_refused_is_not_in_the_list() -> None:
    assert not [name for name in SETTINGS if refused(name)]
    assert set(ALIASES.values()) <= SETTINGS.keys()


@pytest.mark.parametrize("text", [TABS, TABLE, TABLE.splitlines(), TABS.replace("\n", "\r\n")])
def test_what_a_client_has_printed(text: object) -> None:
    assert settings(text) == {"lower_case_table_names": "1", "sql_mode": ""}


def test_a_file_and_settings_that_outrank_it(tmp_path: Path) -> None:
    (tmp_path / "toy.settings").write_text(TABS + "sql_require_primary_key\tON\n")
    found = load(
        tmp_path,
        server_settings_file="toy.settings",
        server_settings={"sql_mode": "ANSI", "sql_require_primary_key": None},
    )
    assert found.settings == {"lower_case_table_names": "1", "sql_mode": "ANSI"}
    assert load(tmp_path, server_settings="toy.settings").settings["sql_require_primary_key"] == "ON"


def test_a_systems_zone_is_known_where_it_is_utc() -> None:
    assert settings("time_zone\tSYSTEM\nsystem_time_zone\tUTC\n") == {"time_zone": "+00:00"}
    assert settings("time_zone\tSYSTEM\nsystem_time_zone\tCEST\n") == {"time_zone": "SYSTEM"}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"server_settings_file": "none.settings"}, "server_settings_file: .*cannot be read"),
        ({"server_settings_file": 1}, "server_settings_file: must be the name"),
        ({"server_settings": 1}, "server_settings: must be a mapping"),
        ({"server_settings": ["nothing"]}, "server_settings: has no setting"),
        ({"server_settings": {"local_infile": 1}}, "server_settings.local_infile: cannot be set"),
        ({"server_settings": ["sql_mode\tNO_SUCH"]}, "server_settings.sql_mode: is 'NO_SUCH', but"),
        ({"collation": "utf8mb4;x"}, "collation: .*cannot be used"),
        ({"character_set": 1}, "character_set: must be text"),
    ],
)
def test_the_file_names_the_key_that_is_wrong(tmp_path: Path, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        load(tmp_path, **keys)


def test_each_of_several_databases_has_its_own_collation(tmp_path: Path) -> None:
    parts = {"a": {"database": "a", "seed_data": "a.sql", "collation": "utf8mb4_bin", "character_set": "utf8mb4"}}
    path = tmp_path / "toy.json"
    one = {key: value for key, value in DATASET.items() if key not in ("database", "seed_data")}
    path.write_text(json.dumps(one | {"databases": parts}))
    (part,) = datasets.load(path).parts
    assert (part.character_set, part.collation) == ("utf8mb4", "utf8mb4_bin")


@given(st.dictionaries(st.sampled_from(sorted(SETTINGS)) | st.text(), st.text() | st.integers() | st.none()))
def test_whatever_is_there_is_a_plain_value_or_an_error(given: dict[str, Any]) -> None:
    try:
        found = settings(given)
    except SettingError:
        return
    assert all(name in SETTINGS and value.isascii() and value.isprintable() for name, value in found.items())
