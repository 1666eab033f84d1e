# SPDX-License-Identifier: Apache-2.0
"""One recorded job a verdict code, run by `th run --params`: what it answers is what docs/verdicts.md says."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.support import heard
from tests.library.gitserver import daemon
from worker.job import RETRY_PAUSE
from worker.outcome import CODES, Outcome, worst

from .recorded import JOBS, SCENARIOS, Installation, arguments_of, recorded
from .world import PATIENCE, ROOT, leftovers, program

# What no job can cause: it takes somebody who stops a worker as a service, or a defect of ours.
ELSEWHERE = {
    "worker_stopped": "tests/integration/test_ends.py",
    "worker_failed": "tests/data/walks/worker_failed/expected.json",
    "sandbox_unavailable": "tests/unit/test_job.py",
}
DOCUMENT = (ROOT / "docs" / "verdicts.md").read_text()
ENDS = ("migration_raised", "migration_killed", "migration_ended", "migration_timed_out")
BESIDE = {
    "migration_unfinished": {"migration_ended"},
    "import_failed": {"migration_unfinished", "migration_raised"},
    "over_limit": {"migration_unfinished"},
    **{end: {"migration_unfinished"} for end in ENDS},
}
"""What is told together with a message of a code: that a migration has not ended, and why."""
AFTER_THE_VERDICT = {"upload_failed"}
"""What never takes a verdict back."""
SPECIAL = {"disk_full", "job_folder", "canceled", "bad_request"}
ONE_TRY = """
import sys
from worker import job, verdict
from worker.cli.main import th

job.RETRY_PAUSE = 0.0
verdict.Verdict.may_retry = False
sys.exit(th())
"""
"""`th` that tries nothing again: trouble of ours would be the same, a job later."""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, packages: Path) -> Iterator[Installation]:
    root = tmp_path_factory.mktemp("recorded")
    (root / "served").mkdir()
    with daemon(root / "served") as url:
        made = Installation(root, url, packages)
        yield made
        made.close()


def documented(code: str) -> Outcome:
    """What docs/verdicts.md says that a message of this code makes of a job."""
    outcomes = "|".join(outcome.name for outcome in Outcome)
    found = re.search(rf"^\| `{code}` \|.*?\| ({outcomes}) \|", DOCUMENT, re.MULTILINE)
    assert found, code
    return Outcome[found[1]]


def run(words: list[str], status: int, once: bool) -> dict[str, Any]:
    """Run the job to its end; what it prints as JSON."""
    th = [sys.executable, "-c", ONE_TRY] if once else [program("th")]
    done = subprocess.run(
        [*th, "run", *words, "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def several_times_a_try(installation: Installation) -> int:
    """A time limit for a job of which a first try ends soon and a second one never: by what a try takes now."""
    words = installation.add("git_unreachable", "measured")
    begun = time.monotonic()
    run(words, documented("git_unreachable").exit_code, True)
    return int(RETRY_PAUSE + 5 * (time.monotonic() - begun))


def test_every_code_has_a_recorded_job_or_a_reason_to_have_none() -> None:
    assert set(CODES) == SCENARIOS.keys() | ELSEWHERE.keys()
    assert {path.stem for path in JOBS.glob("*.json")} == SCENARIOS.keys()
    for code, place in ELSEWHERE.items():
        assert code in (ROOT / place).read_text(), f"{place} has no test of {code}"


@pytest.mark.parametrize(("number", "code"), list(enumerate(SCENARIOS)))
def test_what_is_recorded_is_what_zuul_would_send(number: int, code: str) -> None:
    assert recorded(code) == arguments_of(number, code)


@pytest.mark.parametrize("code", [code for code in SCENARIOS if code not in SPECIAL])
def test_a_recorded_job_ends_as_documented(installation: Installation, code: str) -> None:
    # a message that says why another one is there comes with it, and may be the weightier one
    together = {code, *BESIDE.get(code, ())}
    outcome = Outcome.SUCCESS if code in AFTER_THE_VERDICT else worst(map(documented, together))
    if code == "retry_timed_out":
        words = installation.add(code, job_time_limit=several_times_a_try(installation))
    else:
        words = installation.add(code)
    document = run(words, outcome.exit_code, code != "retry_timed_out")
    assert document["result"] == outcome.name
    codes = [message["code"] for message in document["messages"]]
    assert sorted(codes) == sorted(together)
    message = document["messages"][codes.index(code)]
    assert message["fault"] == CODES[code].fault.value
    assert document["fault"] == ("none" if code in AFTER_THE_VERDICT else message["fault"])
    assert message["counts"] == (code not in AFTER_THE_VERDICT)
    assert message["explanation"] and message["remedy"]
    if document["url"]:
        published = json.loads((Path(document["url"].removeprefix("file://")) / "result.json").read_text())
        assert published["messages"] == document["messages"] and published["result"] == document["result"]


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
        heard(process.stderr, "c3 -> d4")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == documented("canceled").exit_code == 130
    assert not leftovers(installation.root / "canceled" / "jobs")
    document = json.loads(output)
    assert document["result"] == "CANCELED" and [item["code"] for item in document["messages"]] == ["canceled"]
