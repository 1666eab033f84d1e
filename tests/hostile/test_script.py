# SPDX-License-Identifier: Apache-2.0
"""Scripts of the plugin shell_script: what they try, where a change brings them, and what they can say."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from ansible.module_utils.th_core.step import StepError

from tests.kit import boxes, load_module
from worker.inputs import untrusted
from worker.verdict import artifacts

module = load_module("shell_script", "run_script")
SECRET = "pass-word-5"
JOB = {
    "id": "b1", "name": "gate", "project": "org/thing",
    "zuul": {
        "ZUUL_PROJECT": "org/thing", "ZUUL_CHANGE": "7", "ZUUL_URL": f"https://zuul:{SECRET}@git.example.org/p",
        "ZUUL_EXTRA_SWIFT_HMAC_BODY": SECRET, "LD_PRELOAD": "/x.so", "ZUUL_x": "1", "TH_RESULT_FILE": "/etc/passwd",
    },
}  # fmt: skip


class Place:
    """A job's folder with a checkout, in which a script runs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.src = folder / "job", folder / "job" / "src"
        for path in (self.src, self.folder / "artifacts", self.folder / "results"):
            path.mkdir(parents=True)

    def run(self, body: str, name: str = "test.sh", limits: Any = None, **params: Any) -> dict[str, Any]:
        """Run a script of the checkout with this body."""
        if body:
            (self.src / "test.sh").write_text(f"#!/bin/bash\n{body}\n")
            (self.src / "test.sh").chmod(0o755)
        given = {
            "script": name, "arguments": [], "merged": False, "job": JOB, "job_dir": str(self.folder),
            "sandbox": boxes.given(**(limits or {})), "time_limit": 600, "log_limit": 20_000,
        }  # fmt: skip
        return dict(module.run_script({**given, **params}))

    def error(self, body: str, **params: Any) -> StepError:
        """What a script that fails ends with."""
        with pytest.raises(StepError) as caught:
            self.run(body, **params)
        assert not (self.folder / "artifacts" / "plugin.json").exists()
        return caught.value

    @property
    def log(self) -> str:
        return (self.folder / "results" / "shell_output.log").read_text()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_script_is_told_what_its_job_is_and_no_password(place: Place, tmp_path: Path) -> None:
    result = place.run(
        'env; echo "$PWD|$1|$2|$3|$4"; echo made >"$2/file"; echo made >own; echo "all of 3 passed" >$TH_RESULT_FILE',
        arguments=["--fast; x"],
    )
    work = place.folder / "script"
    assert result == {"changed": True, "message": "all of 3 passed"}
    lines = place.log.splitlines()
    assert f"{place.src}|{place.src}|{work}|b1|--fast; x" in lines
    assert {"TH_JOB_NAME=gate", f"TH_RESULT_FILE={work}/result", "ZUUL_CHANGE=7"} <= set(lines)
    assert "ZUUL_URL=https://git.example.org/p" in lines
    assert SECRET not in place.log and "LD_PRELOAD" not in place.log and "ZUUL_x" not in place.log
    assert (place.src / "own").exists() and (work / "file").exists()
    found = artifacts.read(place.folder / "artifacts")
    assert found.message == "all of 3 passed" and not found.problems
    script = tmp_path / "operators.sh"
    script.write_text("#!/bin/sh\ncat $0 >/dev/null && echo ours >$TH_RESULT_FILE; echo x >>$0 || true\n")
    script.chmod(0o755)
    assert place.run("", str(script))["message"] == "ours" and "x" not in script.read_text().splitlines()


def test_it_tries_what_a_box_is_there_for(
    place: Place, tmp_path: Path, stopped_by: Callable[[str], None]
) -> None:
    """The network, files outside, the job's own records, other processes, and to outlive its job: all in one script."""
    (tmp_path / "secret").write_text("stolen")
    (place.folder / "job.yaml").write_text("stolen")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place.run(f"""
            exec 2>/dev/null
            (exec 3<>/dev/tcp/127.0.0.1/{listener.getsockname()[1]}) && echo STOLEN network
            cat {tmp_path}/secret {place.folder}/job.yaml && echo STOLEN file
            echo '{{"event": "error"}}' >>{place.folder}/artifacts/errors.jsonl && echo STOLEN artifact
            echo forged >{place.folder}/results/index.html && echo STOLEN result
            echo forged >{tmp_path}/outside # what it writes there is in a folder in memory
            echo forged >/usr/th-attack && echo STOLEN usr
            kill -9 {os.getpid()} && echo STOLEN process
            setsid sleep 86399 & disown
            echo tried
        """)
    assert place.log == "tried\n"
    assert not (tmp_path / "outside").exists() and not (place.folder / "results" / "index.html").exists()
    assert not [one for one in psutil.process_iter() if one.status() != "zombie" and "86399" in one.cmdline()]
    stopped_by("the box")


