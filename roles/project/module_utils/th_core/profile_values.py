# SPDX-License-Identifier: Apache-2.0
"""Checks of values that only a project's profile has: interpreters, requirements, dates, and templates."""

from __future__ import annotations

import datetime
import string
from collections.abc import Iterable
from typing import Any

from ansible.module_utils.th_core.checks import (
    Check,
    WrongKey,
    inside,
    text,
)

PER_DATABASE = ("url", "database")
"""The template fields that each database of a project has of its own; also as ``url_<name>``, ``database_<name>``."""
TEMPLATE_FIELDS = frozenset({*PER_DATABASE, "socket", "user", "password", "host", "port", "src", "venv", "files"})


def inside_or_url(key: str, value: Any) -> str:
    """A path in the checkout, or an http(s) URL."""
    if text(key, value).startswith(("https://", "http://")):
        return str(value)
    return inside(key, value)


def interpreter(key: str, value: Any) -> str:
    """An interpreter, in any form that uv accepts."""
    if not text(key, value) or str(value).startswith("-") or not str(value).isprintable():
        raise WrongKey(key, f"{value!r} is not an interpreter")
    return str(value)


def requirement(key: str, value: Any) -> str:
    """A one-line requirement, never an option of the installer."""
    if not text(key, value).strip() or str(value).startswith("-") or "\n" in str(value):
        raise WrongKey(key, f"{value!r} is not a requirement such as pymysql>=1.1")
    return str(value)


def day(key: str, value: Any) -> str:
    """A date such as ``2022-01-15``, or "" for none. YAML turns an unquoted one into a date object."""
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value.isoformat()
    try:
        return datetime.date.fromisoformat(text(key, value)).isoformat() if value else ""
    except ValueError:
        raise WrongKey(key, f"{value!r} is not a day such as 2022-01-15") from None


def template(databases: Iterable[str], *more: str) -> Check:
    """A text with fields in braces: the common ones, those of each database, and `more`."""
    known = TEMPLATE_FIELDS | {f"{field}_{name}" for field in PER_DATABASE for name in databases if name} | set(more)

    def check(key: str, value: Any) -> str:
        try:
            parts = list(string.Formatter().parse(text(key, value)))
        except ValueError as error:
            raise WrongKey(key, f"{error} (double a brace that stands for itself)") from None
        for _, name, spec, conversion in parts:
            if name is not None and (name not in known or spec or conversion):
                raise WrongKey(key, f"{{{name}}} is not one of {', '.join(sorted(known))}")
        return str(value)

    return check
