# SPDX-License-Identifier: Apache-2.0
"""What a job asks to check out, validated before it is passed to git."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.th_core.names import REF
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import mask

COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@dataclass(frozen=True)
class CheckoutRequest:
    """What to check out: the relevant fields of the job, all text, "" when not given."""

    project: str
    url: str
    origin: str
    ref: str
    commit: str
    branch: str
    newrev: str
    change: str
    patchset: str

    @classmethod
    def of(cls, job: Mapping[str, Any], origin: str) -> CheckoutRequest:
        """Take the fields from ``th_job``. Raises StepError for one that git could misinterpret."""
        values = {name: str(job.get(name) or "") for name in cls.__dataclass_fields__}
        values["origin"] = origin or values["url"]
        for name in ("ref", "branch"):
            if values[name] and not REF.fullmatch(values[name]):
                raise StepError("checkout_failed", f"th_job.{name}: {values[name]!r} is not the name of a ref.")
        for name in ("commit", "newrev"):
            if values[name] and not COMMIT.fullmatch(values[name]):
                raise StepError("checkout_failed", f"th_job.{name}: {values[name]!r} is not a commit.")
        for name in ("url", "origin"):
            base = values[name]
            if not base or base.startswith("-") or "::" in base.partition("/")[0] or not base.isprintable():
                raise StepError("checkout_failed", f"th_job.url: {mask(base)!r} is not the URL of a git server.")
        return cls(**values)