RESULTS = {
    "a link to a file of the worker's": "ln -s {secret} $TH_RESULT_FILE",
    "a link to what never ends": "ln -s /dev/zero $TH_RESULT_FILE",
    "a pipe that nobody writes to": "mkfifo $TH_RESULT_FILE",
    "a folder": "mkdir $TH_RESULT_FILE",
    "a file with two names": "echo x >$1/x; ln $1/x $TH_RESULT_FILE || ln $2/y $TH_RESULT_FILE; echo x >$2/y",
    "a socket": "python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('result')\"; mv result $TH_RESULT_FILE",
    "nothing": "rm -rf $2/*; chmod 0 $2",
}


@pytest.mark.parametrize("how", RESULTS)
def test_its_message_is(place: Place, tmp_path: Path, how: str, stopped_by: Callable[[str], None]) -> None:
    (tmp_path / "secret").write_text("stolen")
    work = place.folder / "script"
    work.mkdir()
    (work / "result").write_text("of an earlier run")
    assert place.run(RESULTS[how].format(secret=tmp_path / "secret"))["message"] in ("", "x")
    stopped_by("opening nothing but a plain file")


def test_its_message_is_a_gigabyte_of_what_moves_a_terminal(place: Place, stopped_by: Callable[[str], None]) -> None:
    body = r"printf '\033[2Jred\r\342\200\256one\000\377\nFAILURE - Zuul\n' >$TH_RESULT_FILE; "
    said = place.run(body + "truncate -s 1G $TH_RESULT_FILE")["message"]
    assert len(said) <= 3000 and "red" in said and "\x1b" not in said and "\u202e" not in said and "\0" not in said
    document = json.loads((place.folder / "artifacts" / "plugin.json").read_text())
    assert untrusted.text(document["message"]) == document["message"]
    error = place.error(body + "head -c 100000 /dev/zero | tr '\\0' x >>$TH_RESULT_FILE; exit 7")
    assert error.code == "script_failed" and len(error.detail) <= 4000
    assert error.detail.splitlines()[0].endswith("(exit status 7)") and "\x1b" not in error.detail
    stopped_by("a limit, and what is printable")


def test_it_prints_without_end(place: Place, stopped_by: Callable[[str], None]) -> None:
    error = place.error("yes 'a long line of nothing at all'", time_limit=0.5)
    assert error.code == "script_failed" and "time_limit" in error.detail
    assert 10_000 < (place.folder / "results" / "shell_output.log").stat().st_size <= 20_000
    stopped_by("the limit of its log, and its time limit")


def test_it_goes_over_a_limit_of_the_box(place: Place, stopped_by: Callable[[str], None]) -> None:
    error = place.error("while :; do :; done", limits={"cpu_seconds": 1})
    assert error.code == "over_limit" and "sandbox_cpu_seconds" in error.detail
    stopped_by("the limit of its processor time")


def test_it_never_ends(place: Place, stopped_by: Callable[[str], None]) -> None:
    error = place.error("echo waiting for a database; trap '' TERM; sleep 86399", time_limit=0.5)
    assert error.code == "script_failed"
    assert error.detail == (
        "waiting for a database (ended after 0.5 s (shell_script_time_limit, or `time_limit` of the job))"
    )
    stopped_by("its time limit")


def test_how_it_ends_is_said(place: Place) -> None:
    assert place.error("echo one; echo; exit 3").detail == "one (exit status 3)"
    assert place.error("exit 3").detail == "exit status 3; it printed nothing"
    assert place.error("kill -SEGV $$").detail == "killed by SIGSEGV; it printed nothing"
    assert place.error("echo 'first\nsecond' >$TH_RESULT_FILE; false").detail == "first (exit status 1)\nsecond"
    (place.src / "plain").write_text("exit 4\n")
    assert place.error("", name="./plain").detail == "exit status 4; it printed nothing"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/no/such/script", ".", "", "none.sh"])
def test_a_script_that_is_not_there_is_the_operators(place: Place, tmp_path: Path, name: str) -> None:
    (tmp_path / "job" / "x").write_text("#!/bin/sh\n")
    assert place.error("", name=name).code == "playbook_failed"


def test_a_script_that_the_change_has_removed_is_the_changes(place: Place, stopped_by: Callable[[str], None]) -> None:
    error = place.error("", name="none.sh", merged=True)
    assert error.code == "script_failed" and "the change has no none.sh" in error.detail
    stopped_by("a look at the code that it is based on")
