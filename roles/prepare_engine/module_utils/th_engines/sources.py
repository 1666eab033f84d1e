# SPDX-License-Identifier: Apache-2.0
"""The source that apt gets an engine's packages from: this machine's own source of Debian, for another suite."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible.module_utils.th_core.step import StepError

APT = Path("/etc/apt")
COMPONENT = "main"
_FIELD = re.compile(r"([A-Za-z-]{1,60}):(.*)")
_LINE = re.compile(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)((?:\s+[^\s#]+)*)\s*(?:#.*)?")
_EXAMPLE = "'deb [signed-by=KEYRING] MIRROR SUITE main'"
_KEYRING = "debian-archive-keyring"
_OPTIONS = {"signed-by": "Signed-By", "trusted": "Trusted", "check-valid-until": "Check-Valid-Until",
            "check-date": "Check-Date", "by-hash": "By-Hash", "allow-insecure": "Allow-Insecure",
            "allow-weak": "Allow-Weak", "inrelease-path": "InRelease-Path", "snapshot": "Snapshot"}  # fmt: skip
_OTHERS = {"types", "suites", "components", "enabled", "targets", "architectures", "languages", "pdiffs"}
"""Fields of a source that are not taken over."""


def source(given: str, suite: str, codename: str, folder: Path = APT) -> str:
    """The text of a file in sources.list.d (deb822, see sources.list(5)) for a suite.

    It is made from `given`, a source in one of the two formats, or else from the machine's own in `folder`, which is
    the one for its release, `codename`. Raises StepError ``playbook_failed``.
    """
    if given:
        found = list(_read(given, ".list" if given.lstrip().startswith("deb ") else ".sources"))
        if not found:
            raise StepError("playbook_failed", f"prepare_engine_source is no source of packages, such as {_EXAMPLE}.")
        fields = found[0]
    else:
        fields = _own(codename, folder)
    words = {name: value for name, value in fields.items() if name.lower() not in _OTHERS}
    # Targets: only the lists of packages, not what desktops need
    # apt leaves the packages of a file: URI where they are
    words["URIs"] = re.sub(r"(^|\s)file:", r"\1copy:", words["URIs"])
    words = {"Types": "deb", **words, "Suites": suite, "Components": COMPONENT, "Targets": "Packages"}
    return "".join(f"{name}: {value}\n" for name, value in words.items())


def codename(release: Path = Path("/etc/os-release")) -> str:
    """The code name of this machine's release, such as ``trixie``; "" when it has none."""
    try:
        found = re.search(r'^VERSION_CODENAME="?([\w.-]+)"?$', release.read_text(errors="replace"), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""


def _own(codename: str, folder: Path) -> dict[str, str]:
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.list"))]
    files += sorted((folder / "sources.list.d").glob("*.sources"))
    every = [fields for file in files if file.is_file() for fields in _read(_text(file), file.suffix)]
    fitting = [fields for fields in every if _fits(fields, codename)]
    if not fitting:
        raise StepError(
            "playbook_failed",
            f"No source of Debian's packages for {codename or 'this release'} is in {folder}: set prepare_engine_source"
            f" to one, such as {_EXAMPLE}.",
        )
    # a vendor's repository may have a suite of that name, too
    return min(fitting, key=lambda fields: _KEYRING not in fields.get("Signed-By", ""))


def _fits(fields: dict[str, str], codename: str) -> bool:
    def words(name: str) -> Sequence[str]:
        return fields.get(name, "").split()

    if "deb" not in words("Types") or COMPONENT not in words("Components"):
        return False
    return fields.get("Enabled", "yes").lower() not in ("no", "false", "off", "0") and bool(
        {codename, "stable", "testing", "sid", "unstable"} - {""} & set(words("Suites"))
    )


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError as error:
        raise StepError("playbook_failed", f"{file} cannot be read ({error.strerror}).") from None


def _read(text: str, suffix: str) -> Iterator[dict[str, str]]:
    return _lines(text) if suffix == ".list" else _stanzas(text)


def _lines(text: str) -> Iterator[dict[str, str]]:
    """The sources in the format of one line each."""
    for line in text.splitlines():
        if found := _LINE.fullmatch(line.strip()):
            options = dict(word.partition("=")[::2] for word in (found[1] or "").split())
            own = {_OPTIONS[name.lower()]: value for name, value in options.items() if name.lower() in _OPTIONS}
            yield {"Types": "deb", "URIs": found[2], "Suites": found[3], "Components": found[4].strip(), **own}


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """The sources in the format deb822; a value of several lines keeps them."""
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        last = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t") and last:
                fields[last] += f"\n{line}"
            elif found := _FIELD.fullmatch(line):
                # the names of fields are the same in capitals
                last = "URIs" if found[1].lower() == "uris" else "-".join(map(str.capitalize, found[1].split("-")))
                fields[last] = found[2].strip()
        if fields.get("URIs"):
            yield fields
