# SPDX-License-Identifier: Apache-2.0
"""The job's account on a private MySQL logs in from every driver that projects use, the first time as well."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.th_environment.uv import uv_path
from ansible.module_utils.th_server import mariadb

from tests.kit import toy

PACKAGES = ["pymysql>=1.1", "aiomysql", "asyncmy", "mysql-connector-python"]
DEBIAN = Path("/usr/bin/python3")
"""It has MySQLdb, which is mysqlclient, of Debian's packages: the package index has its source alone."""
HEAD = """
import asyncio, json, sys
account = json.loads(sys.argv[1])
def ask(connection):
    cursor = connection.cursor()
    cursor.execute("SELECT CURRENT_USER()")
    print(cursor.fetchone()[0])
async def ask_soon(connecting):
    connection = await connecting
    async with connection.cursor() as cursor:
        await cursor.execute("SELECT CURRENT_USER()")
        print((await cursor.fetchone())[0])
    connection.close()
"""
DRIVERS = {
    "PyMySQL": "import pymysql; ask(pymysql.connect(**account))",
    "mysql-connector-python": "from mysql import connector; ask(connector.connect(**account))",
    "mysql-connector-python, pure": "from mysql import connector; ask(connector.connect(**account, use_pure=True))",
    "aiomysql": "import aiomysql; account['db'] = account.pop('database')\n"
    "asyncio.run(ask_soon(aiomysql.connect(**account)))",
    "asyncmy": "import asyncmy; asyncio.run(ask_soon(asyncmy.connect(**account)))",
    "mysqlclient": "import MySQLdb; ask(MySQLdb.connect(**account))",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mariadb.Server]:
    made = toy.start_mysql(tmp_path_factory.mktemp("mysql") / toy.NAME)
    yield made
    mariadb.stop(made, 0)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    venv = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([uv_path(), "venv", "--quiet", "--python", sys.executable, str(venv)], check=True)
    install = [uv_path(), "pip", "install", "--quiet", "--only-binary", ":all:", "--python", str(venv), *PACKAGES]
    subprocess.run(install, check=True)
    return venv / "bin" / "python"


@pytest.mark.parametrize("driver", DRIVERS)
def test_it_logs_in(server: mariadb.Server, python: Path, driver: str) -> None:
    with mariadb.connect(server, server.admin_file) as connection:
        mariadb.query(connection, "FLUSH PRIVILEGES")  # forgets the passwords that it has seen
    account = mariadb.read_account(server.job_file)
    given = {"unix_socket": server.socket, "database": server.database}
    given |= {"user": account["user"], "password": account["password"]}
    program = DEBIAN if driver == "mysqlclient" else python
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [program, "-c", HEAD + DRIVERS[driver], json.dumps(given)], capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.stdout == "toy@localhost\n", done.stderr
