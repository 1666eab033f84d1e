# SPDX-License-Identifier: Apache-2.0
"""The arguments of a job: untrusted data, checked once, field by field, before it is used.

What Zuul 2.x sends is described in docs/zuul.md. Unknown keys are normal and are ignored.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.errors import RequestError
from worker.inputs import git_url

MAX_BYTES = 1024 * 1024
MAX_TEXT = 64 * 1024

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@~=,:-]*")
# a component of a log path, with the characters allowed in job and pipeline names; upload_logs has the same rule
_PART = re.compile(r"[A-Za-z0-9_+~][A-Za-z0-9_.+@~=,:-]{0,254}")
_LONGEST_PATH = 1000
_COMPONENT = re.compile(r"[A-Za-z0-9_.+~][A-Za-z0-9_.+@~=,:-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_VARIABLE = re.compile(r"ZUUL_[A-Z0-9_]{1,59}")
_SECRETS = "ZUUL_EXTRA_SWIFT_"  # signatures that allow uploads (older Zuul)
# characters that move the cursor, end a line or change the text direction; and lone surrogates, legal only in JSON
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_NOT_IN_A_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|@\{|\{[{%#]")


@dataclass(frozen=True)
class Request:
    """The checked arguments of a job. A missing field is "".

    `id` is the build's unique name, and safe as a folder's name. `url` and `zuul` may contain a password, so `repr()`
    leaves them out; `public_url` is safe to show.
    """

    id: str
    job_name: str
    project: str
    url: str = field(repr=False)
    ref: str
    commit: str
    branch: str
    newrev: str
    change: str
    patchset: str
    pipeline: str
    log_path: str
    zuul: Mapping[str, str] = field(repr=False)

    @property
    def public_url(self) -> str:
        """`url` without its password or token."""
        return git_url.mask(self.url)

    @classmethod
    def parse(cls, job_name: str, unique: str, arguments: bytes | str | Mapping[str, Any]) -> "Request":
        """Check the `arguments` of the job `job_name`.

        `unique` is Gearman's identifier of the job, used if there is no ZUUL_UUID. Raises RequestError, which names the
        field.
        """
        fields = _Fields(_decoded(arguments))
        job_id = fields.matching("ZUUL_UUID", _ID, "letters, digits, _ and -, at most 64", default=unique)
        if not _ID.fullmatch(job_id):
            raise RequestError("ZUUL_UUID", "is missing, and the job has no usable unique name either")
        change = fields.name("ZUUL_CHANGE")
        patchset = fields.name("ZUUL_PATCHSET")
        newrev = fields.commit("ZUUL_NEWREV")
        pipeline = fields.matching("ZUUL_PIPELINE", _PART, "letters, digits and . _ + @ ~ = , : -")
        fields.commit("ZUUL_OLDREV", zero_allowed=True)
        fields.ref("ZUUL_REFNAME")
        base = fields.folders("BASE_LOG_PATH") or base_log_path(change, patchset, newrev)
        place = fields.folders("LOG_PATH") or log_path(base, pipeline, job_name, job_id)
        # a derived path may be invalid, too: the last two characters of a change may be ".."
        _check_folders("LOG_PATH", place)
        return cls(
            id=job_id,
            job_name=job_name,
            project=fields.project("ZUUL_PROJECT"),
            url=fields.url("ZUUL_URL"),
            ref=fields.ref("ZUUL_REF"),
            commit=fields.commit("ZUUL_COMMIT"),
            branch=fields.ref("ZUUL_BRANCH"),
            newrev=newrev,
            change=change,
            patchset=patchset,
            pipeline=pipeline,
            log_path=place,
            zuul=fields.zuul(),
        )


def base_log_path(change: str, patchset: str, newrev: str) -> str:
    """Zuul's BASE_LOG_PATH: `<last two digits>/<change>/<patchset>`, or of the new commit, or ""."""
    if change and patchset:
        return f"{change[-2:]}/{change}/{patchset}"
    return f"{newrev[:2]}/{newrev}" if newrev else ""


def log_path(base: str, pipeline: str, job_name: str, job_id: str) -> str:
    """Zuul's LOG_PATH: `<base>/<pipeline>/<job>/<first seven of the id>`; empty parts are left out."""
    return "/".join(part for part in (base, pipeline, job_name, job_id[:7]) if part)


