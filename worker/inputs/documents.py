# SPDX-License-Identifier: Apache-2.0
"""Configuration files: reads them strictly, merges them, and takes out keys, with errors that name the file and key.

The content decides the format: a text that starts with `{` is JSON and gets JSON's error messages; all else is YAML.
"""

import copy
import difflib
import json
import math
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from worker.errors import ConfigError
from worker.inputs import parsing

Key = tuple[str | int, ...]

MAX_BYTES = 4 * 1024 * 1024


class _Unsafe(str):
    """A text that Ansible must not evaluate as a template, even if it has braces."""


class _Dumper(yaml.SafeDumper):
    """YAML's safe dumper, which also marks `_Unsafe` texts `!unsafe`: Ansible evaluates no template in them."""


_Dumper.add_representer(_Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text)))


def write_anew(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file atomically, replacing anything at its path; a symbolic link is replaced, not followed."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(temporary, mode)
        if path.is_dir() and not path.is_symlink():
            subprocess.run(["rm", "-rf", "--", path], check=False)  # shutil would recurse
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def ansible_variables(variables: Mapping[str, Any]) -> str:
    """The content of a variables file for `ansible-playbook -e @FILE`; no text in it is evaluated as a template.

    A job's arguments come from outside, and Ansible would run a `{{ lookup('pipe', ...) }}` in them.
    """
    return yaml.dump(_unsafe(dict(variables)), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _unsafe(value: Any) -> Any:
    if isinstance(value, str):
        # mark possible templates only, as Ansible would turn !unsafe "13" into a number
        return _Unsafe(value) if "{" in value else value
    if isinstance(value, Mapping):
        return {key: _unsafe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_unsafe(item) for item in value]
    return value


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in the JSON or YAML file at `path`; an empty YAML file is an empty mapping.

    Raises ConfigError if the file cannot be read, is not valid JSON or YAML, has a duplicate key, or is not a mapping
    with text keys.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise ConfigError(path, "", problem, "check the path and its permissions") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(path, "", f"is larger than {MAX_BYTES} bytes", "is it the right file?")
    try:
        text = data.decode("utf-8-sig")
        value = parsing.parse(text)
    except json.JSONDecodeError as error:
        problem = f"is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        raise ConfigError(path, "", problem, "fix the file") from error
    except ValueError as error:
        problem = f"cannot be understood: {error}"
        raise ConfigError(path, "", problem, "fix the file") from error
    value = {} if value is None else value
    if not isinstance(value, dict):
        raise ConfigError(path, "", "must hold a mapping of keys", "see docs/configuration.md")
    for key in value:
        if not isinstance(key, str):
            raise ConfigError(path, str(key), "is a key that is not text", "put it in quotes")
    return value


_ALIKE = 0.7
"""The minimum similarity (0 to 1) of a misspelled key to the key that is suggested."""


def dotted(key: Key) -> str:
    """A key in the usual notation: `plugins[1].name` for `("plugins", 1, "name")`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


class MergedDocument:
    """Several documents merged into one; records the file and the key that each part came from.

    Mappings are merged, the lists named in `appended` (top-level keys) are concatenated, all else is replaced.
    """

    def __init__(self, path: Path, appended: frozenset[str]) -> None:
        self.path = path
        self.value: dict[str, Any] = {}
        self._appended = appended
        self._origins: dict[Key, tuple[Path, Key]] = {}

    def add(self, path: Path, document: Mapping[str, Any]) -> None:
        """Merge `document`, read from `path`; its values take precedence."""
        self._merge(self.value, document, path, (), ())

    def _merge(
        self, into: dict[str, Any], document: Mapping[str, Any], path: Path, here: Key, there: Key
    ) -> None:
        for name, value in document.items():
            key, origin = (*here, name), (*there, name)
            old = into.get(name)
            if isinstance(old, dict) and isinstance(value, dict):
                self._merge(old, value, path, key, origin)
            elif not here and name in self._appended and isinstance(old, list) and isinstance(value, list):
                for index, item in enumerate(value):
                    self._origins[(*key, len(old))] = (path, (*origin, index))
                    old.append(item)
            else:
                into[name] = copy.copy(value)
                self._forget(key)
                self._origins[key] = (path, origin)

    def _forget(self, key: Key) -> None:
        for known in [known for known in self._origins if known[: len(key)] == key]:
            del self._origins[known]

    def error(self, key: Key, problem: str, remedy: str = "") -> ConfigError:
        """The ConfigError about a key of the merged document; it names the file that the key came from."""
        for length in range(len(key), 0, -1):
            if key[:length] in self._origins:
                path, origin = self._origins[key[:length]]
                return ConfigError(path, dotted((*origin, *key[length:])), problem, remedy)
        return ConfigError(self.path, dotted(key), problem, remedy)


class Section:
    """One mapping in a merged document. Keys are taken out one by one; `done()` refuses any that are left."""

    def __init__(self, merged: MergedDocument, key: Key, value: Any) -> None:
        if not isinstance(value, dict):
            raise merged.error(key, "must be a mapping of keys")
        self._merged = merged
        self._key = key
        self._left: dict[Any, Any] = dict(value)
        self._known: list[str] = []

    def error(self, name: str, problem: str, remedy: str = "") -> ConfigError:
        """The ConfigError about the key `name` of this mapping, or about the mapping itself if it is ""."""
        return self._merged.error((*self._key, name) if name else self._key, problem, remedy)

    def has(self, name: str) -> bool:
        """Whether the key is present and was not taken yet."""
        self._known.append(name)
        return name in self._left

    def text(self, name: str, default: str | None = None) -> str:
        """A non-empty text on one line, without control characters; required if there is no default."""
        value = self._take(name, default)
        if not isinstance(value, str):
            raise self.error(name, "must be text")
        control = any(ord(character) < 32 or ord(character) == 127 for character in value)
        if control or (not value and default != ""):
            raise self.error(name, "must be a text of one line that is not empty")
        return value

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of the choices; the first is the default."""
        value = self.text(name, choices[0])
        if value not in choices:
            raise self.error(name, f"is {value!r}", f"use one of {', '.join(choices)}")
        return value

    def integer(self, name: str, default: int, low: int, high: int | None = None) -> int:
        """An integer from `low` to `high`, both included; without `high`, there is no maximum."""
        value = self._take(name, default)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if high is None and not (whole and low <= value):
            raise self.error(name, f"must be a whole number, {low} or more")
        if high is not None and not (whole and low <= value <= high):
            raise self.error(name, f"must be a whole number from {low} to {high}")
        return int(value)

    def number(self, name: str, default: float | None = None) -> float:
        """A number, 0 or more; required if there is no default."""
        value = self._take(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise self.error(name, "must be a number, 0 or more")
        return value

    def flag(self, name: str, default: bool | None = None) -> bool:
        """True or false; required if there is no default."""
        value = self._take(name, default)
        if not isinstance(value, bool):
            raise self.error(name, "must be true or false")
        return value

    def texts(self, name: str) -> list[str]:
        """A list of non-empty texts; an empty list if the key is missing."""
        value = self._list(name)
        for index, item in enumerate(value):
            if not isinstance(item, str) or not item or "\0" in item:
                raise self.error(f"{name}[{index}]", "must be text")
        return value

    def section(self, name: str, default: dict[str, Any] | None = None) -> "Section":
        """The mapping under the key; required if there is no default."""
        return Section(self._merged, (*self._key, name), self._take(name, default))

    def sections(self, name: str) -> list["Section"]:
        """The list of mappings under the key; an empty list if the key is missing."""
        items = enumerate(self._list(name))
        return [Section(self._merged, (*self._key, name, index), item) for index, item in items]

    def value(self, name: str, default: Any = None) -> Any:
        """The value under the key, of any type; required if there is no default."""
        return self._take(name, default)

    def names(self) -> list[str]:
        """The keys that were not taken yet. Raises ConfigError if one is not text."""
        for name in self._left:
            if not isinstance(name, str):
                raise self.error(str(name), "is a key that is not text", "put it in quotes")
        return list(self._left)

    def rest(self) -> dict[str, Any]:
        """Take all remaining keys, with their values."""
        self.names()
        left, self._left = self._left, {}
        return left

    def expect(self, *known: str) -> None:
        """Refuse all other keys. Call it first, so that a misspelled key is not reported as a missing one."""
        for name in self._left:
            if name not in known:
                raise self._unknown(name, known)

    def done(self) -> None:
        """Refuse keys that were not taken; the error names the known keys."""
        for name in self._left:
            raise self._unknown(name, tuple(dict.fromkeys(self._known)))

    @property
    def known(self) -> frozenset[str]:
        """The keys that were asked for so far."""
        return frozenset(self._known)

    def missing(self, name: str, remedy: str) -> ConfigError:
        """The ConfigError for a key that is missing or misspelled."""
        near = difflib.get_close_matches(name, [key for key in self._left if isinstance(key, str)], 1, _ALIKE)
        if near and near[0] not in self._known:
            return self.error(near[0], "is not a known key", f"did you mean {name}?")
        return self.error(name, "is missing", remedy)

    def _unknown(self, name: object, known: Sequence[str]) -> ConfigError:
        near = difflib.get_close_matches(str(name), known, 1, _ALIKE)
        hint = f"did you mean {near[0]}? " if near else ""
        return self.error(str(name), "is not a known key", f"{hint}there are: {', '.join(known)}")

    def _list(self, name: str) -> list[Any]:
        value = self._take(name, [])
        if not isinstance(value, list):
            raise self.error(name, "must be a list")
        return value

    def _take(self, name: str, default: Any) -> Any:
        if self.has(name):
            return self._left.pop(name)
        if default is None:
            raise self.missing(name, "add it")
        return default
