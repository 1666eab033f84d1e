# SPDX-License-Identifier: Apache-2.0
"""Artifacts in which every text comes from somebody who means harm."""

import json
from pathlib import Path

from worker.report import render
from worker.verdict import Message, Verdict, artifacts, decide

DATASET = "h"
ENGINES = ("e@a", "e@b")
"""Another dataset, on two engines that differ."""


def text(address: str) -> str:
    """Markup that would change the page or call `address`, and characters that move cursors and turn lines."""
    return (
        f"</title></style></pre><script>document.title='owned'</script><img src='{address}' onerror='document.body=0'>"
        f"<svg onload=\"fetch('{address}')\"><style>@import '{address}';</style><iframe src=\"{address}\"></iframe>"
        f"<meta http-equiv=refresh content=\"0;url={address}\">{{{{ 7 * 7 }}}}\"' \x1b[2J\x9b31m\r\u202e\u2066\u05d0"
    )


def write(folder: Path, hostile: str) -> None:
    """Write artifacts of one dataset to a folder; the walk ends in a failure of the change."""
    step = {"stage": hostile, "from": hostile, "to": "w" * 380}
    last = {"stage": hostile, "from": "w" * 380, "to": hostile}
    counters = {"rows_read": 10**17, "data_bytes": 2}
    documents = {
        "checkout.json": {
            "commit": hostile, "subject": hostile, "branch": hostile, "tip_left_out": hostile,
            "stages": [{"name": hostile, "slug": "change", "kind": hostile, "commit": hostile, "heads": [hostile]}],
            "revisions": {hostile: {"file": hostile, "replaces": [hostile]}},
            "touched": {"added": [hostile], "removed": [hostile], "helpers": [hostile]},
            "left_out": [{"name": hostile, "reason": hostile}],
        },
        "first-try.json": {"seconds": 1e300, "messages": [{"code": hostile, "detail": hostile, "dataset": hostile}]},
        "times.json": {
            "seconds": 3e9, "start": -1,
            "tasks": [
                {"play": hostile, "role": role, "task": hostile, "seconds": 2e8, "count": 10**30}
                for role in ("", hostile, "checkout", "restore_datasets")
            ],
        },
        "environment.json": {"environments": [{"stage": "change", "python": hostile, "packages": [hostile]}]},
        f"dataset-{DATASET}.json": {
            "server": {"version": hostile}, "version": [hostile], "method": hostile, "bytes": -5, "rows": 10**18,
            "seconds": {hostile: 1e7},
            "limits": {
                "Innodb_rows_read": {"default": 3, hostile: 5, f"{hostile}:default": 7},
                "maximum_data_growth": {"default": 1, "warn_only": True},
            },
            "waivers": [{"migration": f"{'w' * 380}->{hostile}", "reason": hostile, "bug": hostile}],
            "databases": [{"name": hostile, "database": hostile, "version": [hostile, "w" * 9000]}],
            "remarks": {hostile: hostile, "long": "w" * 3000},
        },
    }  # fmt: skip
    events = [
        {"event": "skipped", "name": hostile, "reason": hostile},
        {"event": "begin", **step},
        {"event": "end", **step, "exit": 0, "seconds": -3, "version": "w" * 380, "counters": counters},
        {"event": "begin", "kind": "data", "from": "data", "to": hostile},
        {"event": "end", "kind": "data", "from": "data", "to": hostile, "exit": 0, "rounds": 10**18, "start_up": -1},
        {"event": "begin", **last},
        {"event": "end", **last, "exit": -11, "seconds": 1e300, "counters": {}},
        {"event": "error", "code": "migration_killed", **last, "detail": hostile + "w" * 2500, "file": hostile},
    ]
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document))
    (folder / f"walk-{DATASET}.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    server = {"flavour": hostile, "version": hostile}
    more = {"event": "end", **step, "exit": 0, "seconds": 1e-300, "version": hostile, "counters": {"rows_read": 1}}
    for name, walk in zip(ENGINES, (events, [events[1], more]), strict=True):
        (folder / f"dataset-{name}.json").write_text(json.dumps({"engine": hostile, "server": server}))
        (folder / f"walk-{name}.jsonl").write_text("".join(json.dumps(event) + "\n" for event in walk))


def job(folder: Path, address: str) -> tuple[Verdict, render.Header]:
    """A verdict and a header in which no text can be trusted."""
    hostile = text(address)
    write(folder, hostile)
    with (folder / "errors.jsonl").open("a") as stream:
        stream.write(json.dumps({"event": "error", "code": "playbook_failed", "detail": hostile}) + "\n")
    found = decide.decide(artifacts.read(folder), [DATASET, *ENGINES])
    found = decide.with_message(found, Message.of("bad_request", hostile, detail=hostile))
    return found, render.Header(dict.fromkeys(render.JOB_FIELDS, hostile), hostile, hostile, 3e9)
