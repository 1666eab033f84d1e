# SPDX-License-Identifier: Apache-2.0
"""The rights that views, triggers, routines and events of an external server would lend to a job.

Such an object runs with the rights of its definer, and a job may alter what it uses: the table below a view, the
function that a trigger calls, even whether a routine runs with its definer's rights at all. So no definer may have a
right that the job does not have, whatever the object does now.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from typing import Any

import pymysql
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.accounts import literal, scope
from ansible.module_utils.th_server.definers import objects
from ansible.module_utils.th_server.external_server import RIGHTS, wildcards_are_literal

_MOST = 5
_NAME = r"`(?:[^`]|``)*`"
_GRANT = re.compile(
    rf"GRANT (?P<rights>.+?) ON (?:[A-Z ]+ )?(?P<schema>\*|{_NAME})\.(?P<what>\*|{_NAME}) TO (?P<account>.+)", re.DOTALL
)
_WILDCARD = re.compile(r"(?<!\\)[_%]")
_OPTION = "WITH GRANT OPTION"
_NO_GRANT = ("REVOKE ", "SET DEFAULT ROLE ")
"""Lines of SHOW GRANTS that grant nothing: MySQL's partial revokes, and which of the granted roles is the default."""


def refuse_lenders(connection: Any, databases: Collection[str], account: str, code: str) -> None:
    """Refuse databases that have an object whose definer has more rights than the job.

    `connection` is one of the operator's account, `account` the job's (``user@host``), "" if it has none yet. Raises
    SeedError with `code`.
    """
    if said := lenders(connection, databases, account):
        more = f"; and {len(said) - _MOST} more" if len(said) > _MOST else ""
        raise SeedError(
            code,
            f"{'; '.join(said[:_MOST])}{more}. A change could use these rights. Make them in the name of an account"
            " that has rights on the dataset's databases and no others (ACCOUNT LOCK keeps it from logging in)",
        )


def lenders(connection: Any, databases: Collection[str], account: str) -> list[str]:
    """The definers with more rights than the job, one text for each, with an object and such a right."""
    seen: dict[str, list[str]] = {}
    for database in databases:
        for definer, kind, name in objects(connection, database):
            seen.setdefault(definer, []).append(f"the {kind} {name} ({database})")
    mariadb.query(connection, "SET SESSION sql_mode = ''")  # some modes change how names are quoted
    mariadb.query(connection, "SET SESSION sql_quote_show_create = 1")
    rows = mariadb.query(connection, "SELECT @@GLOBAL.lower_case_table_names")
    own = _Own(databases, int(rows[0][0]) != 0, wildcards_are_literal(connection))
    said = []
    for definer, what in sorted(seen.items()):
        if definer != account and (problem := _problem(connection, definer, own)):
            have = f"and {len(what) - 1} more have" if len(what) > 1 else "has"
            said.append(printable(f"{what[0]} {have} the definer {definer}, {problem}"))
    return said


class _Own:
    """The job's databases, as GRANT may name them. `caseless` says that the server ignores the case of names, and
    `exact` that it takes _ and % for themselves, as MySQL does with partial_revokes."""

    def __init__(self, databases: Collection[str], caseless: bool, exact: bool) -> None:
        self._same = str.lower if caseless else str
        self.exact = exact
        self._names = {self._same(name) for name in databases}
        self._scopes = {self._same(scope(name).rpartition(".")[0]) for name in databases}

    def holds(self, schema: str, what: str) -> bool:
        """Whether a grant ON schema.what is about nothing but these databases."""
        if schema == "*":
            return False
        if what != "*" or self.exact:  # one table or routine: no wildcards
            return self._same(_unquoted(schema)) in self._names
        pattern = self._same(_unquoted(schema))
        return self._same(schema) in self._scopes or (
            not _WILDCARD.search(pattern) and re.sub(r"\\([\\_%])", r"\1", pattern) in self._names
        )


def _problem(connection: Any, definer: str, own: _Own) -> str:
    """A right that the account has and the job does not, in words; "" for none."""
    name, _, host = definer.rpartition("@")
    if not name and host and "@" not in definer:  # a role, as some versions show it
        name, host = host, ""
    try:
        for user, place in _accounts(connection, name, host):
            who = literal(user) if not place else f"{literal(user)}@{literal(place)}"
            for (grant,) in mariadb.query(connection, f"SHOW GRANTS FOR {who}"):
                if more := _more(str(grant), own):
                    return f"who has {more}"
    except pymysql.err.MySQLError as error:
        if error.args and error.args[0] in mariadb.CONNECTION_LOST:
            raise
        return f"whose rights this account may not see ({error.args[-1]}: GRANT SELECT ON mysql.*; {RIGHTS})"
    return ""


def _accounts(connection: Any, name: str, host: str) -> Iterator[tuple[str, str]]:
    """The accounts whose rights a definer has: its own, and those of the same name whose host pattern matches."""
    rows = mariadb.query(connection, "SELECT user, host FROM mysql.user WHERE user = %s", name)
    for user, place in rows:
        if _matches(str(place), host):
            yield str(user), str(place)


def _matches(pattern: str, host: str) -> bool:
    if "/" in pattern or not pattern:  # a network, or a role
        return True
    written = {"%": "*", "_": "?", **{char: f"[{char}]" for char in "*?["}}
    return fnmatchcase(host.lower(), "".join(written.get(char, char) for char in pattern.lower()))


def _more(grant: str, own: _Own) -> str:
    """What a line of SHOW GRANTS grants beyond the job's rights, in words; "" for nothing."""
    if grant.startswith(_NO_GRANT):
        return ""
    found = _GRANT.match(grant)
    if found is None:  # a granted role, which may be the default one
        return grant.partition(" TO ")[0][:200]
    rights, schema, what, account = found.group("rights", "schema", "what", "account")
    place = f"{schema}.{what}"
    if what == "*" and not own.exact and _WILDCARD.search(schema):
        place += " (there, _ and % stand for any character: write \\_)"
    if _OPTION in account:
        return f"{rights[:200]} ON {place} {_OPTION}"
    if rights == "USAGE" or (rights != "PROXY" and own.holds(schema, what)):
        return ""
    return f"{rights[:200]} ON {place}"


def _unquoted(name: str) -> str:
    return name[1:-1].replace("``", "`")
