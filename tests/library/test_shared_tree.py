# SPDX-License-Identifier: Apache-2.0
"""One tree of migrations over several databases: refused with the reason, and held against nobody's change."""

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_checkout.tree_checks import check_fit
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_server import mariadb
from ansible.module_utils.th_tools.profile import check_profile
from ansible.module_utils.th_tools.revisions import Revision, Tree

from tests.kit import toy

# what Flask-Migrate 4 writes with --multidb, and alembic with --template multidb
MULTIDB = """
revision = "b2"
down_revision = "a1"

def upgrade(engine_name{hint}):
    globals()[f"upgrade_{{engine_name}}"]()

def downgrade(engine_name):
    globals()[f"downgrade_{{engine_name}}"]()

def upgrade_():
    pass

def upgrade_orders():
    pass
"""
PLAIN = 'revision = "b2"\ndown_revision = "a1"\n\n\ndef upgrade({arguments}):\n    pass\n'
TREE = Tree({"a1": Revision("a1", (), "v/a1.py", ""), "b2": Revision("b2", ("a1",), "v/b2.py", "")})


def profile(**more: Any) -> dict[str, Any]:
    return {"file": "projects/shop.yaml", **check_profile({"migrations": {"tool": "alembic", **more}})}


@pytest.mark.parametrize("hint", ["", ": str"])
def test_a_tree_of_several_databases_is_refused(hint: str) -> None:
    files = {"v/b2.py": MULTIDB.format(hint=hint).encode()}
    with pytest.raises(StepError, match=r"projects/shop.yaml: migrations: v/b2.py: upgrade\(engine_name\)") as raised:
        check_fit(TREE, profile(), files.get)
    assert raised.value.code == "profile_wrong" and "tool: command" in raised.value.detail


@pytest.mark.parametrize("arguments", ["", "engine=None", "*args", "**kwargs", "*, engine=None"])
def test_other_trees_are_not(arguments: str) -> None:
    check_fit(TREE, profile(), {"v/b2.py": PLAIN.format(arguments=arguments).encode()}.get)
    check_fit(TREE, profile(), {"v/b2.py": b"def upgrade(:"}.get)


def test_a_command_for_each_migration_can_walk_one_of_the_databases() -> None:
    by_command = {"tool": "command", "command": ["x"], "version_locations": ["v"]}
    check_fit(TREE, profile(**by_command), {"v/b2.py": MULTIDB.format(hint="").encode()}.get)


TENANTS = """
from alembic import context
from sqlalchemy import create_engine, pool

urls = {urls}
for url in urls:
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
"""
OTHERS = '[context.config.get_main_option("sqlalchemy.url"), "sqlite:///other.db"]'
RETRIES = '[context.config.get_main_option("sqlalchemy.url")] * 2'


def test_an_env_py_that_goes_through_tenants(job_dir: Path, server: mariadb.Server) -> None:
    chain = {"a1": (None, toy.FIRST)}
    error = toy.error(toy.walk(job_dir, chain, env_py=TENANTS.format(urls=OTHERS)))
    assert error["code"] == "profile_wrong"
    assert error["detail"].startswith("a1 is to run again, although the database has it")
    assert "One tree over several databases" in error["detail"]


def test_an_env_py_that_the_change_touches_is_its_own_affair() -> None:
    from ansible.module_utils.th_walk.stages import Tree as Stages

    stages = Stages({"stages": [], "revisions": {}, "touched": {"helpers": ["migrations/env.py"]}})
    assert stages.alters_env and not Stages({"stages": [], "revisions": {}}).alters_env


def test_an_env_py_that_tries_again(job_dir: Path, server: mariadb.Server) -> None:
    events = toy.walk(job_dir, {"a1": (None, toy.FIRST)}, env_py=TENANTS.format(urls=RETRIES))
    assert events[-1]["event"] == "final", json.dumps(events)
