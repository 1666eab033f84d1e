# SPDX-License-Identifier: Apache-2.0
"""Zuul 2.6.0 itself, of which a layout is checked by its validator, and a review comment written by its reporter.

It cannot be installed beside what we use (it wants python-daemon before 2.1), and does not have to be: these parts of
it need the few packages below. They are fetched once, with uv as it is configured here.
"""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from demo.tools import built, key_of
from tests.kit import ROOT

PACKAGES = (
    "zuul==2.6.0",
    "apscheduler==3.11.3",
    "extras==1.0.0",
    "six==1.17.0",
    "tzlocal==5.4.5",
    "voluptuous==0.16.0",
)
CACHE = ROOT / ".cache" / "zuul-2.6.0"


class Zuul2:
    """The parts of Zuul that are about layouts. `connections` are those of zuul.conf: one to Gerrit."""

    def __init__(self) -> None:
        with built(CACHE, key_of(*PACKAGES, sys.version)) as fresh:
            if fresh is not None:
                uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable]
                subprocess.run([*uv, "--no-deps", "--target", str(fresh / "packages"), *PACKAGES], check=True)
        # the last place: what we have ourselves is taken from there
        sys.path.append(str(CACHE / "packages"))
        self.model = importlib.import_module("zuul.model")
        self.invalid: type[Exception] = importlib.import_module("voluptuous").Invalid
        self._validator = importlib.import_module("zuul.layoutvalidator").LayoutValidator()
        self._trigger = importlib.import_module("zuul.trigger.gerrit").GerritTrigger()
        self._reporter = importlib.import_module("zuul.reporter.gerrit").GerritReporter
        self.connections = {"gerrit": SimpleNamespace(driver_name="gerrit")}

    def validate(self, layout: Any) -> None:
        """Raises `invalid` when Zuul would not take the layout."""
        self._validator.validate(layout, self.connections)

    def triggered(self, layout: Any, **event: Any) -> list[str]:
        """The pipelines that an event of Gerrit puts a change into."""
        happened = self.model.TriggerEvent()
        for name, value in {"newrev": None, **event}.items():
            setattr(happened, name, value)
        change = self.model.Change(self.model.Project("mlflow/mlflow"))
        found = []
        for pipeline in layout["pipelines"]:
            filters = self._trigger.getEventFilters(pipeline["trigger"]["gerrit"])
            if any(each.matches(happened, change) for each in filters):
                found.append(pipeline["name"])
        return found

    def job(self, entry: Any) -> Any:
        """A job as Zuul makes it of a layout's entry."""
        job = self.model.Job(entry["name"])
        job.voting, job.success_message = entry["voting"], entry["success-message"]
        job.branches, job.files = ([re.compile(one) for one in entry[key]] for key in ("branch", "files"))
        return job

    def comment(self, layout: Any, pipeline: str, result: str, url: str, seconds: int) -> str:
        """What Zuul writes into a review when the one job of a pipeline has come to this result."""
        conf = next(one for one in layout["pipelines"] if one["name"] == pipeline)
        options = {"job_name_in_report": True}
        config = SimpleNamespace(
            has_option=lambda _, name: name in options,
            getboolean=lambda _, name: options[name],
        )
        model = self.model
        queue = model.ChangeQueue(model.Pipeline(pipeline))
        queue.pipeline.success_message = conf["success-message"]
        queue.pipeline.failure_message = conf["failure-message"]
        queue.pipeline.footer_message = ""
        project = model.Project("mlflow/mlflow")
        job = self.job(layout["jobs"][0])
        queue.pipeline.addProject(project).addJob(job)
        change = model.Change(project)
        change.branch, change.files = "master", ["mlflow/store/db_migrations/versions/x.py"]
        item = model.QueueItem(queue, change)
        item.live = True
        build = model.Build(job, "uuid")
        build.result, build.url, build.start_time, build.end_time = result, url, 1, 1 + seconds
        item.addBuild(build)
        reporter = self._reporter({}, SimpleNamespace(config=config))
        reporter.setAction("success" if result == "SUCCESS" else "failure")
        return str(reporter._formatItemReport(queue.pipeline, item))


def layout(path: Path) -> Any:
    """Read a layout."""
    return yaml.safe_load(path.read_text("ascii"))
