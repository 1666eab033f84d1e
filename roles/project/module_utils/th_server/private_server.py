# SPDX-License-Identifier: Apache-2.0
"""The private database server of a job: one folder, one socket, no network, in a box of its own.

In its folder the server may write to `data`, `tmp`, `run` and its error log. It does not see the other files there,
server.json and the option files.
"""

from __future__ import annotations

import os
import resource
import secrets
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pymysql
from ansible.module_utils.th_core.artifacts import write_text
from ansible.module_utils.th_core.mark import short_folder
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_sandbox.box import Box, BoxedCommand, Settings
from ansible.module_utils.th_sandbox.cgroups import join_for_life
from ansible.module_utils.th_sandbox.limits import ENDED_NEXT, BoxLimits, DatabaseLimits, end_early
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_server.accounts import accounts, administrator
from ansible.module_utils.th_server.engine import Engine
from ansible.module_utils.th_server.family import Accounts
from ansible.module_utils.th_server.mariadb import Server, ServerError

SOCKET_PATH_LIMIT = 100  # sun_path holds 108 bytes with the NUL (unix(7)); a few are left for temporary names
SPARE_CONNECTIONS = 20
"""Connections that a server accepts in addition to those of the job's user: they are for the worker."""

_PASSED = ("PATH", "TH_JOB_DIR", "TZ")
"""Variables of the environment: TH_JOB_DIR, by which the worker finds a job's processes, and TZ, for the log."""

_MEMORY_FOLDERS = BoxLimits(tmp=64 << 20)
_LOOK = 0.005


def binary_log(folder: Path) -> str:
    """The path of a server's binary log, if it has one: not in the data directory, whose size is measured."""
    return str(folder / "run" / "binlog")


def create_data(folder: Path, engine: Engine, options: Iterable[str], time_limit: float, sandbox: Settings) -> None:
    """Create an empty data directory in `folder`/data. Raises ServerError, StepError ``sandbox_unavailable``."""
    data, tmp = folder / "data", folder / "tmp"
    for path in (data, tmp):  # a server removes the temporary tables of others from its folder: it must not be shared
        path.mkdir(mode=0o700, exist_ok=True)
    command = engine.family.create(engine.program, engine.find, data, tmp)
    argv = [*command, *data_options(engine, options), *_run_as(sandbox)]
    boxed = engine.box(_settings(sandbox), writable=[data, tmp]).around(_limited(argv, sandbox), folder)
    program = Path(command[0]).name
    try:
        result = subprocess.run(
            boxed.argv,
            pass_fds=boxed.handles,
            env=_environment(),
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=time_limit,
            check=False,
        )
        boxed.started()
        output = (result.stdout + result.stderr).strip()[-2000:]
        if not boxed.made():
            raise StepError("sandbox_unavailable", f"The server's box cannot be made: {output}.")
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"{program} did not end in {time_limit} s") from error
    finally:
        boxed.close()
    if result.returncode != 0:
        raise ServerError(f"{program} failed: {output}")


def data_options(engine: Engine, options: Iterable[str]) -> list[str]:
    """Those of a server's options that its data directory has to be created with."""
    return [option for option in options if option.startswith(engine.family.data_options)]


def start(
    folder: Path,
    engine: Engine,
    *,
    databases: Mapping[str, str],
    user: str,
    password: str,
    options: Iterable[str],
    time_limit: float,
    sandbox: Settings,
    definers: Iterable[str] = (),
    settings: Iterable[str] = (),
) -> Server:
    """Start a server on `folder`/data and wait until it answers; it outlives the calling process.

    Missing `databases` are created. The administrator gets a new name and password; all other accounts except the job's
    user are removed, ``root`` included. `definers` are accounts (``user@host``) that cannot log in, for the views,
    triggers and routines that run in their name. `settings` are statements that set server variables, and `options`
    further options of the server, which take precedence over the engine's.

    Raises ServerError with the end of the error log, StepError ``sandbox_unavailable``.
    """
    server = Server(str(folder), "", dict(databases), user, engine=engine.name, family=engine.family.name)
    for path in (folder / "tmp", server.run_dir):
        path.mkdir(mode=0o700, exist_ok=True)
    server = replace(server, socket=_socket_path(server))
    server.error_log.touch(mode=0o600)
    admin = administrator(), secrets.token_urlsafe(24)
    mariadb.write_option_file(server.admin_file, server, user=admin[0], password=admin[1])
    mariadb.write_option_file(server.job_file, server, user=user, password=password)
    init_file = folder / "init.sql"
    most = sandbox.database.connections
    wanted = Accounts(tuple(databases.values()), user, password, admin, most, tuple(definers))
    write_text(init_file, accounts(engine.family, wanted, settings), 0o600)
    argv = [
        engine.program,
        "--no-defaults",
        f"--datadir={server.datadir}",
        f"--socket={server.socket}",
        f"--pid-file={server.run_dir / 'server.pid'}",
        f"--log-error={server.error_log}",
        f"--tmpdir={folder / 'tmp'}",
        f"--secure-file-priv={folder / 'tmp'}",
        f"--init-file={init_file}",
        "--skip-networking",
        "--local-infile=OFF",
        "--event-scheduler=OFF",
        "--skip-log-bin",
        *engine.family.options,
        *([f"--max-connections={most + SPARE_CONNECTIONS}"] if most else []),
        *engine.options,
        *options,
        *_run_as(sandbox),
    ]
    box = engine.box(
        _settings(sandbox),
        read_only=[init_file],
        writable=[server.datadir, folder / "tmp", Path(server.socket).parent, server.run_dir, server.error_log],
        outlives=True,
    )
    limits = BoxLimits(memory=sandbox.database.memory, processes=sandbox.database.processes)
    try:
        server = _run(server, _limited(argv, sandbox), box, time_limit, limits if sandbox.cgroups else None)
    finally:
        os.truncate(init_file, 0)  # the box still shows a file that was unlinked outside
        init_file.unlink()
    return server


