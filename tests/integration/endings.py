# SPDX-License-Identifier: Apache-2.0
"""A recorded job, run by `th run --params`, and what docs/verdicts.md says of its end."""

import json
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.kit import ROOT
from tests.kit.installation import PATIENCE, program
from worker.job import RETRY_PAUSE
from worker.verdict.outcome import CODES, Outcome, worst

from .recorded import DUMP, PASSES, SCENARIOS, TOGETHER, Installation

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
"""Those that no `th run` alone is enough for."""
ALONE = [
    code for code in SCENARIOS
    if code not in SPECIAL and not any(code in together for together in TOGETHER.values())
]  # fmt: skip
"""Those that a job of its own is run for."""


def documented(code: str) -> Outcome:
    """What docs/verdicts.md says that a message of this code makes of a job."""
    outcomes = "|".join(outcome.name for outcome in Outcome)
    found = re.search(rf"^\| `{code}` \|.*?\| ({outcomes}) \|", DOCUMENT, re.MULTILINE)
    assert found, code
    return Outcome[found[1]]


def run(installation: Installation, words: list[str], status: int, again: bool = False) -> dict[str, Any]:
    """Run the job to its end, which may try it again; what it prints as JSON."""
    words = ["run", *words, "--json"]
    if again:
        done = subprocess.run(
            [program("th"), *words], capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL
        )
    else:
        done = installation.copies.run(words)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def several_times_a_try(installation: Installation) -> int:
    """A time limit for a job of which a first try ends soon and a second one never: by what a try takes now."""
    words = installation.add("git_unreachable", "measured")
    begun = time.monotonic()
    run(installation, words, documented("git_unreachable").exit_code)
    return int(RETRY_PAUSE + 5 * (time.monotonic() - begun))


def check_ends(
    installation: Installation, name: str, codes: Sequence[str] = (), dump: str = DUMP, **config: Any
) -> dict[str, Any]:
    """Run the job that has several codes, each in a dataset of its own, and compare what is said of each with what is
    documented; what it prints as JSON."""
    codes = codes or TOGETHER[name]
    together = {code: {code, *BESIDE.get(code, ())} for code in codes}
    outcomes = {code: worst(map(documented, together[code])) for code in codes}
    words = installation.add_together(name, codes, dump, **config)
    document = run(installation, words, worst(outcomes.values()).exit_code)
    assert document["result"] == worst(outcomes.values()).name
    faults = {CODES[code].fault.value for code in codes}
    assert document["fault"] == ("change" if "change" in faults else document["messages"][0]["fault"])
    assert {row["name"]: row["result"] for row in document["datasets"] if row["name"] != PASSES} == {
        code: outcome.name for code, outcome in outcomes.items()
    }
    assert {message["dataset"] for message in document["messages"]} == set(codes)
    for code in codes:
        of_it = [message for message in document["messages"] if message["dataset"] == code]
        assert sorted(message["code"] for message in of_it) == sorted(together[code])
        check_message(code, next(message for message in of_it if message["code"] == code), True)
    check_published(document)
    return document


def check_message(code: str, message: Mapping[str, Any], counts: bool) -> None:
    """Compare a message with what is documented of its code."""
    assert message["fault"] == CODES[code].fault.value
    assert message["counts"] == counts
    assert message["explanation"] and message["remedy"]


def check_published(document: Mapping[str, Any]) -> None:
    """See that what is published says the same."""
    if document["url"]:
        published = json.loads((Path(document["url"].removeprefix("file://")) / "result.json").read_text())
        assert published["messages"] == document["messages"] and published["result"] == document["result"]


def check_end(installation: Installation, code: str) -> None:
    """Run the recorded job of a code, and compare its end with what is documented."""
    # a message that says why another one is there comes with it, and may be the weightier one
    together = {code, *BESIDE.get(code, ())}
    outcome = Outcome.SUCCESS if code in AFTER_THE_VERDICT else worst(map(documented, together))
    if code == "retry_timed_out":
        words = installation.add(code, job_time_limit=several_times_a_try(installation))
    else:
        words = installation.add(code)
    document = run(installation, words, outcome.exit_code, again=code == "retry_timed_out")
    assert document["result"] == outcome.name
    codes = [message["code"] for message in document["messages"]]
    assert sorted(codes) == sorted(together)
    message = document["messages"][codes.index(code)]
    check_message(code, message, code not in AFTER_THE_VERDICT)
    assert document["fault"] == ("none" if code in AFTER_THE_VERDICT else message["fault"])
    check_published(document)
