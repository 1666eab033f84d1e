# SPDX-License-Identifier: Apache-2.0
"""Collects the files to publish for a job, and makes the program that reproduces it."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from worker.config import engines
from worker.config.publish_logs import PublishLogs
from worker.errors import ConfigError
from worker.inputs import documents, git_url, untrusted
from worker.job_dir import JobDir

# Variables with this worker's own folders; people who reproduce the job have others (see
# inventory/group_vars/all/paths.yaml).
_OURS = (
    "th_job_dir", "th_git_working_dir", "th_environments_dir", "th_snapshots_dir", "th_engines_dir",
    "th_pip_download_cache", "th_publish_type", "th_publish_path", "th_publish_url", "th_publish_options", "sandbox",
)  # fmt: skip
_SECRET_ARGUMENTS = ("ZUUL_EXTRA_SWIFT_",)  # older Zuul hands out signatures that allow uploads
_SECRET_NAME = re.compile(
    r"passw(or)?d|passphrase|db_pass|token|secret|api_?key|access_?key|private_?key|credential", re.IGNORECASE
)


PUBLISHED = "published.json"
"""The file in which the role upload_logs leaves the URL of the results."""
# One line of printable ASCII, without a user name or password. The role has the same rule (`hand_back_url`).
_URL = re.compile(r"(https?://[^\s\"'<>\\`/?#@]{1,255}|file://)/[^\s\"'<>\\`]{0,2000}")


class WrongUrlError(Exception):
    """The role has not returned a valid URL of published results."""


def handed_back(folder: JobDir) -> str | None:
    """The URL of the results that the role has returned; None for none. Raises WrongUrlError."""
    file = folder.root / PUBLISHED
    if not os.path.lexists(file):
        return None
    url = untrusted.document(file).get("url")
    if isinstance(url, str) and url.isascii() and url.isprintable() and _URL.fullmatch(url):
        return url
    shown = "no URL at all" if url is None else f"{untrusted.name(str(url)[:200])!r}"
    raise WrongUrlError(f"the role upload_logs says in {PUBLISHED} that the results are at {shown}")


def variables(settings: PublishLogs) -> dict[str, Any]:
    """The playbooks' variables about where to publish."""
    return {
        "th_publish_type": settings.type,
        "th_publish_path": str(settings.path or ""),
        "th_publish_url": settings.prepend_url,
        "th_publish_options": dict(settings.options),
    }


def forget_url(folder: JobDir) -> None:
    """Remove the file with the URL of the results before they are published. Raises OSError."""
    (folder.root / PUBLISHED).unlink(missing_ok=True)


def url_of(prepend_url: str, log_path: str) -> str:
    """The URL of a job's results, `prepend_url` and the job's LOG_PATH; "" without a `prepend_url`."""
    if not prepend_url:
        return ""
    return f"{prepend_url.rstrip('/')}/{quote(log_path.strip('/'))}/"


def collect(folder: JobDir, variables: Mapping[str, Any], plugin: str) -> None:
    """Add the files needed to examine and reproduce the job to the results."""
    copy = folder.results / "artifacts"
    if copy.is_symlink():
        copy.unlink()
    shutil.copytree(folder.artifacts, copy, ignore=_odd, dirs_exist_ok=True)
    shown = public(variables)
    documents.write_anew(folder.results / "job.yaml", documents.ansible_variables(shown))
    documents.write_anew(folder.results / "reproduce.sh", _reproduce(plugin, shown), 0o755)
    _publish_profile(folder.results, variables)


def _odd(folder: str, names: list[str]) -> list[str]:
    """Entries that cannot be results of a job: anything but files and folders, and nested folders."""
    kinds = {name: os.lstat(os.path.join(folder, name)).st_mode for name in names}
    deep = Path(folder).name != "artifacts"
    return [name for name, mode in kinds.items() if not stat.S_ISREG(mode) and (deep or not stat.S_ISDIR(mode))]


def public(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The job's variables in a form that can be published, without this worker's folders.

    Masked are the values of keys that name a secret (``password``, ``api_key``, and names that contain one), at any
    depth, and passwords and tokens in URLs.
    """
    shown = {key: _masked(value) for key, value in variables.items() if key not in _OURS}
    arguments = shown["th_job"]["zuul"]
    shown["th_job"]["zuul"] = {
        name: value for name, value in arguments.items() if not name.startswith(_SECRET_ARGUMENTS)
    }
    return shown


def _masked(value: Any, secret: bool = False) -> Any:
    if isinstance(value, Mapping):
        return {key: _masked(item, secret or bool(_SECRET_NAME.search(str(key)))) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item, secret) for item in value]
    if secret and value and not isinstance(value, bool):
        return "***"
    return git_url.mask(value) if isinstance(value, str) else value


def _reproduce(plugin: str, shown: Mapping[str, Any]) -> str:
    """The program that reproduces the job; `shown` are its published variables."""
    datasets = shown.get("th_datasets")
    job = {name: value for name, value in shown["th_job"].items() if name != "zuul"}
    facts = {
        "JOB": job,
        "PLUGIN": plugin,
        "ORIGIN": shown.get("th_git_origin") or job["url"],
        "DATASETS": None if datasets is None else [_without_file(item) for item in datasets],
    }
    text = (Path(__file__).parent / "templates" / "reproduce.sh").read_text("utf-8")
    # JSON encoded twice is a Python literal on one line in ASCII. All placeholders are replaced in one pass, because a
    # name may look like a placeholder.
    return re.sub(r"@([A-Z]+)@", lambda place: json.dumps(json.dumps(facts[place[1]])), text)


def _without_file(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item of `th_datasets` with the dataset's own name, by which its file is found elsewhere."""
    return {**{key: value for key, value in item.items() if key != "config"}, "dataset": engines.split(item["name"])[0]}


def _publish_profile(results: Path, variables: Mapping[str, Any]) -> None:
    """Add the project's profile to the results, because people who reproduce the job may not have it."""
    try:
        profile = documents.read_mapping(Path(variables["th_projects_dir"], f"{variables['th_job']['project']}.yaml"))
    except (ConfigError, KeyError):
        return  # the job has already reported the error
    documents.write_anew(results / "profile.yaml", yaml.safe_dump(_masked(profile), sort_keys=False))
