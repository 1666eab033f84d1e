# SPDX-License-Identifier: Apache-2.0
"""A plugin's own keys of a job, as declared in the plugin's `options.yaml`, next to its `run.yaml`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from worker.errors import ConfigError
from worker.inputs import documents
from worker.inputs.documents import Section

FILE = "options.yaml"
TYPES = ("text", "integer", "boolean", "list", "mapping", "program")
_OPTION = frozenset(("type", "required", "alias", "minimum", "maximum", "description"))
_LARGEST = 2**53


def read(section: Section, plugin: Path) -> dict[str, Any]:
    """Check the plugin's own keys of a job; if the plugin in the folder `plugin` declares none, return all other keys.

    Raises ConfigError, about the job or about the plugin's file.
    """
    file = plugin / FILE
    if not os.path.isfile(file):
        return section.rest()
    given: dict[str, Any] = {}
    for name, about in _options(file).items():
        alias = about.get("alias", "")
        if alias and section.has(alias):
            if section.has(name):
                raise section.error(alias, f"says the same as {name}", "keep one of the two")
            given[name] = _value(section, alias, about)
        elif section.has(name):
            given[name] = _value(section, name, about)
        elif about.get("required"):
            raise section.missing(name, str(about.get("description") or "add it"))
    section.done()
    return given


def _options(file: Path) -> dict[str, Mapping[str, Any]]:
    options = documents.read_mapping(file)
    for name, about in options.items():
        if not isinstance(about, dict) or about.get("type") not in TYPES:
            raise ConfigError(file, name, f"must be a mapping with a type, one of {', '.join(TYPES)}", "fix the file")
        if unknown := sorted(map(str, about.keys() - _OPTION)):
            raise ConfigError(file, name, f"has {unknown[0]}, which is not known", f"use {', '.join(sorted(_OPTION))}")
    return options


def _value(section: Section, name: str, about: Mapping[str, Any]) -> Any:
    kind = about["type"]
    if kind in ("text", "program"):
        text = section.text(name)
        return text if kind == "text" else _program(section, name, text)
    if kind == "integer":
        return section.integer(name, 0, about.get("minimum", -_LARGEST), about.get("maximum", _LARGEST))
    if kind == "boolean":
        return section.flag(name)
    value = section.value(name)
    if kind == "list" and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        raise section.error(name, "must be a list of texts")
    if kind == "mapping" and not isinstance(value, dict):
        raise section.error(name, "must be a mapping of keys")
    return value


def _program(section: Section, name: str, text: str) -> str:
    """A path in the checkout, or the absolute path of a program that is executable on this machine."""
    path = PurePosixPath(text)
    if path.is_absolute():
        if not (os.path.isfile(text) and os.access(text, os.X_OK)):
            raise section.error(name, f"there is no program {text}", "correct the path, or its permissions")
    elif ".." in path.parts or path == PurePosixPath():
        raise section.error(name, f"{text!r} is not in the checkout", "name a path in it, or an absolute one")
    return text
