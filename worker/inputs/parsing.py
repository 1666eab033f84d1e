# SPDX-License-Identifier: Apache-2.0
"""Strict parsing of JSON and YAML: data only, no duplicate keys, and no aliases that expand to something huge.

The content decides the format: a text that starts with `{` is JSON and gets JSON's error messages; all else is YAML.
"""

import json
from collections.abc import Callable, Hashable
from typing import Any

import yaml

MAX_VALUES = 1_000_000
_DIGITS = 300


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise ValueError(f"duplicate key {key!r} (line {key_node.start_mark.line + 1})")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        return _integer(node.value, super().construct_yaml_int, node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("!unsafe", lambda loader, node: str(node.value))


def parse(text: str) -> Any:
    """Parse a text. Raises ValueError, or json.JSONDecodeError if the text begins like JSON."""
    try:
        if text.lstrip().startswith("{"):
            value = json.loads(
                text, object_pairs_hook=_unique_pairs, parse_constant=_no_constant, parse_int=_integer
            )
        else:
            value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
        if _size(value, {}) > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES} values, with aliases expanded")
    # PyYAML also raises TypeError and the like, for a value that does not fit its tag, such as !!timestamp x
    except (yaml.YAMLError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    return value


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"duplicate key {twice!r}")
    return mapping


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str, make: Callable[[Any], int] = int, given: Any = None) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number of more than {_DIGITS} digits")
    return make(digits if given is None else given)


def _size(value: Any, known: dict[int, int]) -> int:
    """The number of values in a value, with YAML's aliases expanded.

    Raises RecursionError for a value that contains itself, and ValueError for a text that cannot be encoded.
    """
    if isinstance(value, str):
        value.encode()
    if not isinstance(value, dict | list | set | tuple):
        return 1
    if id(value) not in known:
        parts = [*value, *value.values()] if isinstance(value, dict) else [*value]
        known[id(value)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(value)]
