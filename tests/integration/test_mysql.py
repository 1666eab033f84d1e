# SPDX-License-Identifier: Apache-2.0
"""A whole job on a real server of MySQL: what it passes and what it fails for is the same as on MariaDB."""

from tests.kit.engines import MYSQL, PREPARED, mysql_engine

from .endings import check_ends
from .recorded import DUMP_OF_MYSQL, ON_MYSQL, PASSES, Installation


def test_a_change_on_dumps_of_mysql(installation: Installation) -> None:
    """Nothing but the dumps says that they are to be restored on it."""
    mysql_engine()
    document = check_ends(installation, "mysql", ON_MYSQL, DUMP_OF_MYSQL, engines_dir=str(PREPARED))
    assert {row["engine"] for row in document["datasets"]} == {MYSQL}
    assert [row["result"] for row in document["datasets"] if row["name"] == PASSES] == ["SUCCESS"]
    assert all(message["dataset"] != PASSES for message in document["messages"])
    (duplicate,) = (one for one in document["messages"] if one["code"] == "migration_raised")
    assert "1062" in duplicate["detail"] and "500 values" in duplicate["rows"]
