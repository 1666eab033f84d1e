# SPDX-License-Identifier: Apache-2.0
"""What steps of an operator's own leave and say: files that are linked, failures that tell why, a readable log."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kit import ROOT
from tests.kit.recorded_walks import case
from worker import runner
from worker.report import own_files, render

VALIDATE = "ansible.builtin.validate_argument_spec"
TASK = "Validating arguments against arg spec main - Check out a change"


def event(kind: str, stdout: str = "", **data: Any) -> dict[str, Any]:
    return {"event": kind, "stdout": stdout, "event_data": data}


class Log:
    def __init__(self) -> None:
        self.stream, self.tasks = io.StringIO(), list[tuple[str, str]]()
        self.events = runner._Events(self.stream, lambda role, task: self.tasks.append((role, task)))

    def handle(self, *events: dict[str, Any]) -> str:
        for one in events:
            self.events.handle(one)
        return self.stream.getvalue()


@pytest.mark.parametrize(
    ("printed", "clean"),
    [
        ("\r\nTASK [x] ***\r", "\nTASK [x] ***\n"),
        ("ok: [localhost]\r\n  msg: a\r\n", "ok: [localhost]\n  msg: a\n\n"),
        ("10%\r20%\r\r\nend", "10%\n20%\nend\n"),
        ("\x1b[2Ja", "\ufffd[2Ja\n"),
    ],
)
def test_no_line_ends_with_what_the_terminal_has_made_of_it(printed: str, clean: str) -> None:
    assert Log().handle(event("verbose", printed)) == clean


@pytest.mark.parametrize(
    "action",
    [
        "meta", "ansible.builtin.meta", "set_fact", "ansible.builtin.set_fact", "ansible.builtin.include_tasks",
        "include_role",
    ],
)
def test_what_only_arranges_tasks_is_no_progress(action: str) -> None:
    log = Log()
    text = log.handle(event("playbook_on_task_start", "TASK [x] ***", task="x", role="project", task_action=action))
    assert text == "TASK [x] ***\n", "the log has it"
    assert log.tasks == [("project", "")], "it counts, without a name"


def test_that_variables_are_right_is_not_told() -> None:
    log = Log()
    told = log.handle(
        event("playbook_on_task_start", f"\r\nTASK [checkout : {TASK}] ***", task=TASK, role="checkout",
              task_action=VALIDATE),
        event("runner_on_ok", "ok: [localhost]", task=TASK, role="checkout", task_action=VALIDATE),
        event("playbook_on_task_start", "\r\nTASK [checkout : Check out] ***", task="Check out", role="checkout",
              task_action="check_out_change"),
    )  # fmt: skip
    assert told == "\nTASK [checkout : Check out] ***\n"
    assert log.tasks == [("checkout", "Check out")]


def test_variables_that_are_wrong_are_told() -> None:
    log = Log()
    same: dict[str, Any] = {"task": TASK, "role": "checkout", "task_action": VALIDATE}
    told = log.handle(
        event("playbook_on_task_start", f"TASK [checkout : {TASK}] ***", **same),
        event("runner_on_failed", "fatal: [localhost]: FAILED!", res={"msg": "checkout_x must be int"}, **same),
    )
    assert told == f"TASK [checkout : {TASK}] ***\nfatal: [localhost]: FAILED!\n"
    assert (log.events.task, log.events.message) == ("the variables of the role checkout", "checkout_x must be int")


@pytest.mark.parametrize(
    ("result", "first", "more"),
    [
        ({"msg": "Thirteen is not allowed."}, "Thirteen is not allowed.", []),
        ({"msg": "non-zero return code", "rc": 2, "stderr": "a\nno such table\n", "stdout": "step 1\nstep 2"},
         "non-zero return code: no such table", ["stderr:", "a", "no such table", "stdout:", "step 1", "step 2"]),
        ({"msg": "non-zero return code", "stdout": "assert 1 == 2\nFAILED x", "stderr": ""},
         "non-zero return code: FAILED x", ["stdout:", "assert 1 == 2", "FAILED x"]),
        ({"msg": "MODULE FAILURE", "module_stderr": "Traceback\nKeyError: 'x'", "module_stdout": ""},
         "MODULE FAILURE: KeyError: 'x'", ["stderr:", "Traceback", "KeyError: 'x'"]),
        ({"censored": "the output has been hidden"}, "the output has been hidden", []),
        ({"stderr": "only this"}, "only this", ["stderr:", "only this"]),
        ({}, "", []),
    ],
)  # fmt: skip
def test_a_failed_task_tells_what_its_program_has_printed(result: dict[str, Any], first: str, more: list[str]) -> None:
    assert runner.failure_text(result).splitlines() == [first, *more] if first else runner.failure_text(result) == ""


def test_of_much_that_was_printed_the_end_is_kept() -> None:
    said = runner.failure_text({"msg": "no", "stderr": "x" * 100_000 + "\nthe end", "stdout": "y" * 100_000})
    assert len(said) <= 4000 and said.startswith("no: the end\n") and "..." in said


def test_files_of_own_steps_are_linked(tmp_path: Path) -> None:
    results = tmp_path / "results"
    (results / "shots" / "deep" / "deeper").mkdir(parents=True)
    for name in ("lint.log", "plan", "shots/one.png", "shots/deep/two.json", "page.html", "x.php.txt", ".hidden",
                 "a b.txt", "<b>.txt", "shots/deep/deeper/three.txt", "task_output.log", "odd.xyz"):  # fmt: skip
        (results / name).write_text("x" * 7)
    (results / "artifacts").mkdir()
    (results / "artifacts" / "walk.jsonl").write_text("")
    os.mkfifo(results / "pipe")
    (results / "link").symlink_to("/etc/passwd")
    os.link(results / "plan", results / "plan2")
    render.write(results, case("success").verdict(), render.Header({}))
    assert own_files.find(results) == [
        ("lint.log", 7), ("odd.xyz", 7), ("result.json", (results / "result.json").stat().st_size),
        ("shots/deep/two.json", 7), ("shots/one.png", 7), ("task_output.log", 7),
    ]  # fmt: skip
    page = (results / "index.html").read_text()
    for name in ("lint.log", "odd.xyz", "shots/one.png", "shots/deep/two.json"):
        assert f'href="{name}">{name}</a><span class="what">{render.OWN.replace(chr(39), "&#39;")}</span>' in page
    assert page.count('href="task_output.log"') == 1 and "page.html" not in page and "passwd" not in page


def test_so_many_files_that_nobody_reads_them(tmp_path: Path) -> None:
    for number in range(own_files.MOST + 50):
        (tmp_path / f"{number:04}.txt").write_text("")
    assert len(own_files.find(tmp_path)) == own_files.MOST
    assert own_files.find(tmp_path / "none") == []


def test_what_is_not_published_is_not_linked() -> None:
    defaults = yaml.safe_load((ROOT / "roles" / "upload_logs" / "defaults" / "main.yaml").read_text())
    assert set(defaults["upload_logs_refused_extensions"]) == own_files.REFUSED
