# SPDX-License-Identifier: Apache-2.0
"""Requirements that try to be read in two ways, to be no requirement for us, or to keep the worker busy."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import packaging.requirements
import pytest
from ansible.module_utils.th_environment.requirements import FILES_LIMIT, ROWS_LIMIT, places
from ansible.module_utils.th_environment.source import NotPlainError, Plain, Source, static_dependencies
from ansible.module_utils.th_environment.unpackaged import needed, unpackaged
from ansible.module_utils.th_parse import toml
from ansible.module_utils.th_parse.toml import read_toml

from .mutations import bounded

EVIL = "--index-url=http://evil.example/simple"
HASH = "sha256:" + "a" * 64

NOT_PLAIN = [
    r"nowhere; python_version > '0\x27\x22'",
    r"nowhere; python_version > '0\n" + EVIL + "'",
    "nowhere; python_version > '0\\\n" + EVIL + "'",
    "nowhere; python_version > '" + "\x00" + "'",
    "nowhere; os_name == '\u2028" + EVIL + "'",
    "nowhere; os_name == '\x85'",
    "nowhere; os_name == '$HOME'",
    "nowhere; os_name == '${HOME}'",
    "nowhere; os_name == 'x'or",
    "nowhere; 'x' == 'y'",
    "nowhere; os_name == platform_system",
    "nowhere; os_name",
    "nowhere; " + "(" * 3000 + "os_name == 'x'" + ")" * 3000,
    "nowhere" + "[" * 3000,
    "nowhere" + "(" * 3000 + ">1" + ")" * 3000,
    "nowhere; " + " and ".join(["os_name == 'x'"] * 3000),
    "nowhere>=" + "9" * 5000,
    "nowhere>=1" + ",>=1" * 5000,
    "nowhere @ http://evil.example/a.whl",
    "nowhere@file:///etc/passwd",
    "nowhere " + EVIL,
    "nowhere; os_name == ' " + EVIL,
    "n\u00f6where",
    "nowhere\u00a0>=1",
    "-e .",
    "." * 3000,
    "x" * 300_000,
    "nowhere" + " " * 300_000 + "x",
    "nowhere --hash=sha256:" + "a" * 63,
    "nowhere --hash=md5:" + "a" * 32,
    f"nowhere --hash={HASH} {EVIL}",
    "nowhere" + " --hash" * 20_000,
]


def of(src: Path, texts: list[str], **files: str) -> Plain:
    """What requirements come to, in a file and in pyproject.toml in turn."""
    (src / "requirements.txt").write_text("\n".join(texts), "utf-8")
    for name, text in files.items():
        (src / name).write_text(text)
    install = {"requirements": ["requirements.txt"], "constraints": [], "packages": [], "extras": []}
    return Plain.of(Source.of({**install, "project": "none"}, src), src)


@pytest.mark.parametrize("text", NOT_PLAIN, ids=lambda text: repr(text[:40]))
def test_a_requirement_that_is_more_than_it_seems(
    tmp_path: Path, text: str, stopped_by: Callable[[str], None]
) -> None:
    """Given it in a file, in the lists of a project, and in a project that is not installed itself."""
    with pytest.raises(NotPlainError):
        of(tmp_path, ["alpha", text])
    if "\x00" in text or "\x85" in text:
        return
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "thing"\ndependencies = ["{escaped}"]\n')
    install = {"requirements": [], "constraints": [], "packages": [], "project": "editable", "extras": []}
    assert static_dependencies(tmp_path) or len(text) > 200_000
    with pytest.raises(NotPlainError, match=r"pyproject\.toml"):
        Plain.of(Source.of(install, tmp_path), tmp_path)
    stopped_by("a grammar of its own for what only names a package")


def test_a_hash_where_none_may_be(tmp_path: Path, stopped_by: Callable[[str], None]) -> None:
    assert of(tmp_path, [f"alpha --hash={HASH}"]).requirements == [f"alpha --hash={HASH}"]
    (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "x"\ndependencies = ["alpha --hash={HASH}"]\n')
    install = {"requirements": [], "constraints": [], "packages": [], "project": "editable", "extras": []}
    with pytest.raises(NotPlainError, match=r"pyproject\.toml: more than the name of a package"):
        Plain.of(Source.of(install, tmp_path), tmp_path)
    with pytest.raises(NotPlainError, match=r"install\.packages"):
        Plain.of(Source.of({**install, "packages": [f"a --hash={HASH}"], "project": "none"}, tmp_path), tmp_path)
    stopped_by("hashes being those of files alone")


def test_another_version_of_the_library_writes_two_lines_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_by: Callable[[str], None]
) -> None:
    """Given a library that unescapes markers when it writes them, as older ones do."""
    monkeypatch.setattr(packaging.requirements.Requirement, "__str__", lambda self: f"alpha\n{EVIL}")
    found = of(tmp_path, ["alpha; python_version > '3'"])
    assert found.requirements == ['alpha; python_version > "3"']
    found.words(tmp_path)
    assert (tmp_path / "requirements.txt").read_text() == 'alpha; python_version > "3"\n'
    stopped_by("writing what was recognised, without that library")


def test_files_of_requirements_that_are_read_for_ever(tmp_path: Path, stopped_by: Callable[[str], None]) -> None:
    """Given many files that include each other, each full of lines."""
    text = "".join(f"-r {number}.txt\n" for number in range(FILES_LIMIT)) + "alpha\n" * 150_000
    for number in range(FILES_LIMIT):
        (tmp_path / f"{number}.txt").write_text(text)
    with bounded(), pytest.raises(NotPlainError):
        of(tmp_path, ["-r 0.txt"])
    with pytest.raises(NotPlainError, match=f"more than {ROWS_LIMIT} lines"):
        of(tmp_path, ["alpha"] * (ROWS_LIMIT + 1))
    (tmp_path / "setup.py").write_text('"a[' * 300_000)
    said = " ".join(f"Because a{number} was not found and" for number in range(80))
    with bounded():
        assert places(tmp_path, ["0.txt"], said) == []
    stopped_by("limits on all files together")


DOCUMENTS = {
    "a long key": "a." * 200_000 + "a = 1",
    "a long header": "[" + "a." * 2000 + "a]\n" + "b = 1\n" * 100_000,
    "deep": "a = " + "[" * 200_000,
    "large": "x" * 2_000_000,
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_that_is_read_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, stopped_by: Callable[[str], None]
) -> None:
    """Given keys for which the time that is taken grows with the square of their length."""
    monkeypatch.setattr(toml, "BOUNDS", replace(toml.BOUNDS, seconds=0))
    text = DOCUMENTS[name]
    with pytest.raises(ValueError):
        read_toml(text)
    if name in ("deep", "large"):  # the others end after a second each time
        (tmp_path / "pyproject.toml").write_text(text)
        assert not static_dependencies(tmp_path)
        assert (unpackaged(tmp_path), needed(tmp_path, [])) == ("", [])
    stopped_by("a process with a limit of processor time")


def test_a_large_document_is_read(tmp_path: Path) -> None:
    """And leaves nothing: no process, no open file."""
    before = len(os.listdir("/proc/self/fd"))
    text = "[project]\nname = 'x'\ndependencies = [\n" + "".join(f"'p{n} >= 1.{n}',\n" for n in range(5000)) + "]\n"
    found: dict[str, Any] = read_toml(text + "day = 2024-01-01\n")["project"]
    assert len(found["dependencies"]) == 5000 and found["day"] == "2024-01-01"
    assert len(os.listdir("/proc/self/fd")) == before