def _decoded(arguments: bytes | str | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(arguments, Mapping):
        return arguments
    if len(arguments) > MAX_BYTES:
        raise RequestError("arguments", f"are longer than {MAX_BYTES} bytes")
    try:
        decoded = json.loads(arguments.decode("utf-8") if isinstance(arguments, bytes) else arguments)
    except (ValueError, RecursionError):
        raise RequestError("arguments", "are not JSON in UTF-8") from None
    if not isinstance(decoded, dict):
        raise RequestError("arguments", "are not a JSON object")
    return decoded


def _check_folders(field_name: str, value: str) -> None:
    """Raise RequestError if the path is not valid for publishing."""
    if value.startswith("/"):
        raise RequestError(field_name, f"{value[:80]!r} is an absolute path")
    for part in value.split("/"):
        if part in ("", ".", ".."):
            raise RequestError(field_name, f"{value[:80]!r} has a part that is empty, '.' or '..'")
        if not _PART.fullmatch(part):
            problem = f"the part {part[:60]!r} has characters that are not allowed, or too many"
            raise RequestError(field_name, problem)
    if len(value) > _LONGEST_PATH:
        raise RequestError(field_name, f"is longer than {_LONGEST_PATH} characters")


def _unfit(text: str) -> bool:
    return bool(_CONTROL.search(text))


class _Fields:
    """The arguments, with a method for each kind of field, which checks its format."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = arguments

    def text(self, name: str, longest: int, default: str = "") -> str:
        value = self._arguments.get(name, "")
        if not isinstance(value, str):
            raise RequestError(name, f"must be text, not {type(value).__name__}")
        if len(value) > longest:
            raise RequestError(name, f"is longer than {longest} characters")
        if _unfit(value):
            raise RequestError(name, "holds a control character")
        return value or default

    def matching(self, name: str, pattern: re.Pattern[str], what: str, default: str = "") -> str:
        value = self.text(name, 255)
        if value and not pattern.fullmatch(value):
            raise RequestError(name, f"{value[:80]!r} is not made of {what}")
        return value or default

    def name(self, name: str) -> str:
        return self.matching(name, _NAME, "letters, digits and . _ + @ ~ = , : -")

    def folders(self, name: str) -> str:
        value = self.text(name, _LONGEST_PATH)
        if value:
            _check_folders(name, value)
        return value

    def project(self, name: str) -> str:
        value = self.text(name, 255)
        if not value:
            raise RequestError(name, "is missing")
        for component in value.split("/"):
            if component in ("", ".", ".."):
                raise RequestError(name, f"{value[:80]!r} has a part that is empty, '.' or '..'")
            if not _COMPONENT.fullmatch(component) or component.lower() == ".git":
                raise RequestError(name, f"the part {component[:80]!r} has characters that are not allowed")
        return value

    def url(self, name: str) -> str:
        value = self.text(name, git_url.MAX_LENGTH)
        if not value:
            raise RequestError(name, "is missing")
        problem = git_url.problem(value)
        if problem:
            raise RequestError(name, problem)
        return value.rstrip("/") or value

    def commit(self, name: str, zero_allowed: bool = False) -> str:
        value = self.text(name, 255).lower()
        if value and not _COMMIT.fullmatch(value):
            raise RequestError(name, "is not a commit: 40 or 64 hexadecimal digits")
        if value and not value.strip("0") and not zero_allowed:
            raise RequestError(name, "is all zeros: the branch was deleted, there is nothing to test")
        return value

    def ref(self, name: str) -> str:
        """A branch, tag or other ref by the rules of git-check-ref-format(1), with one level allowed."""
        value = self.text(name, 512)
        if not value:
            return ""
        if value.startswith("-"):
            raise RequestError(name, f"{value[:80]!r} begins with '-'")
        parts = value.split("/")
        if (
            _NOT_IN_A_REF.search(value)
            or value in ("@", "HEAD")
            or value.endswith(".")
            or any(not part or part.startswith(".") or part.endswith(".lock") for part in parts)
        ):
            raise RequestError(name, f"{value[:80]!r} is not a valid name for a branch, tag or ref")
        return value

    def zuul(self) -> dict[str, str]:
        """The ZUUL_* arguments that may become environment variables: one line, of bounded length."""
        return {
            name: value
            for name, value in sorted(self._arguments.items())
            if _VARIABLE.fullmatch(name)
            and not name.startswith(_SECRETS)
            and isinstance(value, str)
            and len(value) <= MAX_TEXT
            and not _unfit(value)
        }
