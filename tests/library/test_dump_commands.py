# SPDX-License-Identifier: Apache-2.0
"""Commands of the client's in a dump."""

import pytest
from ansible.module_utils.th_dump.completeness import BROKEN, _judged
from ansible.module_utils.th_dump.facts import FactsReader

DUMP = "CREATE TABLE t (id INT);\n"


def read(text: str) -> tuple[str, str]:
    reader = FactsReader()
    reader.feed(text.encode())
    return _judged(reader.close(), "")


@pytest.mark.parametrize("command", ["source other.sql", "SOURCE other.sql", r"\. other.sql", r"\! ls", "system ls"])
def test_a_command_of_the_clients_is_named(command: str) -> None:
    word = command.split()[0]
    for text in (f"{DUMP}{command}\n", f"{command}\n{DUMP}", f"{DUMP}{command};\n{DUMP}"):
        state, reason = read(text)
        assert state == BROKEN and f"is a command of the client's ({word}), which is not run: put" in reason, reason
        number = next(number for number, row in enumerate(text.splitlines(), 1) if row.startswith(command))
        assert reason.startswith(f"line {number} ")
    assert "of another file" in read(f"source x\n{DUMP}")[1]


@pytest.mark.parametrize("text", ["CREATE TABLE source (id INT);\n", "INSERT INTO t VALUES ('\\! ls\nsource x');\n"])
def test_what_only_looks_like_one_is_none(text: str) -> None:
    assert "command of the client's" not in read(text)[1]
