# SPDX-License-Identifier: Apache-2.0
"""What the two accounts on an external server may do: whether the operator's lacks a right, and whether the job's has
more than its databases.

A restore that needs a right fails with the server's own error. Without the rights here it works all the same: what is
missed then is noted in the report.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pymysql
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.external_server import DENIED, RIGHTS
from ansible.module_utils.th_server.prepared import prepared

_ASKED = (
    (
        "SELECT COUNT(*) FROM information_schema.innodb_trx",
        "PROCESS ON *.*",
        "the growth of the data is not measured, and statements that the change leaves running are not found",
    ),
    (
        "SELECT COUNT(*) FROM performance_schema.status_by_user WHERE user = ''",
        "SELECT ON performance_schema.*",
        "rows are not measured",
    ),
    (
        "SELECT COUNT(*) FROM mysql.user WHERE user = ''",
        "SELECT ON mysql.user",
        "accounts of dead jobs are not dropped",
    ),
)
_NOT_OWNER = 1095


def refuse_roles(server: mariadb.Server) -> None:
    """Raises UnreachableError if the server gives a role to each account that is created, the job's among them."""
    with mariadb.connect(server, server.job_file) as connection:
        mariadb.query(connection, "SET SESSION sql_mode = ''")
        grants = [str(grant) for (grant,) in mariadb.query(connection, "SHOW GRANTS")]
    if roles := [grant for grant in grants if grant.startswith("GRANT ") and " ON " not in grant]:
        raise mariadb.UnreachableError(
            f"the job's account has more than its databases: {roles[0][:200]}. A change could use it: take the role out"
            " of the server's mandatory_roles"
        )


def missing(connection: Any, server: mariadb.Server) -> Iterator[str]:
    """Notes on the rights that the operator's account, whose `connection` this is, lacks. The job's must be there."""
    lacks = f"the account {mariadb.read_account(server.admin_file)['user']} of the external server lacks the right"
    counted = _counted_elsewhere(connection)
    for statement, right, effect in _ASKED:
        if not (counted and "performance_schema" in right) and _denied(connection, statement):
            yield f"{lacks} {right}: {effect} ({RIGHTS})"
    if prepared(connection) is None:
        effect = "a transaction that the change prepares (XA PREPARE) and leaves keeps its databases from being dropped"
        yield f"{lacks} XA_RECOVER_ADMIN ON *.*: {effect} ({RIGHTS})"
    with mariadb.connect(server, server.job_file) as one:
        ((number,),) = mariadb.query(one, "SELECT CONNECTION_ID()")
        if _denied(connection, f"KILL {int(number)}"):
            effect = "statements that the change leaves running cannot be ended"
            yield f"{lacks} CONNECTION ADMIN ON *.* (MySQL: CONNECTION_ADMIN): {effect} ({RIGHTS})"


def _counted_elsewhere(connection: Any) -> bool:
    """Whether MariaDB's user statistics are on, which take the place of the performance schema."""
    rows = mariadb.query(connection, "SHOW GLOBAL VARIABLES LIKE 'userstat'")
    return mariadb.flavour(connection)[0] == "MariaDB" and bool(rows) and rows[0][1] == "ON"


def _denied(connection: Any, statement: str) -> bool:
    """Whether the server does not allow a statement; another error is not about rights."""
    try:
        mariadb.query(connection, statement)
    except pymysql.err.MySQLError as error:
        if error.args and error.args[0] in mariadb.CONNECTION_LOST:
            raise
        return bool(error.args) and error.args[0] in (*DENIED, _NOT_OWNER)
    return False
