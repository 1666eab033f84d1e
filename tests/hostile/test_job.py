# SPDX-License-Identifier: Apache-2.0
"""A whole job of a change that tries everything that can be shown to people, and the job after it."""

import base64
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.kit.installation import DATASET, Worker, World, made, script, working

MARK = "the-one-that-stays"
SECRET = DATASET["db_pass"]
MARKUP = "<img src=x onerror=alert(1)>"
BODY = f"""
import base64, os, subprocess, sys
secret = op.get_bind().engine.url.password
os.makedirs('a folder\\nwith a line')
open('a\\nb\\x1b[2J{MARKUP}', 'w').close()
os.symlink('/etc/passwd', 'result.json')
print('plain', secret)
print('base64', base64.b64encode(secret.encode()).decode())
print('hex', secret.encode().hex())
print('backwards', secret[::-1])
print('pieces', ' '.join(secret))
print('list', list(secret))
print('{MARKUP}\\x1b]0;owned\\x07\\u202e\\u2066')
subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', '{MARK}'], start_new_session=True)
raise ValueError('{MARKUP}\\x1b[31m ' + secret)
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, packages: Path) -> Iterator[World]:
    with made(tmp_path_factory.mktemp("world"), packages) as found:
        yield found


@pytest.fixture(scope="module")
def worker(world: World) -> Iterator[Worker]:
    with working(world) as running:
        yield running


def published(folder: Path) -> dict[str, str]:
    """All that was published, by its name; every name is a plain one."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if not path.is_dir()}
    assert all(name.isprintable() and path.is_file() and not path.is_symlink() for name, path in files.items())
    return {name: path.read_text("utf-8") for name, path in files.items()}


def test_a_change_that_says_everything(world: World, worker: Worker, stopped_by: Callable[[str], None]) -> None:
    secret = SECRET.encode()
    files = script("d4", "c3", textwrap.dedent(BODY))
    answer = worker.run(world.change(files, f"{MARKUP}\x1b[2J\u202e"))
    # reported
    assert answer.codes == ["migration_unfinished", "migration_raised"]
    assert answer.document["messages"][1]["file"] == "migrations/versions/d4_.py"
    # nothing of what it wanted has come out
    texts = published(answer.folder)
    forms = [SECRET, SECRET[::-1], secret.hex(), base64.b64encode(secret).decode(), " ".join(SECRET), str(list(SECRET))]
    told = {**texts, "the answer": str(answer.result) + str(answer.data)}
    assert [(name, form) for name, text in told.items() for form in forms if form in text] == []
    assert [name for name, text in texts.items() if any(sign in text for sign in "\x1b\x07\u202e\u2066")] == []
    assert MARKUP not in texts["index.html"] and "&lt;img src=x" in texts["index.html"]
    assert "a folder" not in str(texts.keys()) and "root:" not in texts["result.json"]
    # it is over
    assert not [one for one in psutil.process_iter(["cmdline"]) if MARK in (one.info["cmdline"] or ())]
    # and the next job is unharmed
    good = worker.run(world.migration("op.add_column('t', sa.Column('more', sa.Integer))"))
    assert good.result == "SUCCESS"
    stopped_by("masking, escaping, and the end of its process namespace")
