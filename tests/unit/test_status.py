# SPDX-License-Identifier: Apache-2.0
"""The document of `th status` is described, and can be written as JSON."""

import dataclasses
import json
import re

from tests.kit import ROOT
from worker import status


def sample() -> status.WorkerStatus:
    return status.WorkerStatus(
        version="1",
        pid=1,
        manager="m",
        config="/c",
        since=1.5,
        state=status.RUNNING,
        taking=True,
        gearman=status.GearmanState("h", 4730, False, True, "", 1.5),
        functions=("build:job",),
        slots=(status.SlotState(0, True, True, False),),
        jobs=(status.JobState("b", "n", "job", "p", "7,1", "checkout", "t", 5, 1.5, 0, ""),),
        sensors=(status.SensorState("memory", False, "why"),),
        totals=(status.Total("job", "SUCCESS", 3),),
    )


def test_the_document_is_the_snapshot() -> None:
    document = json.loads(json.dumps(sample().document()))
    assert document["jobs"][0]["change"] == "7,1"
    assert document["totals"] == [{"name": "job", "outcome": "SUCCESS", "count": 3}]


def test_every_key_is_described() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    rows = dict(re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (.*) \|$", text, re.MULTILINE))
    described = {name: said for names, said in rows.items() for name in re.findall(r"`(\w+)`", names)}
    snapshot = sample()
    for field in dataclasses.fields(snapshot):
        assert field.name in described
        value = getattr(snapshot, field.name)
        part = value[0] if isinstance(value, tuple) else value
        if dataclasses.is_dataclass(part):
            missing = [key.name for key in dataclasses.fields(part) if f"`{key.name}`" not in described[field.name]]
            assert missing == [], field.name
