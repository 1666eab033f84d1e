# SPDX-License-Identifier: Apache-2.0
"""Where a commit has its alembic scripts, from the profile and from alembic's configuration files."""

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
from ansible.module_utils.th_tools.tool import Commit, ScriptLocations, Settings


def find_scripts(commit: Commit, settings: Settings) -> ScriptLocations:
    """Where the scripts are. Raises StepError ``checkout_failed`` for configuration files that take too much."""
    return _Finder(commit, settings).places()


class _Finder:
    """Finds the scripts of one commit. `_options` are those of its configuration files."""

    def __init__(self, commit: Commit, settings: Settings) -> None:
        self._commit, self._settings = commit, settings
        self._config: str = settings["config"]
        self._folder: str = settings.get("folder", "")
        self._options = self._configuration() if self._config else {}

    def places(self) -> ScriptLocations:
        """See `find_scripts`."""
        settings, options = self._settings, self._options
        named = options.get("recursive_version_locations", False)
        named = named.strip().lower() in ("1", "true", "yes", "on") if isinstance(named, str) else bool(named)
        recursive = settings["recursive_version_locations"] or named
        roots = [root for one in split_paths(options) if (root := self._inside(one)) is not None]
        # alembic uses version_locations of its file even where the profile sets another script_location
        script_location = settings["script_location"]
        location = options.get("script_location")
        if not script_location and isinstance(location, str):
            script_location = self._place(location, roots)
            if script_location is None:
                return ScriptLocations(outside=self._outside(location))
        helpers = tuple(place for place in (script_location, self._config) if place)
        if settings["version_locations"]:
            return ScriptLocations(tuple(settings["version_locations"]), recursive, helpers)
        if locations := split_locations(options):
            places = {one: self._place(one, roots) for one in locations}
            outside = next((self._outside(one) for one, place in places.items() if place is None), "")
            return ScriptLocations(tuple(place for place in places.values() if place), recursive, helpers, outside)
        folders = (posixpath.join(script_location, "versions"),) if script_location else ()
        gone = self._config if self._config and self._commit.content(self._config) is None else ""
        return ScriptLocations(folders, recursive, helpers, missing=gone)

    def _configuration(self) -> dict[str, Any]:
        """The options of alembic's files: the ini, and the pyproject.toml of the workdir, else the one beside it."""

        def found(read: Callable[..., dict[str, Any]], path: str, *more: str) -> dict[str, Any]:
            try:
                return read(self._commit.content(path) or b"", posixpath.dirname(path), *more)
            except TooMuchError as error:
                raise StepError("checkout_failed", f"{printable(path)}: it {error}.", file=path) from None

        is_toml = self._config.endswith(".toml")
        ini = {} if is_toml else found(read_ini, self._config, self._settings["section"])
        for path in toml_files(self._config, self._settings["workdir"]):
            if toml := found(read_toml, path):
                # alembic reads separators from the ini alone; only an empty script_location counts
                options = {name: value for name, value in toml.items() if "separator" not in name}
                return {**options, **{name: value for name, value in ini.items() if value or name == "script_location"}}
        return dict(ini)

    def _place(self, value: str, roots: Sequence[str]) -> str | None:
        """A location in the configuration file, a path or ``package:folder``, as a folder of the repository; None when
        it is outside of that."""
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
        """A path in the configuration file as one in the repository; None when it is outside of that."""
        if value.startswith(HERE):
            path = posixpath.normpath(value.removeprefix(HERE).lstrip("/") or ".")
        else:
            path = posixpath.normpath(posixpath.join(self._settings["workdir"], value))
        return None if path.startswith(("/", "..")) else path