def _run(server: Server, argv: Sequence[str], box: Box, time_limit: float, limits: BoxLimits | None) -> Server:
    boxed = box.around(argv, server.folder)
    try:
        with open(os.devnull, "r+b") as nothing, open(server.error_log, "ab") as errors:
            process = subprocess.Popen(
                boxed.argv,
                pass_fds=boxed.handles,
                env=_environment(),
                stdin=nothing,
                stdout=nothing,
                stderr=errors,
                cwd=server.folder,
                start_new_session=True,
                preexec_fn=partial(_in_child, limits),
            )
        boxed.started()
        server = mariadb.save(replace(server, pid=boxed.process(process.pid)))
        try:
            _wait_until_it_answers(server, process, boxed, time_limit)
        except BaseException:
            mariadb.stop(server, 2)
            raise
    finally:
        boxed.close()
    return server


def _in_child(limits: BoxLimits | None) -> None:
    if limits:
        join_for_life(limits)
    end_early(ENDED_NEXT)


def _wait_until_it_answers(
    server: Server, process: subprocess.Popen[bytes], boxed: BoxedCommand, time_limit: float
) -> None:
    deadline = time.monotonic() + time_limit
    while True:
        if process.poll() is not None:
            if process.returncode == 1 and not boxed.made():
                raise StepError("sandbox_unavailable", f"The server's box cannot be made: {server.last_words()}.")
            raise ServerError(f"the private server did not start:\n{server.last_words()}")
        try:
            with mariadb.connect(server, server.admin_file, time_limit=max(1, deadline - time.monotonic())):
                return
        except pymysql.err.OperationalError as error:
            if time.monotonic() > deadline:
                raise ServerError(
                    f"the private server did not answer in {time_limit} s ({error}):\n{server.last_words()}"
                ) from error
            time.sleep(_LOOK)


def _limited(argv: Sequence[str], sandbox: Settings) -> list[str]:
    """The command with the limits of the server's processes."""
    limits: DatabaseLimits = sandbox.database
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = limits.open_files if most_files == resource.RLIM_INFINITY else min(limits.open_files, most_files)
    wanted = {"data": limits.memory, "nofile": files}
    if sandbox.kind != "none":  # without a box, all processes of this user would count
        wanted["nproc"] = limits.processes
    words = [f"--{name}={value}:{value}" for name, value in wanted.items() if value]
    return ["/usr/bin/prlimit", *words, "--", *argv] if words else list(argv)


def _settings(sandbox: Settings) -> Settings:
    """The settings for a server's box: without the limits and the extra folders of other boxes."""
    return replace(sandbox, limits=_MEMORY_FOLDERS, read_only=())


def _environment() -> dict[str, str]:
    environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
    return {**environment, "LC_ALL": "C.UTF-8"}


def _run_as(sandbox: Settings) -> list[str]:
    # the server refuses to run as root unless that is explicit; in a box it is not root
    return ["--user=root"] if os.geteuid() == 0 and sandbox.kind == "none" else []


def _socket_path(server: Server) -> str:
    natural = str(server.run_dir / "server.sock")
    # many projects pass the URL, which quotes the path, to configparser, which does not allow a %
    if len(os.fsencode(natural)) <= SOCKET_PATH_LIMIT and quote(natural) == natural:
        return natural
    return str(short_folder() / "server.sock")
