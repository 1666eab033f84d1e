# SPDX-License-Identifier: Apache-2.0
"""What `engines` in ``inventory/group_vars/all/engines.yaml`` says of where an engine's files come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.th_core.checks import Check, Key, WrongKey, fields, list_of, matching
from ansible.module_utils.th_core.step import StepError

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SUITE = matching(re.compile(r"[a-z0-9][a-z0-9./-]{0,63}"), "a suite of Debian, such as trixie")
_PACKAGE = matching(re.compile(r"[a-z0-9][a-z0-9.+-]{0,127}"), "the name of a package")
_ABSOLUTE = matching(re.compile(r"/[^\0\n]*"), "an absolute path")
_DIGEST = matching(re.compile(r"[0-9a-fA-F]{64}"), "a SHA-256 digest, 64 hexadecimal digits")
_KINDS: Mapping[str, Check] = {
    "debian": fields({"suite": Key(_SUITE, required=True), "packages": Key(list_of(_PACKAGE, 1), required=True)}),
    "tarball": fields({"path": Key(_ABSOLUTE, required=True), "sha256": Key(_DIGEST, required=True)}),
}


@dataclass(frozen=True)
class Entry:
    """Where an engine comes from: `kind` is ``debian``, ``tarball``, or "" where this machine has it already, and
    `origin` the value of that key. `home` is where its tree is."""

    name: str
    kind: str
    origin: Mapping[str, Any]
    home: Path

    def recipe(self, packages: list[str], left_out: list[str]) -> dict[str, Any]:
        """What its tree is made of. Another recipe makes another tree."""
        more = {"packages": sorted(packages)} if self.kind == "debian" else {}
        return {self.kind: dict(self.origin), "left_out": left_out, **more}


def read(name: str, engines: Mapping[str, Any], engines_dir: Path) -> Entry:
    """The entry of an engine. Raises StepError ``playbook_failed``, which names the key."""
    if name not in engines:
        known = ", ".join(sorted(map(str, engines))) or "none"
        raise StepError("playbook_failed", f"engines.yaml has no engine {name!r}; it has {known}.")
    key = f"engines.{name}"
    try:
        matching(NAME, "a name of lower-case letters, digits and ._-")(key, name)
        value = fields({
            "family": Key(_anything, required=True),
            "tree": Key(_ABSOLUTE),
            **{other: Key(_anything) for other in ("program", "options")},
            **{kind: Key(check) for kind, check in _KINDS.items()},
        })(key, engines[name])
        kinds = [kind for kind in _KINDS if value[kind] is not None]
        if len(kinds) > 1 or (kinds and value["program"]):
            raise WrongKey(key, f"has two origins: leave {kinds[-1]} or the other one out")
    except WrongKey as error:
        raise StepError("playbook_failed", f"{error} (engines.yaml).") from None
    kind = kinds[0] if kinds else ""
    return Entry(name, kind, value[kind] if kind else {}, Path(value["tree"] or engines_dir / name))


def _anything(key: str, value: Any) -> Any:
    return value


