# SPDX-License-Identifier: Apache-2.0
"""Reading untrusted TOML with limits: dotted keys of many parts take tomllib quadratic time.

A document that may contain such keys is read in a separate process, with limits on processor time and memory.
"""

from __future__ import annotations

import json
import tomllib
from typing import Any

from ansible.module_utils.th_parse.limited import Bounds, Stopped, in_a_process

LENGTH = 1024 * 1024
"""Maximum characters of a document."""
BOUNDS = Bounds(seconds=5, memory=512 << 20)

_SMALL, _DOTS = 32 * 1024, 500
"""A document with at most so many characters, and so many dots among them, cannot take long."""


def read_toml(text: str) -> dict[str, Any]:
    """The document; dates in a large one are strings. Raises ValueError for what is not TOML, or is too large."""
    if len(text) > LENGTH:
        raise ValueError(f"longer than {LENGTH} characters")
    if len(text) <= _SMALL and text.count(".") <= _DOTS:
        return _parsed(text)
    (answer,) = in_a_process([text], _as_json, BOUNDS)
    if isinstance(answer, Stopped):
        raise ValueError("not TOML, or too much of it")
    document: dict[str, Any] = json.loads(answer)
    return document


def _as_json(text: str) -> str:
    return json.dumps(_parsed(text), default=str)


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except Exception as error:  # whatever a version of Python raises
        raise ValueError(str(error) or type(error).__name__) from None
