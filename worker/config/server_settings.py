# SPDX-License-Identifier: Apache-2.0
"""The database server settings that a dataset may have, with the valid values of each.

The playbooks read a dataset's file themselves: `th_dataset.settings` of the role restore_datasets is a link to this
module, so that both use the same list. It needs the standard library only.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

KEYS = ("server_settings", "server_settings_file")
"""The keys of a dataset that contain settings."""

PRINTED_LIMIT = 256 << 10
"""The maximum length of a client's output, in characters."""

_ON, _OFF = ("on", "true", "yes", "1"), ("off", "false", "no", "0")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_NUMBER = re.compile(r"([0-9]{1,20})([kmgKMG]?)")
_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
_FLAG = re.compile(r"([a-z0-9_]{1,64})=(on|off|default)")
_COLLATION_OF = re.compile(r"[a-z0-9_]{1,64}=[a-z0-9_]{1,64}")
_ZONE = re.compile(r"SYSTEM|[+-][0-9]{1,2}:[0-9]{2}|[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,3}")
_CIPHER = re.compile(r"aes-(?:128|192|256)-(?:ecb|cbc|cfb1|cfb8|cfb128|ofb)", re.IGNORECASE)
_PLAIN = re.compile(r"[ -~]{0,8192}")
_SECONDS = re.compile(r"[0-9]{1,8}(?:\.[0-9]{1,6})?")
_ISOLATION = ("READ-UNCOMMITTED", "READ-COMMITTED", "REPEATABLE-READ", "SERIALIZABLE")

_MODES = (
    "REAL_AS_FLOAT PIPES_AS_CONCAT ANSI_QUOTES IGNORE_SPACE IGNORE_BAD_TABLE_OPTIONS ONLY_FULL_GROUP_BY "
    "NO_UNSIGNED_SUBTRACTION NO_DIR_IN_CREATE POSTGRESQL ORACLE MSSQL DB2 MAXDB NO_KEY_OPTIONS NO_TABLE_OPTIONS "
    "NO_FIELD_OPTIONS MYSQL323 MYSQL40 ANSI NO_AUTO_VALUE_ON_ZERO NO_BACKSLASH_ESCAPES STRICT_TRANS_TABLES "
    "STRICT_ALL_TABLES NO_ZERO_IN_DATE NO_ZERO_DATE ALLOW_INVALID_DATES ERROR_FOR_DIVISION_BY_ZERO TRADITIONAL "
    "NO_AUTO_CREATE_USER HIGH_NOT_PRECEDENCE NO_ENGINE_SUBSTITUTION PAD_CHAR_TO_FULL_LENGTH EMPTY_STRING_IS_NULL "
    "SIMULTANEOUS_ASSIGNMENT TIME_ROUND_FRACTIONAL TIME_TRUNCATE_FRACTIONAL"
).split()
_OLD_MODES = (
    "NO_DUP_KEY_WARNINGS_WITH_IGNORE NO_PROGRESS_INFO ZERO_DATE_TIME_CAST UTF8_IS_UTF8MB3 "
    "IGNORE_INDEX_ONLY_FOR_JOIN COMPAT_5_1_CHECKSUM NO_NULL_COLLATION_IDS LOCK_ALTER_TABLE_COPY"
).split()


class SettingError(ValueError):
    """A setting that cannot be used: its `key` in the dataset's file, the problem and the remedy."""

    def __init__(self, key: str, problem: str, remedy: str = "") -> None:
        super().__init__(f"{key} {problem}" + (f": {remedy}" if remedy else ""))
        self.key, self.problem, self.remedy = key, problem, remedy


@dataclass(frozen=True)
class Setting:
    """One setting. `check` returns a value in its normal form; it raises ValueError that says what it must be.

    `option` is whether it is given on the server's command line; otherwise it is set once the server runs. Without
    `imports`, it applies to the walk only, not to the import of a dump, which must succeed with any value. `absent` is
    the value that equals the behaviour of a server that does not have the setting.
    """

    check: Callable[[object], str]
    option: bool = True
    imports: bool = True
    absent: str | None = None


