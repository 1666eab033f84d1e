# SPDX-License-Identifier: Apache-2.0
"""A private MariaDB server: one folder, one socket, no network, one job."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pymysql
import pymysql.cursors
from ansible.module_utils.th_artifacts import write_text
from ansible.module_utils.th_contain import printable

SOCKET_PATH_LIMIT = 100  # sun_path holds 108 bytes with the NUL (unix(7)); a few are left for temporary names
ERROR_LOG_TAIL = 20
ERROR_LOG_TAIL_BYTES = 64 << 10
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


class ServerError(Exception):
    """The private server could not be set up, started or reached; the text says why and what to do."""


@dataclass(frozen=True)
class Server:
    """Where a private server is: what `server.json` in its folder holds.

    `pid` is 0 while it does not run. The two option files (0600) hold the passwords of the
    administrator and of the job's user, who has all rights on `database` and none elsewhere.
    """

    folder: str
    socket: str
    database: str
    user: str
    pid: int = 0

    @property
    def datadir(self) -> Path:
        """The server's data directory."""
        return Path(self.folder) / "data"

    @property
    def error_log(self) -> Path:
        """The server's own error log."""
        return Path(self.folder) / "mariadbd.log"

    @property
    def admin_file(self) -> Path:
        """The option file with which ``mariadb --defaults-file=`` connects as the administrator."""
        return Path(self.folder) / "admin.cnf"

    @property
    def job_file(self) -> Path:
        """The option file with which ``mariadb --defaults-file=`` connects as the job's user."""
        return Path(self.folder) / "job.cnf"

    def running(self) -> bool:
        """Whether the server's process is alive."""
        if not self.pid:
            return False
        try:
            command = Path(f"/proc/{self.pid}/cmdline").read_bytes()
            state = Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
        except OSError:
            return False
        return os.fsencode(f"--datadir={self.datadir}") in command.split(b"\0") and state != b"Z"

    def last_words(self) -> str:
        """The end of the server's error log."""
        try:
            with open(self.error_log, "rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - ERROR_LOG_TAIL_BYTES))
                lines = stream.read(ERROR_LOG_TAIL_BYTES).decode("utf-8", "replace").splitlines()
        except OSError:
            return "(no error log)"
        return "\n".join(map(printable, lines[-ERROR_LOG_TAIL:]))


def version() -> str:
    """What the installed server says of itself, for example ``mariadbd  Ver 10.11.19-MariaDB-…``."""
    result = subprocess.run(
        [tool("mariadbd"), "--no-defaults", "--version"], capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise ServerError(f"mariadbd --version failed: {result.stderr.strip()}")
    return " ".join(result.stdout.split()[1:])


def install(folder: Path, options: Iterable[str], time_limit: float) -> None:
    """Make an empty data directory in `folder`/data."""
    (folder / "tmp").mkdir(mode=0o700, exist_ok=True)
    argv = [
        tool("mariadb-install-db"),
        "--no-defaults",
        f"--datadir={folder / 'data'}",
        # a server removes what others have in its folder for temporary tables: nobody shares one
        f"--tmpdir={folder / 'tmp'}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
        *(option for option in options if option.startswith(("--innodb-log-file-size", "--innodb-page-size"))),
        *_run_as(),
    ]
    try:
        result = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=time_limit, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"mariadb-install-db did not end in {time_limit} s") from error
    if result.returncode != 0:
        raise ServerError("mariadb-install-db failed: " + (result.stdout + result.stderr).strip()[-2000:])


def start(
    folder: Path,
    *,
    database: str,
    user: str,
    password: str,
    options: Iterable[str],
    time_limit: float,
    definers: Iterable[str] = (),
) -> Server:
    """Start a server on `folder`/data and wait until it answers; it outlives the calling process.

    The administrator gets a fresh password, everybody else but the job's user is removed. `definers` are accounts
    (``user@host``) that nobody can log in with, for the views, triggers and routines that run in their name.
    `options` are further options of mariadbd. Raises ServerError with the end of the error log.
    """
    server = Server(str(folder), _socket_path(folder), database, user)
    admin_password = secrets.token_urlsafe(24)
    _write_option_file(server.admin_file, "root", admin_password, server)
    _write_option_file(server.job_file, user, password, server)
    (folder / "tmp").mkdir(mode=0o700, exist_ok=True)
    init_file = folder / "init.sql"
    write_text(init_file, _accounts(server, admin_password, password, definers), 0o600)
    argv = [
        tool("mariadbd"),
        "--no-defaults",
        f"--datadir={server.datadir}",
        f"--socket={server.socket}",
        f"--pid-file={folder / 'mariadbd.pid'}",
        f"--log-error={server.error_log}",
        f"--tmpdir={folder / 'tmp'}",
        f"--secure-file-priv={folder / 'tmp'}",
        f"--init-file={init_file}",
        "--skip-networking",
        "--local-infile=OFF",
        "--skip-log-bin",
        *options,
        *_run_as(),
    ]
    with open(os.devnull, "r+b") as nothing:
        process = subprocess.Popen(
            argv, stdin=nothing, stdout=nothing, stderr=nothing, cwd=folder, start_new_session=True
        )
    server = Server(**{**asdict(server), "pid": process.pid})
    write_text(folder / "server.json", json.dumps(asdict(server), indent=1) + "\n", 0o600)
    try:
        _wait_until_it_answers(server, process, time_limit)
    except BaseException:
        stop(server, 2)
        raise
    finally:
        init_file.unlink()
    return server


def load(folder: Path) -> Server:
    """The server of a folder, as `server.json` describes it. Raises ServerError when there is none."""
    try:
        return Server(**json.loads((folder / "server.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ServerError(f"{folder} holds no private server: run restore-datasets first ({error})") from error


def stop(server: Server, time_limit: float = 15) -> None:
    """Stop the server: cleanly within `time_limit` seconds, else by force. Removes its socket's folder."""
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
                os.waitpid(server.pid, os.WNOHANG)  # ours, when this process has started it
    folder = Path(server.socket).parent
    if folder != Path(server.folder):
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def connect(
    server: Server, option_file: Path, *, database: str | None = None, time_limit: float = 30
) -> Iterator[pymysql.connections.Connection[Any]]:
    """A connection over the socket with the account of an option file; rows come as tuples, autocommit is on."""
    account = read_account(option_file)
    connection = pymysql.connect(
        user=account["user"],
        password=account["password"],
        unix_socket=server.socket,
        database=database,
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=max(1, int(time_limit)),
        read_timeout=max(1, int(time_limit)),
        write_timeout=max(1, int(time_limit)),
    )
    try:
        yield connection
    finally:
        with contextlib.suppress(pymysql.Error, OSError):
            connection.close()


def query(connection: pymysql.connections.Connection[Any], sql: str, *values: object) -> list[tuple[Any, ...]]:
    """All rows of one statement."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return list(cursor.fetchall())


def identifier(name: str) -> str:
    """A name quoted as an identifier of SQL."""
    return "`" + name.replace("`", "``") + "`"


def read_version(connection: pymysql.connections.Connection[Any], version_query: str) -> list[str]:
    """The versions that a database holds, sorted; [] where its version table is missing or empty."""
    try:
        rows = query(connection, version_query)
    except pymysql.err.ProgrammingError as error:
        if error.args[0] in (1146, 1054):  # no such table; no such column
            return []
        raise
    return sorted(str(row[0]) for row in rows if row and row[0] is not None)


def free_bytes(folder: Path) -> int:
    """Bytes that an ordinary user can still write to the file system of `folder`."""
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


def tool(name: str) -> str:
    """The path of an installed program. Raises ServerError that says how to get it."""
    found = shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":" + _SBIN)
    if found is None:
        raise ServerError(f"{name} is not installed: playbooks/prepare-host.yaml installs it")
    return found


def _run_as() -> list[str]:
    # the server refuses to run as root unless it is told so in so many words
    return ["--user=root"] if os.geteuid() == 0 else []


def _socket_path(folder: Path) -> str:
    natural = folder / "mariadbd.sock"
    if len(os.fsencode(natural)) <= SOCKET_PATH_LIMIT:
        return str(natural)
    return os.path.join(tempfile.mkdtemp(prefix="th-db-"), "mariadbd.sock")


def _accounts(server: Server, admin_password: str, password: str, definers: Iterable[str]) -> str:
    # a statement a line: that is what --init-file reads
    scope = server.database.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")
    user = f"{_literal(server.user)}@localhost"
    dumb = []
    for name, _, host in (definer.rpartition("@") for definer in definers):
        account = f"{_literal(name)}@{_literal(host)}"
        if host and (name, host) not in (("root", "localhost"), (server.user, "localhost")):
            dumb.append(f"CREATE OR REPLACE USER {account} ACCOUNT LOCK;")
            dumb.append(f"GRANT ALL ON {identifier(scope)}.* TO {account};")
    return "\n".join(
        [
            "DELETE FROM mysql.global_priv WHERE User NOT IN ('root', 'mariadb.sys') OR Host <> 'localhost';",
            "DELETE FROM mysql.db;",
            "FLUSH PRIVILEGES;",
            f"ALTER USER root@localhost IDENTIFIED BY {_literal(admin_password)};",
            f"CREATE USER {user} IDENTIFIED BY {_literal(password)};",
            f"CREATE DATABASE IF NOT EXISTS {identifier(server.database)};",
            f"GRANT ALL ON {identifier(scope)}.* TO {user};",
            *dumb,
            "",
        ]
    )


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n") + "'"


def _write_option_file(path: Path, user: str, password: str, server: Server) -> None:
    # JSON's escapes for quotes, backslashes and line ends are those of MariaDB's option files
    account = {"user": user, "password": password, "socket": server.socket}
    lines = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in account.items()]
    write_text(path, "\n".join(["[client]", *lines, ""]), 0o600)


def read_account(path: Path) -> dict[str, str]:
    """The ``user`` and ``password`` of an option file that `start` has written."""
    pairs = (line.split("=", 1) for line in path.read_text("utf-8").splitlines() if "=" in line)
    return {key: json.loads(value) for key, value in pairs}


def _wait_until_it_answers(server: Server, process: subprocess.Popen[bytes], time_limit: float) -> None:
    deadline = time.monotonic() + time_limit
    while True:
        if process.poll() is not None:
            raise ServerError(f"the private server did not start:\n{server.last_words()}")
        try:
            with connect(server, server.admin_file, time_limit=max(1, deadline - time.monotonic())):
                return
        except pymysql.err.OperationalError as error:
            if time.monotonic() > deadline:
                raise ServerError(
                    f"the private server did not answer in {time_limit} s ({error}):\n{server.last_words()}"
                ) from error
            time.sleep(0.02)
