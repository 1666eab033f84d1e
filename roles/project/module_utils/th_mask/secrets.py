# SPDX-License-Identifier: Apache-2.0
"""The secrets that a job's results may contain: where they come from, and which of them are worth masking."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.strict_yaml import read_yaml
from ansible.module_utils.th_server import mariadb

SHORTEST = 6
"""Minimum characters of a secret: a shorter one occurs in too many words."""

SHORTEST_NUMBER = 10
"""Minimum digits of a secret that consists of digits only: a shorter one occurs in too many numbers."""

FILE_LIMIT = 64 * 1024

_NAME = re.compile(r"(?i)passw(or)?d|passphrase|token|secret|api_?key|access_?key|credential|private_?key|db_pass")
_VARIABLE = re.compile(
    r"(?i)(?:^|[_-])(?:keys?|dsn|auth|salt|cookies?|pw|pwd|pass|pin|signature|sas|jwt|bearer|private|webhook)(?:[_-]|\d|$)"
)
"""Further names of environment variables that hold secrets."""
_TOKEN = re.compile(r"(?=[^0-9]{0,200}[0-9])(?=[^A-Za-z]{0,200}[A-Za-z])[A-Za-z0-9_+=-]{16,200}")
"""A value that is not a word, a version, a path or an address."""
_SETTING = re.compile(r"[ \t]{0,20}([\w.-]{1,100})[ \t]{0,20}[=:][ \t]{0,20}['\"]?([^\s'\"]{1,1000})")
"""A line of a configuration file."""
_URL = re.compile(r"(?i)([a-z][a-z0-9+.-]{0,30})://([^\s/:@\"'<>]*)(?::([^\s/\"'<>]*))?@")
_PATH = re.compile(r"[/~.][^\s]*")


@dataclass
class Known:
    """What has been collected: secrets that were found, the operator's own, and names, which are published anyway."""

    secrets: set[str] = field(default_factory=set)
    operators: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def worth_masking(self) -> list[str]:
        """The secrets, except those that are too short or are names."""
        names = {name.casefold() for name in self.names}
        secrets = self.operators | {secret for secret in self.secrets if secret.casefold() not in names}
        return sorted(
            secret for secret in secrets if len(secret) >= (SHORTEST_NUMBER if secret.isdigit() else SHORTEST)
        )

    def add_addresses(self, text: str) -> None:
        """The passwords and tokens of all URLs in a text."""
        for scheme, user, password in _URL.findall(text):
            secret = password or (user if scheme.lower() in ("http", "https") else "")
            self.secrets.update((secret, unquote(secret)))

    def add_named(self, value: Any, secret: bool = False) -> None:
        """Add the values of a document, at any depth, whose keys name a secret (``password``, ``api_key``), and the
        passwords in its URLs."""
        waiting = [(value, secret)]
        while waiting:
            value, secret = waiting.pop()
            if isinstance(value, Mapping):
                waiting += [(item, secret or bool(_NAME.search(str(key)))) for key, item in value.items()]
            elif isinstance(value, list | tuple):
                waiting += [(item, secret) for item in value]
            elif isinstance(value, str):
                self.add_addresses(value)
                # the path of a secret file is not a secret
                if secret and not _PATH.fullmatch(value) and "://" not in value:
                    self.secrets.add(value)

    def add_variables(self, environment: Mapping[str, Any], tokens: bool = False) -> None:
        """Add the values of environment variables whose names indicate a secret; with `tokens`, any that look like
        one."""
        for name, value in environment.items():
            self.add_named({str(name): str(value)}, secret=bool(_VARIABLE.search(str(name))))
            if tokens and _TOKEN.fullmatch(str(value)):
                self.secrets.add(str(value))

    def add_profile(self, profile: Any) -> None:
        """Add the secrets of a project's profile: by their keys, in environments, and in the files that it writes."""
        self.add_named(profile)
        waiting = [profile]
        while waiting:
            value = waiting.pop()
            if isinstance(value, list):
                waiting += value
            if not isinstance(value, Mapping):
                continue
            waiting += value.values()
            if isinstance(value.get("environment"), Mapping):
                self.add_variables(value["environment"], tokens=True)
            files = value.get("files")
            for text in files.values() if isinstance(files, Mapping) else ():
                for found in map(_SETTING.match, str(text).splitlines()):
                    if found:
                        self.add_variables({found[1]: found[2]})


def collect(
    job_dir: Path,
    datasets: Sequence[Mapping[str, Any]],
    variables: Mapping[str, Any],
    environment: Mapping[str, str],
    profile: Path | None = None,
) -> Known:
    """Collect the secrets of a job from its databases, its variables, its profile and the environment.

    Sources that are missing or broken are skipped: the results are published all the same.
    """
    known = Known()
    for file in sorted(job_dir.glob("db/*/*.cnf")):
        with contextlib.suppress(OSError, ValueError, mariadb.ServerError):
            about = file.lstat()
            if not stat.S_ISREG(about.st_mode) or about.st_size > FILE_LIMIT:  # not ours, and a pipe would block
                continue
            account = mariadb.read_account(file)
            known.secrets.add(account.get("password", ""))
            known.names.add(account.get("user", ""))
    for dataset in datasets:
        name = str(dataset.get("name", ""))
        known.names |= {name, name.partition("@")[0]}  # on an engine, and the dataset's own
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, mariadb.ServerError):
            _add_dataset(known, Path(str(dataset["config"])))
    known.add_named(variables)
    known.add_variables(environment)
    if profile is not None:
        with contextlib.suppress(OSError, ValueError):
            known.add_profile(read_yaml(profile))
    return known


def read_variables(job_yaml: Path) -> dict[str, Any]:
    """The variables of a job; {} if there is no such file, as when a playbook is run by hand."""
    with contextlib.suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
        variables = yaml.load(job_yaml.read_text("utf-8"), _Loader)  # noqa: S506, a safe loader
        return variables if isinstance(variables, dict) else {}
    return {}


class _Loader(yaml.SafeLoader):
    """A YAML loader that knows Ansible's tag for strings that are not templates."""


_Loader.add_constructor("!unsafe", lambda loader, node: str(node.value))


def _add_dataset(known: Known, path: Path) -> None:
    document = json.loads(path.read_text("utf-8-sig"))
    known.names.update(_texts(document, ("project", "db_user", "database")))
    known.names.update(str(document.get("project", "")).split("/"))
    known.secrets.update(_texts(document, ("db_pass",)))
    for part in (document.get("databases") or {}).values():
        known.names.update(_texts(part, ("database",)))
    if server := document.get("server"):
        known.names.update(_texts(server, ("user", "host")))
        known.secrets.add(mariadb.read_password(path.parent / server["password_file"]))


def _texts(document: Mapping[str, Any], keys: Iterable[str]) -> Iterator[str]:
    yield from (document[key] for key in keys if isinstance(document.get(key), str))


def read_files(paths: Iterable[str]) -> Iterator[str]:
    """The lines of an operator's secret files. Raises StepError ``upload_failed`` for one that cannot be read."""
    for path in paths:
        try:
            with open(path, encoding="utf-8") as stream:
                if os.fstat(stream.fileno()).st_size > FILE_LIMIT:
                    raise StepError(
                        "upload_failed",
                        f"upload_logs_secret_files: {path} is larger than {FILE_LIMIT} bytes: name a file with one"
                        " secret a line.",
                    )
                yield from filter(None, map(str.strip, stream))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise StepError(
                "upload_failed",
                f"upload_logs_secret_files: {path} cannot be read ({reason}): nothing is published before its secrets"
                " can be masked.",
            ) from None