@dataclass(frozen=True)
class Given:
    """A dataset's settings: `values` by name; `printed` are the names of those copied from a server's output."""

    values: Mapping[str, str]
    printed: frozenset[str] = frozenset()


def _switch(value: object) -> str:
    word = str(value).lower()
    if word in _ON or word in _OFF:
        return "ON" if word in _ON else "OFF"
    raise ValueError("must be ON or OFF")


def _number(least: int, most: int) -> Callable[[object], str]:
    def check(value: object) -> str:
        found = None if isinstance(value, bool) else _NUMBER.fullmatch(str(value))
        number = int(found[1]) * _UNITS[found[2].lower()] if found else -1
        if not least <= number <= most:
            raise ValueError(f"must be a number from {least} to {most}")
        return str(number)

    return check


def _one_of(*words: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        word = str(value).replace(" ", "-").lower()
        for known in words:
            if known.lower() == word:
                return known
        raise ValueError(f"must be one of {', '.join(words)}")

    return check


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, bool) and pattern.fullmatch(str(value)):
            return str(value)
        raise ValueError(f"must be {what}")

    return check


def _list(problem: Callable[[str], str], change: Callable[[str], str] = str.lower) -> Callable[[object], str]:
    def check(value: object) -> str:
        given = value if isinstance(value, list) else str(value).split(",")
        items = dict.fromkeys(change(str(item).strip()) for item in given if str(item).strip())
        for item in items:
            if said := problem(item):
                raise ValueError(said)
        return ",".join(items)

    return check


def _modes(*known: str) -> Callable[[object], str]:
    def problem(word: str) -> str:
        return "" if word in known else f"{_short(word)} is no such mode{_meant(word, known)}"

    return _list(problem, str.upper)


def _items(pattern: re.Pattern[str], what: str) -> Callable[[object], str]:
    return _list(lambda item: "" if pattern.fullmatch(item) else f"must be a list of {what}")


_NAMES = ("character_set_server", "collation_server", "default_storage_engine", "lc_time_names")
_KEY_NEEDED = ("innodb_force_primary_key", "sql_generate_invisible_primary_key", "sql_require_primary_key")

