# SPDX-License-Identifier: Apache-2.0
"""Version tables on a server that knows no upper and lower case (`lower_case_table_names`)."""

from pathlib import Path

import pytest
from ansible.module_utils.th_dataset.failure import RestoreError
from ansible.module_utils.th_server import mariadb

from .test_restore import DUMP, Home


def test_a_database_with_capitals_has_its_own_version_table(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.keys |= {"database": "Toy_DB", "server_settings": {"lower_case_table_names": 1}}
    try:
        facts, _ = home.restore()
        assert facts["version"] == ["a1"] and facts["version_tables"] == []
        home.dump.write_text(DUMP.replace("INSERT INTO alembic_version VALUES ('a1');", ""))
        with pytest.raises(RestoreError) as caught:
            home.restore()
        assert caught.value.code == "seed_broken"
        assert "the table alembic_version is empty" in str(caught.value)
    finally:
        for server in home.started:
            mariadb.stop(server, 0)
