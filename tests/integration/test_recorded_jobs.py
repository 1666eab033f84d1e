# SPDX-License-Identifier: Apache-2.0
"""One recorded job a verdict code, run by `th run --params`: what it answers is what docs/verdicts.md says."""

import json
import signal
import subprocess

import pytest

from tests.kit import ROOT
from tests.kit.installation import PATIENCE, leftovers, program
from tests.kit.waiting import read_until
from worker.verdict import CODES, Fault

from .endings import ALONE, SPECIAL, check_end, check_ends, documented
from .recorded import JOBS, SCENARIOS, TOGETHER, Installation, arguments_of, recorded

# What no job can cause: it takes somebody who stops a worker as a service, or a defect of ours; or two engines.
ELSEWHERE = {
    "worker_stopped": "tests/integration/test_ends.py",
    "worker_failed": "tests/data/walks/worker_failed/expected.json",
    "sandbox_unavailable": "tests/unit/test_job.py",
    "engines_disagree": "tests/integration/test_engines.py",
}


def test_every_code_has_a_recorded_job_or_a_reason_to_have_none() -> None:
    assert set(CODES) == SCENARIOS.keys() | ELSEWHERE.keys()
    assert {path.stem for path in JOBS.glob("*.json")} == SCENARIOS.keys()
    for code, place in ELSEWHERE.items():
        assert code in (ROOT / place).read_text(), f"{place} has no test of {code}"


@pytest.mark.parametrize(("number", "code"), list(enumerate(SCENARIOS)))
def test_what_is_recorded_is_what_zuul_would_send(number: int, code: str) -> None:
    assert recorded(code) == arguments_of(number, code)


def test_every_recorded_job_is_run_alone_or_together_with_others() -> None:
    together = [code for codes in TOGETHER.values() for code in codes]
    assert sorted([*ALONE, *SPECIAL, *together]) == sorted(SCENARIOS)


def test_datasets_that_no_change_is_to_blame_for(installation: Installation) -> None:
    check_ends(installation, "datasets")


@pytest.mark.parametrize("code", [code for code in ALONE if CODES[code].fault is not Fault.CHANGE])
def test_a_job_that_no_change_is_to_blame_for(installation: Installation, code: str) -> None:
    check_end(installation, code)


def test_wrong_arguments(installation: Installation) -> None:
    done = subprocess.run(
        [program("th"), "run", *installation.add("bad_request")],
        capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("th: --ref (ZUUL_REF): ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(("code", "size"), [("disk_full", "60m"), ("job_folder", "4k")])
def test_a_disk_that_is_full(installation: Installation, code: str, size: str) -> None:
    """A file system of its own, small and full: in a mount namespace, which needs no root."""
    words = installation.add(code)
    jobs = installation.root / code / "jobs"
    jobs.mkdir()
    fill = f"head -c 1m /dev/zero >{jobs}/.full 2>/dev/null;" if code == "job_folder" else ""
    command = " ".join([program("th"), "run", *words, "--json"])
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
         f"mount -t tmpfs -o size={size} none {jobs} && {{ {fill} exec {command}; }}"],
        capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == documented(code).exit_code, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert [message["code"] for message in document["messages"]] == [code]
    assert document["fault"] == "machine" and "Traceback" not in done.stderr


def test_a_job_that_is_interrupted(installation: Installation) -> None:
    words = installation.add("canceled")
    with subprocess.Popen(
        [program("th"), "run", *words, "--json"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr
        read_until(process.stderr, "c3 -> d4")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == documented("canceled").exit_code == 130
    assert not leftovers(installation.root / "canceled" / "jobs")
    document = json.loads(output)
    assert document["result"] == "CANCELED" and [item["code"] for item in document["messages"]] == ["canceled"]