SETTINGS: dict[str, Setting] = {
    **dict.fromkeys(_NAMES, Setting(_matching(_NAME, "a name of letters, digits and _"))),
    **dict.fromkeys(_KEY_NEEDED, Setting(_switch, imports=False, absent="OFF")),
    **dict.fromkeys(("foreign_key_checks", "sql_auto_is_null", "unique_checks"), Setting(_switch, option=False)),
    **dict.fromkeys(("log_bin", "log_bin_trust_function_creators"), Setting(_switch, imports=False)),
    "alter_algorithm": Setting(_one_of("DEFAULT", "COPY", "INPLACE", "NOCOPY", "INSTANT"), absent="DEFAULT"),
    "auto_increment_increment": Setting(_number(1, 65535)),
    "auto_increment_offset": Setting(_number(1, 65535)),
    "binlog_format": Setting(_one_of("MIXED", "STATEMENT", "ROW"), imports=False),
    "binlog_row_image": Setting(_one_of("FULL", "NOBLOB", "MINIMAL", "FULL_NODUP"), imports=False),
    "block_encryption_mode": Setting(_matching(_CIPHER, "such as aes-256-cbc"), absent="aes-128-ecb"),
    "character_set_collations": Setting(_items(_COLLATION_OF, "character_set=collation"), absent=""),
    "default_week_format": Setting(_number(0, 7)),
    "disabled_storage_engines": Setting(_items(_NAME, "storage engines"), imports=False, absent=""),
    "div_precision_increment": Setting(_number(0, 30)),
    "enforce_gtid_consistency": Setting(_one_of("OFF", "ON", "WARN"), imports=False, absent="OFF"),
    "explicit_defaults_for_timestamp": Setting(_switch),
    "group_concat_max_len": Setting(_number(4, 2**64 - 1)),
    "gtid_mode": Setting(_one_of("OFF", "OFF_PERMISSIVE", "ON_PERMISSIVE", "ON"), imports=False, absent="OFF"),
    "innodb_autoinc_lock_mode": Setting(_number(0, 2)),
    "innodb_default_row_format": Setting(_one_of("dynamic", "compact", "redundant")),
    "innodb_file_per_table": Setting(_switch, absent="ON"),
    "innodb_lock_wait_timeout": Setting(_number(0, 2**30)),
    "innodb_page_size": Setting(_one_of("4096", "8192", "16384", "32768", "65536")),
    "innodb_snapshot_isolation": Setting(_switch, absent="OFF"),
    "innodb_strict_mode": Setting(_switch),
    "lock_wait_timeout": Setting(_number(0, 2**31)),
    "lower_case_table_names": Setting(_one_of("0", "1")),
    "max_allowed_packet": Setting(_number(1024, 1 << 30), imports=False),
    "max_execution_time": Setting(_number(0, 2**32 - 1), imports=False, absent="0"),
    "max_heap_table_size": Setting(_number(16384, 1 << 40)),
    "max_statement_time": Setting(_matching(_SECONDS, "a number of seconds"), imports=False, absent="0"),
    "old_mode": Setting(_modes(*_OLD_MODES), absent=""),
    "optimizer_switch": Setting(_items(_FLAG, "flag=on and flag=off")),
    "restrict_fk_on_non_standard_key": Setting(_switch, absent="OFF"),
    "show_gipk_in_create_table_and_information_schema": Setting(_switch, absent="ON"),
    "sql_mode": Setting(_modes(*_MODES)),
    "system_versioning_alter_history": Setting(_one_of("ERROR", "KEEP"), absent="ERROR"),
    "time_zone": Setting(_matching(_ZONE, "a zone's name, +HH:MM or SYSTEM"), option=False),
    "tmp_table_size": Setting(_number(0, 1 << 40)),
    "transaction_isolation": Setting(_one_of(*_ISOLATION)),
}
"""All settings that a dataset may have."""

ALIASES = {"default_time_zone": "time_zone", "tx_isolation": "transaction_isolation"}
"""Other names of settings, as in older servers and on command lines."""

_WEAKENS = (
    "admin_* allow_suspicious_udfs automatic_sp_privileges basedir bind_address character_sets_dir chroot datadir "
    "des_key_file early_plugin_* event_scheduler extra_port feedback* ft_stopword* general_log* have_symlink init_* "
    "innodb_*_dir innodb_*_directory innodb_*data_file_path innodb_tmpdir lc_messages* local_infile log_basename "
    "log_bin_basename log_bin_index log_error log_output log_slow* loose_* master_* maximum_* mysqlx* pid_file plugin* "
    "port proxy_protocol* relay_log* replica_* replicate_* require_secure_transport safe_user_create secure_file_priv "
    "skip_* slave_* slow_query_log* socket ssl* symbolic_links tls* tmpdir user wsrep*"
).split()
_MACHINES = (
    "innodb_buffer_pool* innodb_flush* innodb_force_recovery innodb_log_file_size innodb_read_only innodb_stats_* "
    "max_connections max_user_connections open_files_limit performance_schema* read_only super_read_only thread_* "
    "userstat"
).split()


def refused(name: str) -> str:
    """Why a dataset may not have this setting; "" if it may, or if the setting is unknown."""
    if name in SETTINGS:
        return ""
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in _WEAKENS):
        return "it would weaken the sandbox of the private server; leave it out"
    machine = any(fnmatch.fnmatchcase(name, pattern) for pattern in _MACHINES)
    return "it is the machine's (restore_datasets_server_options, sandbox_database_…); leave it out" if machine else ""


