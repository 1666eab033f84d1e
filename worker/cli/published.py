# SPDX-License-Identifier: Apache-2.0
"""The part of `th check` that tests the URL of published results: whether they can be read there."""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from worker.cli.surroundings import Check
from worker.config import Config

_SECONDS = 5.0
_REMEDY = "let a web server serve the folder there (docs/deployment.md), or correct publish_logs.prepend_url"


def published(settings: Config) -> Iterator[Check]:
    """Check that `prepend_url` serves the files in `publish_logs.path`."""
    url, folder = settings.publish_logs.prepend_url, settings.publish_logs.path
    if folder is None:
        tasks = f"publish_{settings.publish_logs.type}.yaml of the role upload_logs"
        yield Check(True, "publish_logs", f"{tasks} publishes, which only a job can try")
        return
    parts = urlsplit(url)
    if parts.scheme == "file":
        if Path(unquote(parts.path)) == folder:
            yield Check(True, "prepend_url", f"{url}: read on this machine")
        else:
            yield Check(True, "prepend_url", f"{url} is not {folder}, where results are put", _REMEDY, warning=True)
    elif parts.scheme in ("http", "https"):
        problem = _followed(url, folder)
        text = f"{url}{'' if not problem else f': {problem}'}"
        yield Check(True, "prepend_url", text, _REMEDY if problem else "", warning=bool(problem))


def _followed(url: str, folder: Path) -> str:
    """What is wrong with the URL; "" if it serves the folder, or if it answers but this user cannot write to the folder
    to compare."""
    name, content = f"th-check-{secrets.token_hex(8)}.txt", secrets.token_hex(16)
    file = folder / name
    made = False
    with contextlib.suppress(OSError):
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        made = True
        with open(handle, "w") as stream:
            stream.write(content)
        os.chmod(file, 0o644)
    try:
        found = _read(f"{url.rstrip('/')}/{name}" if made else url)
    except urllib.error.HTTPError as error:
        return f"it does not serve {folder} (it answers {error.code})" if made else ""
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"nothing answers there ({getattr(error, 'reason', error)}): the link of a job leads nowhere"
    finally:
        if made:
            with contextlib.suppress(OSError):
                file.unlink()
    return f"it serves something else than {folder}" if made and found.strip() != content else ""


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310 - http(s), the operator's own
        return str(answer.read(4096).decode("utf-8", "replace"))
