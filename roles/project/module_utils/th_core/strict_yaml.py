# SPDX-License-Identifier: Apache-2.0
"""YAML that a person has written: data only, no duplicate keys, and no aliases that expand to something huge."""

from __future__ import annotations

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

BYTES_LIMIT = 4 * 1024 * 1024
NODES_LIMIT = 100_000
"""Maximum number of values in a document, with aliases expanded."""

_DIGITS = 300


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise ValueError(f"duplicate key {key!r} (line {key_node.start_mark.line + 1})")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > _DIGITS:
            raise ValueError(f"a number of more than {_DIGITS} digits (line {node.start_mark.line + 1})")
        return super().construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def read_yaml(path: Path) -> Any:
    """Load a YAML file. Raises OSError, and ValueError for what is not YAML or is not plain data."""
    with path.open("rb") as stream:
        content = stream.read(BYTES_LIMIT + 1)
    if len(content) > BYTES_LIMIT:
        raise ValueError(f"longer than {BYTES_LIMIT} bytes")
    try:
        document = yaml.load(content, Loader=_Loader)  # noqa: S506 - a SafeLoader
        if _size(document, {}) > NODES_LIMIT:
            raise ValueError(f"more than {NODES_LIMIT} values, with aliases expanded")
    # the last ones are what PyYAML raises for a value that does not fit its tag, such as !!timestamp x
    except (yaml.YAMLError, TypeError, AttributeError, LookupError, OverflowError, RecursionError) as error:
        raise ValueError(str(error) or type(error).__name__) from None
    return document


def _size(value: Any, known: dict[int, int]) -> int:
    """How many values a value consists of. Raises RecursionError for one that contains itself."""
    if isinstance(value, str):
        json.dumps(value, ensure_ascii=False).encode()  # no lone surrogate
    if not isinstance(value, dict | list | set | tuple):
        return 1
    if id(value) not in known:
        parts = [*value, *value.values()] if isinstance(value, dict) else [*value]
        known[id(value)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(value)]
