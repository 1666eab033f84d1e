# SPDX-License-Identifier: Apache-2.0
"""A job's database server, a private one or its share of an external one: where it is, and how to query it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pymysql
import pymysql.cursors
from ansible.module_utils.th_core.artifacts import write_text
from ansible.module_utils.th_core.processes import status
from ansible.module_utils.th_sandbox import cgroups
from ansible.module_utils.th_server import error_log
from ansible.module_utils.th_server.connection import Connection, tls_arguments, tls_options

VERSIONS_BYTES = 4 << 20
"""Maximum bytes of all versions in a database; Django's are thousands of short names."""

CONNECTION_LOST = (0, 2006, 2013, 2014, 2055)
"""PyMySQL's error numbers for a lost connection."""

_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


class ServerError(Exception):
    """The server could not be set up, started or reached; the text says why and what to do."""


class UnreachableError(ServerError):
    """An external server does not answer, or denies the account what a job needs."""


@dataclass(frozen=True)
class Server:
    """A job's server, as `server.json` in its folder describes it.

    `databases` are the job's, by the names in the profile ("" for the only one). `pid` is 0 while the server is not
    running. The two option files (0600) are for the administrator and for the job's user, who has all rights on the
    databases and none elsewhere.

    A server that is not `private` is external and shared with others; it is reached at `host` and `port` unless it has
    a `socket`. Then `pid` is the process that holds the job's locks on it, `preloaded` says that the databases stay
    when the job has ended, and `prepared` are the transactions that others had prepared before the job. Its certificate
    must be of the CA in the file `ssl_ca`; "" verifies none.

    `engine` is the name of a private server's engine (engines.yaml), `family` that of any server's family (`families`).
    """

    folder: str
    socket: str
    databases: dict[str, str]
    user: str
    pid: int = 0
    host: str = ""
    port: int = 0
    private: bool = True
    preloaded: bool = False
    prepared: Sequence[str] = ()
    ssl_ca: str = ""
    engine: str = ""
    family: str = "mariadb"

    @property
    def database(self) -> str:
        """The first of the databases."""
        return next(iter(self.databases.values()))

    @property
    def address(self) -> dict[str, str]:
        """The server's address for the job's user: `socket`, or `host` and `port`."""
        return {"socket": self.socket} if self.socket else {"host": self.host, "port": str(self.port)}

    @property
    def datadir(self) -> Path:
        """The data directory of a private server."""
        return Path(self.folder) / "data"

    @property
    def run_dir(self) -> Path:
        """A private server's folder for its process id, its slow query log, and its socket if the path is short
        enough."""
        return Path(self.folder) / "run"

    @property
    def error_log(self) -> Path:
        """The server's error log; for an external one, the stderr of the process that holds the locks."""
        return Path(self.folder) / "server.log"

    @property
    def admin_file(self) -> Path:
        """The option file with which ``mariadb --defaults-file=`` connects as the administrator."""
        return Path(self.folder) / "admin.cnf"

    @property
    def job_file(self) -> Path:
        """The option file with which ``mariadb --defaults-file=`` connects as the job's user."""
        return Path(self.folder) / "job.cnf"

    def running(self) -> bool:
        """Whether the process `pid` is alive."""
        if not self.pid:
            return False
        try:
            command = Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except OSError:
            return False
        word = f"--datadir={self.datadir}" if self.private else self.folder
        return os.fsencode(word) in command.split(b"\0") and bool(status(self.pid))

    def last_words(self) -> str:
        """The end of the server's error log; after a crash, the errors before the crash report."""
        return error_log.last_words(self.error_log)

    def filled_its_disk(self) -> bool:
        """Whether the server has logged that its disk is full."""
        return error_log.has_no_space(self.last_words())

    def ran_out_of_memory(self) -> bool:
        """Whether the server has logged that it gets no more memory."""
        return error_log.has_no_memory(self.last_words())


def save(server: Server) -> Server:
    """Write `server.json`."""
    write_text(Path(server.folder) / "server.json", json.dumps(asdict(server), indent=1) + "\n", 0o600)
    return server


