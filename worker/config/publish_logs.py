# SPDX-License-Identifier: Apache-2.0
"""`publish_logs` of the configuration: how results are published, and where people read them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.inputs.documents import Section

LOCAL = "local"
TASKS = Path("roles") / "upload_logs" / "tasks"
"""The role's folder with one task file for each type, relative to `ansible_dir`."""
_NAME = re.compile(r"[a-z0-9_]{1,64}")


@dataclass(frozen=True)
class PublishLogs:
    """Where results are published, by the task file for `type`.

    `path` is a folder on this machine, or None. `prepend_url` is the base URL of the results, with a slash at the end;
    "" if only the task file knows it. `options` are the type's own keys, unchanged.
    """

    type: str
    path: Path | None
    prepend_url: str
    options: Mapping[str, Any] = field(default_factory=dict)


def read(section: Section, ansible_dir: Path, path_of: Callable[[Section, str], Path]) -> PublishLogs:
    """Read and check the section; `path_of` returns the absolute path in a key. Raises ConfigError."""
    kind = section.text("type", LOCAL)
    _check_type(section, kind, ansible_dir / TASKS)
    if kind == LOCAL:  # part of the role, so its keys are known
        section.expect("type", "path", "prepend_url")
    path = path_of(section, "path") if kind == LOCAL or section.has("path") else None
    url = section.text("prepend_url", f"file://{path}/" if path else "")
    if url and not re.fullmatch(r"(https?|file)://[^\s\"'<>]*", url):
        raise section.error("prepend_url", f"{url!r} is not an http, https or file URL")
    if kind == LOCAL:
        section.done()
    return PublishLogs(kind, path, url if url.endswith("/") or not url else url + "/", section.rest())


def _check_type(section: Section, kind: str, tasks: Path) -> None:
    there = sorted(file.stem.removeprefix("publish_") for file in tasks.glob("publish_*.yaml"))
    if kind in there and _NAME.fullmatch(kind):
        return
    if kind == LOCAL and not there and not os.path.isfile(tasks / "publish_local.yaml"):
        return  # an older copy of the role, without types
    files = ", ".join(f"publish_{name}.yaml" for name in there) or "none"
    name = f"publish_{kind if _NAME.fullmatch(kind) else '<type>'}.yaml"
    raise section.error("type", f"{kind!r} is not available", f"{tasks} has {files}; write {name}, or use one of them")
