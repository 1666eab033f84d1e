# SPDX-License-Identifier: Apache-2.0
"""`th history import`: from old logs to artifacts, a verdict and a report."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kit import ROOT
from tests.kit.old_logs import FOLDER, LOGS
from worker.cli.main import th
from worker.config.limits import plain
from worker.verdict import artifacts


def imported(tmp_path: Path, *logs: str, options: tuple[str, ...] = ()) -> Path:
    """The folder with what was made of recorded logs."""
    folder = tmp_path / "history"
    paths = [str(FOLDER / f"{log}.log") for log in logs]
    assert th(["history", "import", *paths, "--out", str(folder), *options]) == 0
    return folder


def verdict(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = th(["verdict", "--json", str(folder)])
    return status, json.loads(capsys.readouterr().out)


def test_what_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = imported(tmp_path, "counters", "interleaved", "middle_left_out", "clock_set_back")
    assert capsys.readouterr().out.splitlines() == [
        f"{FOLDER}/counters.log: 127 lines, 0 not understood",
        "  counters: 3 migrations, 38.421 s, final version 43",
        f"{FOLDER}/interleaved.log: 33 lines, 0 not understood",
        "  interleaved: 3 migrations, 35 s, final version 43",
        "  interleaved-2: 3 migrations (1 unfinished), 8.5 s, no final version",
        "  note: it holds several walks at once; a time that cannot be told apart is left out",
        f"{FOLDER}/middle_left_out.log: 31 lines, 0 not understood",
        "  middle_left_out: 3 migrations (1 unfinished), 4 s, final version 46",
        "  note: the log says that something is left out in it",
        f"{FOLDER}/clock_set_back.log: 16 lines, 0 not understood",
        "  clock_set_back: 2 migrations, 2 s and 1 without a time, final version 42",
        f"written to {folder}; the verdict: th verdict {folder}",
    ]


def test_printed_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = imported(tmp_path, "raised", options=("--json", "--dataset", "user_001"))
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["folder"]) == (1, str(folder))
    assert document["logs"] == [
        {
            "log": f"{FOLDER}/raised.log", "lines": 37, "not_understood": 0, "notes": [],
            "datasets": [{"name": "user_001", "migrations": 1, "unfinished": 1, "untimed": 0, "version": "40",
                          "final": "", "seconds": 33.354}],
        }
    ]  # fmt: skip


def test_all_recorded_logs_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = imported(tmp_path, *(log.stem for log in LOGS))
    assert sorted(path.name for path in folder.iterdir()) == ["artifacts", "job.yaml"]
    read = artifacts.read(folder / "artifacts")
    assert {log.stem for log in LOGS} <= read.walks.keys()
    assert all(walk.restored and walk.damaged == 0 for walk in read.walks.values())
    assert not list((folder / "artifacts").glob(".*"))
    assert th(["verdict", "--write", str(folder)]) == 1
    page = (folder / "index.html").read_text("utf-8")
    assert "&lt;img src=x" in page and "<img src=x" not in page


@pytest.mark.parametrize(
    ("log", "status", "codes"),
    [
        ("good", 0, set()),
        ("counters", 0, set()),
        ("midnight", 0, set()),
        ("downgrade", 0, set()),
        ("ours", 0, set()),
        ("lines_missing", 1, {"migration_unfinished", "migration_ended"}),
        ("raised", 1, {"migration_unfinished", "migration_raised"}),
        ("version_not_written", 1, {"version_unchanged"}),
        ("ours_down_and_up", 1, {"version_unchanged"}),
        ("timed_out", 1, {"migration_unfinished", "migration_timed_out"}),
        ("import_failed", 1, {"import_failed"}),
        ("no_migrations", 1, {"no_migrations_run"}),
        ("seed_missing", 3, {"seed_missing"}),
    ],
)
def test_the_verdict_on_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: str, status: int, codes: set[str]
) -> None:
    found, document = verdict(imported(tmp_path, log), capsys)
    assert (found, {message["code"] for message in document["messages"]}) == (status, codes)


def test_nothing_is_said_of_what_the_change_touches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = imported(tmp_path, "good")
    assert th(["verdict", "--write", str(folder)]) == 0
    assert "touches no migration" not in capsys.readouterr().out + (folder / "index.html").read_text("utf-8")


def test_the_rows_of_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = verdict(imported(tmp_path, "counters"), capsys)[1]["datasets"][0]
    assert (dataset["server"], dataset["version"], dataset["final"]) == ("5.5.35-33.0", "40", "43")
    assert [
        (row["stage"], row["from"], row["to"], row["seconds"], row["rows_changed"], row["rows_read"], row["redo_bytes"])
        for row in dataset["migrations"]
    ] == [
        ("havana", "40", "41", 0.171, 1, 5, 27648),
        ("havana", "41", "42", 36.0, 90930, 45471, 335854080),
        ("patchset", "42", "43", 2.25, 42, 1000, 69632),
    ]


def test_judged_by_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = tmp_path / "user_001.json"
    limits.write_text(
        '{"maximum_migration_times": {"default": 30, "42->43": 1}, "Innodb_rows_read": {"default": 100000}}'
    )
    status, document = verdict(imported(tmp_path, "counters", options=("--limits", str(limits))), capsys)
    assert (status, [message["text"] for message in document["messages"]]) == (
        1,
        # that of the change first
        ["WARNING - Migration 42->43 took too long", "WARNING - Migration 41->42 took too long"],
    )


def test_judged_by_the_limits_of_an_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = tmp_path / "user_001.json"
    limits.write_text('{"maximum_migration_times": {"default": 1, "mysql-9.7": {"default": 30, "41->42": 40}}}')
    options = ("--limits", str(limits), "--dataset", "user_001@mysql-9.7")
    status, document = verdict(imported(tmp_path, "counters", options=options), capsys)
    assert (status, document["messages"]) == (0, [])
    (dataset,) = document["datasets"]
    assert (dataset["name"], dataset["engine"]) == ("user_001@mysql-9.7", "mysql-9.7")


@pytest.mark.parametrize(
    ("name", "dataset"),
    [("user_001@mysql-9.7.log.gz", "user_001@mysql-9.7"), ("a@B.log", "a_B"),
     ("user_001.log", "user_001"), ("user_001.log.gz", "user_001"), ("a b!.txt", "a_b_"), (".log", "log"), ("x", "x")],
)  # fmt: skip
def test_the_dataset_has_the_logs_name(tmp_path: Path, name: str, dataset: str) -> None:
    shutil.copy(FOLDER / "good.log", tmp_path / name)
    assert th(["history", "import", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "artifacts" / f"walk-{dataset}.jsonl").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["none.log"], "none.log: cannot be read (No such file or directory)"),
        (["folder"], "folder: cannot be read (Is a directory)"),
        (["good.log", "none.log"], "none.log: cannot be read"),
        (["text"], "text: holds no line of a log of turbo-hipster"),
        (["empty"], "empty: holds no line of a log of turbo-hipster"),
        (["good.log", "more/good.log"], "good.log and more/good.log would both be good"),
        (["good.log", "text", "--dataset", "a"], "--dataset: names the dataset of one log"),
        (["good.log", "--dataset", "../a"], "--dataset: '../a' cannot be a dataset's name"),
        (["good.log", "--limits", "none.json"], "--limits: none.json: cannot be read"),
        (["good.log", "--out", "done"], "done has a job's files already, which are not overwritten"),
        (["good.log", "--out", "text"], "text: "),
    ],
)
def test_what_cannot_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("folder", "more", "done/artifacts"):
        Path(folder).mkdir(parents=True)
    for name in ("good.log", "more/good.log"):
        shutil.copy(FOLDER / "good.log", name)
    Path("text").write_text("Dear diary,\n2014 was a good year.\n")
    Path("empty").touch()
    assert th(["history", "import", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("th: " + said) and error.count("\n") == 1
    assert (
        not list(tmp_path.glob("*/job.yaml"))
        and not list(tmp_path.glob("*/.art*"))
        and not list(tmp_path.glob("*/a*/*"))
    )


def test_a_log_that_breaks_off_is_taken_as_far_as_it_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = subprocess.run(["gzip", "-c", FOLDER / "good.log"], stdout=subprocess.PIPE, check=True).stdout
    (tmp_path / "good.log.gz").write_bytes(whole[:-300])
    assert th(["history", "import", str(tmp_path / "good.log.gz"), "--out", str(tmp_path / "out")]) == 0
    assert "note: the gzip file breaks off" in capsys.readouterr().out


def test_a_log_that_is_larger_than_the_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "worker", "history", "import", "-", "--out", str(tmp_path), "--dataset", "big"]
    limited = ["sh", "-c", 'ulimit -d 40000; exec "$@"', "sh", *command]  # KiB
    filler = b"".join(b"2014-03-11 09:15:02,%03d [output] Requirement already satisfied\n" % n for n in range(999))
    number = 0
    with subprocess.Popen(limited, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        for number in range(50_000_000 // len(filler)):
            begin = b"2014-03-11 09:15:02,000 [output] %d -> %d...\n" % (number, number + 1)
            process.stdin.write(filler + begin + b"2014-03-11 09:15:03,500 [output] done\n")
        process.stdin.close()
        output = process.stdout.read().decode()
    assert process.returncode == 0
    assert f"  big: {number + 1:,} migrations, {plain((number + 1) * 1.5)} s, no final" in output