def canonical(name: str) -> str:
    """The name used in SETTINGS; servers also accept dashes, capitals and older names."""
    name = name.strip().lower().replace("-", "_")
    return ALIASES.get(name, name)


def read(document: Mapping[str, object], folder: Path) -> Given:
    """The settings in a dataset's file in `folder`. Raises SettingError.

    Settings in a mapping override those in a server's output; null removes one.
    """
    found: dict[str, str] = {}
    given = document.get("server_settings", {})
    if "server_settings_file" in document:
        found = _of_file("server_settings_file", document["server_settings_file"], folder)
    if isinstance(given, str) and not any(sign in given for sign in "\t|\n"):
        found, given = _of_file("server_settings", given, folder), {}
    if isinstance(given, list) and all(isinstance(line, str) for line in given):
        given = "\n".join(given)
    if isinstance(given, str):
        found, given = found | printed("server_settings", given), {}
    if not isinstance(given, dict):
        raise SettingError("server_settings", "must be a mapping of names to values, or what the query has printed")
    named = {}
    for name, value in given.items():
        own = canonical(str(name))
        if own in named:
            raise SettingError(f"server_settings.{name}", "is duplicated", "keep one")
        named[own] = None if value is None and own in SETTINGS else _checked(str(name), value)
    values = {name: value for name, value in (found | named).items() if value is not None}
    return Given(dict(sorted(values.items())), frozenset(found) - frozenset(named))


def printed(key: str, text: str) -> dict[str, str]:
    """The settings in a client's output, separated by tabs or as a table. Raises SettingError, which names `key`."""
    if len(text) > PRINTED_LIMIT:
        raise SettingError(key, f"is longer than {PRINTED_LIMIT} characters", "keep what the query prints")
    rows: dict[str, str] = {}
    for line in text.splitlines():
        cells = line.strip().strip("|").split("|") if line.lstrip().startswith("|") else line.split("\t")
        if len(cells) == 2 and _NAME.fullmatch(cells[0].strip()):
            rows[canonical(cells[0])] = cells[1].strip()
    found = {name: _checked(name, value, key) for name, value in rows.items() if name in SETTINGS and value != "NULL"}
    if not found:
        raise SettingError(key, "has no setting", "docs/datasets.md has the query: give what the client prints")
    if found.get("time_zone") == "SYSTEM":  # of system_time_zone, only these two are unambiguous; CEST is not
        zone = rows.get("system_time_zone", "").upper()
        found |= {"time_zone": "+00:00"} if zone in ("UTC", "GMT") else {}
    return found


def _of_file(key: str, name: object, folder: Path) -> dict[str, str]:
    if not isinstance(name, str) or not name or "\0" in name:
        raise SettingError(key, "must be the name of a file")
    path = folder / name
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as stream:
            return printed(key, stream.read(PRINTED_LIMIT + 1))
    except OSError as error:
        raise SettingError(key, f"{path} cannot be read ({error.strerror})", "put the query's output there") from error


def _checked(name: str, value: object, where: str = "server_settings") -> str:
    own, key = canonical(name), f"{where}.{_short(name)}"
    if reason := refused(own):
        raise SettingError(key, "cannot be set by a dataset", reason)
    if own not in SETTINGS:
        known = f"docs/datasets.md has all of them{_meant(own, [*SETTINGS, *ALIASES])}"
        raise SettingError(key, "is not a known setting", known)
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, list | dict) or not _PLAIN.fullmatch(str(item)) for item in items):
        raise SettingError(key, "has a value that no setting has", "write a number or words, in ASCII")
    try:
        return SETTINGS[own].check(value)
    except ValueError as error:
        raise SettingError(key, f"is {_short(str(value))!r}, but {error}") from error


def _meant(word: str, known: list[str] | tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word[:64], known, 1)
    return f" (did you mean {close[0]}?)" if close else ""


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"
