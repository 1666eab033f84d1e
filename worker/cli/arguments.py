# SPDX-License-Identifier: Apache-2.0
"""The command-line options that describe a job, and the Zuul arguments built from them."""

import argparse
import json
import sys
import uuid
from pathlib import Path
from typing import Any

from worker import request
from worker.errors import RequestError, UsageError

_OPTIONS = {
    "project": ("ZUUL_PROJECT", "the project, such as org/name"),
    "url": ("ZUUL_URL", "where the project's repository is: URL/PROJECT"),
    "ref": ("ZUUL_REF", "what to test: a ref of that repository"),
    "branch": ("ZUUL_BRANCH", "the branch that the change is for"),
    "commit": ("ZUUL_COMMIT", "the commit that the ref must be at"),
    "newrev": ("ZUUL_NEWREV", "the commit that a branch was moved to"),
    "change": ("ZUUL_CHANGE", "the change's number"),
    "patchset": ("ZUUL_PATCHSET", "the change's patchset"),
    "pipeline": ("ZUUL_PIPELINE", "the pipeline (default: check)"),
}


def add_options(parser: argparse.ArgumentParser, job_required: bool) -> None:
    """Add the options of a job to the parser of a command."""
    group = parser.add_argument_group("the job")
    group.add_argument("--job", metavar="NAME", required=job_required, help="the job's name in the configuration")
    group.add_argument("--params", metavar="FILE", help="job arguments as Zuul sends them, as JSON; - for stdin")
    for option, (field, text) in _OPTIONS.items():
        group.add_argument(f"--{option}", metavar=option.upper(), help=f"{text} ({field})")


def zuul_arguments(args: argparse.Namespace, job_name: str) -> dict[str, Any]:
    """Build the job's arguments as Zuul 2.x would send them.

    Options override the values from --params; fields that Zuul derives from others are added where they are missing.
    Raises UsageError when --params cannot be read.
    """
    given: dict[str, Any] = _read(args.params) if args.params else {}
    for option, (field, _) in _OPTIONS.items():
        value = getattr(args, option)
        if value is not None:
            given[field] = value
    given.setdefault("ZUUL_UUID", uuid.uuid4().hex)
    given.setdefault("ZUUL_PIPELINE", "check")
    given.setdefault("ZUUL_VOTING", "1")
    if "LOG_PATH" not in given:
        names = ("ZUUL_CHANGE", "ZUUL_PATCHSET", "ZUUL_NEWREV", "ZUUL_PIPELINE", "ZUUL_UUID")
        change, patchset, newrev, pipeline, job_id = (str(given.get(name, "")) for name in names)
        base = given.setdefault("BASE_LOG_PATH", request.base_log_path(change, patchset, newrev))
        given["LOG_PATH"] = request.log_path(str(base), pipeline, job_name, job_id)
    if given.get("ZUUL_CHANGE") and "ZUUL_CHANGES" not in given:
        given["ZUUL_CHANGE_IDS"] = f"{given['ZUUL_CHANGE']},{given.get('ZUUL_PATCHSET', '1')}"
        parts = (given.get(name, "") for name in ("ZUUL_PROJECT", "ZUUL_BRANCH", "ZUUL_REF"))
        given["ZUUL_CHANGES"] = ":".join(str(part) for part in parts)
    if given.get("ZUUL_NEWREV"):
        given.setdefault("ZUUL_REFNAME", given.get("ZUUL_REF", ""))
        given.setdefault("ZUUL_OLDREV", "0" * 40)
        given.setdefault("ZUUL_COMMIT", given["ZUUL_NEWREV"])
    return given


def named(error: RequestError) -> UsageError:
    """Convert the error into one that names the option that sets the field."""
    option = next((f"--{option} ({field})" for option, (field, _) in _OPTIONS.items() if field == error.field), "")
    return UsageError(f"{option or error.field}: {error.problem}")


def _read(name: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
        value = json.loads(text)
    except OSError as error:
        raise UsageError(f"--params: {name} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--params: {name} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"--params: {name} must hold a JSON object, as Zuul sends it")
    return value