def load(folder: Path) -> Server:
    """The server of a folder, as `server.json` describes it. Raises ServerError when there is none."""
    try:
        return Server(**json.loads((folder / "server.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ServerError(f"{folder} holds no server: run restore-datasets first ({error})") from error


def stop(server: Server, time_limit: float = 15) -> None:
    """Stop the process `pid`: cleanly within `time_limit` seconds, otherwise by force.

    Also removes its socket's folder and its control group.
    """
    groups = cgroups.around(server.pid) if server.private and server.running() else []
    for number, patience in ((signal.SIGTERM, time_limit), (signal.SIGKILL, 10)):
        if not server.running():
            break
        try:
            os.kill(server.pid, number)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + patience
        while server.running() and time.monotonic() < deadline:
            time.sleep(0.02)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(server.pid, os.WNOHANG)  # a child, if this process has started it
    folder = Path(server.socket).parent
    if server.private and folder != server.run_dir:
        shutil.rmtree(folder, ignore_errors=True)
    cgroups.remove_around(groups)


@contextlib.contextmanager
def connect(
    server: Server, option_file: Path, *, database: str | None = None, time_limit: float = 30
) -> Iterator[pymysql.connections.Connection[Any]]:
    """A connection with the account of an option file: rows are tuples, autocommit is on, sql_mode is empty."""
    account = read_account(option_file)
    connection = Connection(
        user=account["user"],
        password=account["password"],
        **connect_arguments(server),
        database=database,
        charset="utf8mb4",
        autocommit=True,
        sql_mode="",  # queries mean the same whatever modes the dataset's server has
        connect_timeout=max(1, int(time_limit)),
        read_timeout=max(1, int(time_limit)),
        write_timeout=max(1, int(time_limit)),
    )
    try:
        yield connection
    finally:
        with contextlib.suppress(pymysql.Error, OSError):
            connection.close()


def connect_arguments(server: Server) -> dict[str, Any]:
    """The server's address, as arguments of PyMySQL."""
    if server.socket:
        # with encryption, PyMySQL would load all of the system's certificates, which takes 20 ms each time
        return {"unix_socket": server.socket, "ssl_disabled": True}
    return {"host": server.host, "port": server.port, **tls_arguments(server.ssl_ca)}


def query(connection: pymysql.connections.Connection[Any], sql: str, *values: object) -> list[tuple[Any, ...]]:
    """All rows of one statement."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return list(cursor.fetchall())


def flavour(connection: pymysql.connections.Connection[Any]) -> tuple[str, str]:
    """The kind of the server, ``MariaDB``, ``Percona`` or ``MySQL``, and its version as it reports it."""
    version, comment = query(connection, "SELECT VERSION(), @@version_comment")[0]
    description = f"{version} {comment}".lower()
    # Percona's version may be just a number such as 8.0.36-28; its comment has the name
    kind = next((kind for kind in ("MariaDB", "Percona") if kind.lower() in description), "MySQL")
    return kind, str(version)


def read_version(connection: pymysql.connections.Connection[Any], version_query: str) -> list[str]:
    """The versions in a database, sorted; [] if its version table is missing or empty.

    Raises ServerError if they are larger than any project's: a change may have stored anything there.
    """
    rows: list[tuple[Any, ...]] = []
    try:
        cursor: Any
        with connection.cursor(pymysql.cursors.SSCursor) as cursor:
            cursor.execute(version_query)
            size = 0
            while row := cursor.fetchone():
                rows.append(row)
                size += 64 + sum(len(str(value)) for value in row)
                if size > VERSIONS_BYTES:
                    cursor._result.unbuffered_active = False  # otherwise closing it reads the remaining rows
                    raise ServerError(f"it is longer than {VERSIONS_BYTES} bytes")
    except (pymysql.err.ProgrammingError, pymysql.err.OperationalError) as error:
        if error.args[0] in (1146, 1054):  # no such table; no such column
            return []
        raise
    return sorted(str(row[0]) for row in rows if row and row[0] is not None)


def free_bytes(folder: Path) -> int:
    """Bytes that an unprivileged user can still write to the file system of `folder`."""
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


def tool(name: str) -> str:
    """The path of an installed program. Raises ServerError that says how to get it."""
    found = shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":" + _SBIN)
    if found is None:
        raise ServerError(f"{name} is not installed: playbooks/prepare-host.yaml installs it")
    return found


def write_option_file(path: Path, server: Server, **account: str) -> None:
    """Write an option file (0600) for an account of the server.

    ``password_file`` instead of ``password`` is for `read_account` only, so that a permanent password is not copied.
    """
    section = "turbo-hipster" if "password_file" in account else "client"
    # JSON's escapes for quotes, backslashes and line ends are those of MariaDB's option files
    values = account | server.address | ({} if server.socket else tls_options(server.ssl_ca))
    lines = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    write_text(path, "\n".join([f"[{section}]", *lines, ""]), 0o600)


def read_account(path: Path) -> dict[str, str]:
    """The ``user`` and ``password`` of an option file of `write_option_file`. Raises ServerError."""
    pairs = (line.split("=", 1) for line in path.read_text("utf-8").splitlines() if "=" in line)
    account: dict[str, str] = {key: json.loads(value) for key, value in pairs}
    if "password_file" in account:
        account["password"] = read_password(Path(account.pop("password_file")))
    return account


def read_password(path: Path) -> str:
    """The first line of a password file, which only its owner may be able to read. Raises ServerError."""
    try:
        with open(path, encoding="utf-8") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if mode & 0o077:
                raise ServerError(f"{path} can be read by others (mode {mode & 0o777:04o}): chmod 600 {path}")
            return stream.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ServerError(f"the password in {path} cannot be read: {error}") from error
