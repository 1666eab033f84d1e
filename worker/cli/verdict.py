# SPDX-License-Identifier: Apache-2.0
"""`th verdict`: recompute a verdict from a job's folder or from its published results."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from worker import publish
from worker.config import GATE_PLUGIN
from worker.errors import ConfigError, UsageError
from worker.inputs import documents, untrusted
from worker.report import render
from worker.verdict import artifacts, decide


def add_parser(subparsers: Any) -> None:
    """Add the command to `th`."""
    parser = subparsers.add_parser("verdict", help="compute the verdict again from a job's or a published folder")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a job's folder, or a published one")
    parser.add_argument("--write", action="store_true", help="write result.json and index.html there")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status for the outcome."""
    folder: Path = args.folder
    try:
        os.listdir(folder / "artifacts")
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{folder} has no folder artifacts: name a job's folder, or a published one") from None
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be read ({error.strerror}); run this as its owner") from error
    job, datasets = _job(folder / "job.yaml")
    results = folder / "results" if os.path.isdir(folder / "results") else folder
    found = decide.decide(artifacts.read(folder / "artifacts"), datasets)
    header = _header(job, results / "result.json")
    if args.write:
        _write(results, found, header)
    if args.json:
        print(json.dumps(render.as_document(found, header), indent=1, ensure_ascii=False))
    else:
        print(render.render_text(found, header.url))
    return found.outcome.exit_code


def _job(path: Path) -> tuple[dict[str, Any], list[str] | None]:
    """The job from job.yaml, without secrets, and the names of its datasets; None instead of names if it tests none."""
    try:
        document = documents.read_mapping(path)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    job, datasets = document.get("th_job"), document.get("th_datasets")
    if not isinstance(job, dict):
        raise UsageError(f"{path}: th_job: is missing: this is not the job.yaml of a job")
    if datasets is None and job.get("plugin") == GATE_PLUGIN:
        raise UsageError(f"{path}: th_datasets: is missing: which datasets had to be tested?")
    if not isinstance(job.get("zuul"), dict):
        job["zuul"] = {}
    try:
        names = None if datasets is None else [str(item["name"]) for item in datasets]
    except (TypeError, KeyError) as error:
        raise UsageError(f"{path}: th_datasets: must be a list of mappings with a name") from error
    return publish.public(document)["th_job"], names


def _header(job: dict[str, Any], former: Path) -> render.Header:
    """The header of the new report; the job's times and location are taken from the former report."""
    document = untrusted.document(former)
    return render.Header(
        job=job,
        url=untrusted.name(document.get("url")),
        started=untrusted.name(document.get("started")),
        seconds=untrusted.number(document.get("seconds")) or 0.0,
    )


def _write(results: Path, found: decide.Verdict, header: render.Header) -> None:
    try:
        render.write(results, found, header)
    except OSError as error:
        raise UsageError(f"{error.filename or results}: cannot be written ({error.strerror})") from error
