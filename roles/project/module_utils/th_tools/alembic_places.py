# SPDX-License-Identifier: Apache-2.0
"""Where a commit has its alembic scripts: what the profile says, and alembic's configuration files."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from typing import Any

from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import printable
from ansible.module_utils.th_tools.alembic_files import (
    HERE,
    TooMuchError,
    read_ini,
    read_toml,
    split_locations,
    split_paths,
    toml_files,
)
from ansible.module_utils.th_tools.tool import Commit, Places, Settings


def find_scripts(commit: Commit, settings: Settings) -> Places:
    """Where the scripts are. Raises StepError ``checkout_failed`` for configuration files that take too much."""
    return _Finder(commit, settings).places()


class _Finder:
    """Looks for the scripts of one commit. `_told` is what its configuration files say."""

    def __init__(self, commit: Commit, settings: Settings) -> None:
        self._commit, self._settings = commit, settings
        self._config: str = settings["config"]
        self._folder: str = settings.get("folder", "")
        self._told = self._configuration() if self._config else {}

    def places(self) -> Places:
        """See `find_scripts`."""
        settings, told = self._settings, self._told
        named = told.get("recursive_version_locations", False)
        named = named.strip().lower() in ("1", "true", "yes", "on") if isinstance(named, str) else bool(named)
        recursive = settings["recursive_version_locations"] or named
        roots = [root for one in split_paths(told) if (root := self._inside(one)) is not None]
        # alembic lets the folders of its file count, also where the profile gives it another script_location
        script_location = settings["script_location"]
        location = told.get("script_location")
        if not script_location and isinstance(location, str):
            script_location = self._place(location, roots)
            if script_location is None:
                return Places(outside=self._outside(location))
        helpers = tuple(place for place in (script_location, self._config) if place)
        if settings["version_locations"]:
            return Places(tuple(settings["version_locations"]), recursive, helpers)
        if locations := split_locations(told):
            places = {one: self._place(one, roots) for one in locations}
            outside = next((self._outside(one) for one, place in places.items() if place is None), "")
            return Places(tuple(place for place in places.values() if place), recursive, helpers, outside)
        folders = (posixpath.join(script_location, "versions"),) if script_location else ()
        gone = self._config if self._config and self._commit.content(self._config) is None else ""
        return Places(folders, recursive, helpers, missing=gone)

    def _configuration(self) -> dict[str, Any]:
        """What alembic's files say; the pyproject.toml is the one where alembic is run, else the one beside the ini."""

        def found(read: Callable[..., dict[str, Any]], path: str, *more: str) -> dict[str, Any]:
            try:
                return read(self._commit.content(path) or b"", posixpath.dirname(path), *more)
            except TooMuchError as error:
                raise StepError("checkout_failed", f"{printable(path)}: it {error}.", file=path) from None

        is_toml = self._config.endswith(".toml")
        ini = {} if is_toml else found(read_ini, self._config, self._settings["section"])
        for path in toml_files(self._config, self._settings["workdir"]):
            if toml := found(read_toml, path):
                # how a text is split is asked of the ini alone; only its script_location counts where it is empty, too
                told = {name: value for name, value in toml.items() if "separator" not in name}
                return {**told, **{name: value for name, value in ini.items() if value or name == "script_location"}}
        return dict(ini)

    def _place(self, value: str, roots: Sequence[str]) -> str | None:
        """A location of the configuration file as a folder of the repository: a path, or ``package:folder``; None when
        it leads out of that."""
        package, separator, rest = value.partition(":")
        if separator and re.fullmatch(r"[A-Za-z_][\w.]*", package):
            place = posixpath.join(*package.split("."), *rest.split(":"))
            own = (self._folder, posixpath.join(self._folder, "src"))
            for root in dict.fromkeys((*roots, self._settings["workdir"], *own)):
                folder = posixpath.normpath(posixpath.join(root, place))
                if self._commit.has(folder):
                    return folder
            return posixpath.join(self._folder, place)
        return self._inside(value)

    def _outside(self, value: str) -> str:
        return f"{self._config}: {printable(value.removeprefix(HERE))!r} leads out of the checkout"

    def _inside(self, value: str) -> str | None:
        """A path of the configuration file as one in the repository; None when it leads out of that."""
        if value.startswith(HERE):
            path = posixpath.normpath(value.removeprefix(HERE).lstrip("/") or ".")
        else:
            path = posixpath.normpath(posixpath.join(self._settings["workdir"], value))
        return None if path.startswith(("/", "..")) else path
