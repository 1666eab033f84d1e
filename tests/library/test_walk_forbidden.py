# SPDX-License-Identifier: Apache-2.0
"""What the private server refuses on purpose is not the change's fault, and nobody can make it look so."""

from pathlib import Path

import pytest
from ansible.module_utils.th_server import mariadb

from tests.kit.toy import FIRST, error, walk

LOAD = "LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE t (name)"
FAKED = "(4166, 'The used command is not allowed')"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (f'op.execute("{LOAD}")', "forbidden_here"),
        (f'raise RuntimeError("{FAKED}")', "migration_raised"),
        ('op.execute("INSERT INTO t (id) VALUES (1148), (1148)")', "migration_raised"),
    ],
    ids=["refused", "faked", "another"],
)
def test_only_the_servers_own_count_makes_a_refusal(
    job_dir: Path, server: mariadb.Server, body: str, code: str
) -> None:
    refused = f"try:\n    op.execute('{LOAD.replace(chr(39), chr(34))}')\nexcept Exception:\n    pass"
    events = walk(job_dir, {"a1": (None, f"{FIRST}\n{refused}"), "b2": ("a1", body)})
    found = error(events)
    assert (found["code"], found["from"], found["to"]) == (code, "a1", "b2")
    assert found["file"] == "migrations/versions/b2_.py" and found["line"] == 10
    assert ("LOAD DATA LOCAL" in found["detail"].split("[SQL")[0]) == (code == "forbidden_here")
