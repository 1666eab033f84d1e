# SPDX-License-Identifier: Apache-2.0
"""Which requirements of a change only name packages, so that they may come through the shared cache."""

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_environment.source import NotPlainError, Plain, Source

HASH = "sha256:" + "a" * 64
PROJECT = {"pyproject.toml": '[project]\nname = "Thing"\ndependencies = ["alpha>=1"]\n'}


def plain(src: Path, files: dict[str, str], **install: Any) -> Plain:
    for name, text in files.items():
        (src / name).parent.mkdir(parents=True, exist_ok=True)
        (src / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    usual = {"requirements": ["requirements.txt"], "constraints": ["limits.txt"], "packages": [], "extras": []}
    return Plain.of(Source.of({**usual, "project": "none", **install}, src), src)


def test_what_only_names_packages(tmp_path: Path) -> None:
    found = plain(
        tmp_path,
        {
            **PROJECT,
            "requirements.txt": "# first\r\n\r\nAlpha[x,y] >=1, <2 ; python_version>'3'  # why\r\n"
            f"beta==2 \\\n  --hash={HASH} \\\n  --hash {HASH}\n-r more/base.txt\n--constraint=limits.txt",
            "more/base.txt": "-c ../other.in\ngamma\n",
            "other.in": "delta===1.0\n",
            "limits.txt": "omega<3\n",
        },
        packages=["mine"],
        constraints=["limits.txt", "https://index.example/constraints.txt"],
        project="editable",
    )
    assert found.requirements == [
        "mine",
        'Alpha[x,y]<2,>=1; python_version > "3"',
        f"beta==2 --hash={HASH} --hash={HASH}",
        "gamma",
        "alpha>=1",
    ]
    assert found.constraints == ["delta===1.0", "omega<3", "omega<3"]
    assert found.words(tmp_path)[-2:] == ["--constraints", "https://index.example/constraints.txt"]


LINES = [
    "alpha @ https://example.org/alpha.whl", "https://example.org/alpha.whl", "git+https://example.org/alpha",
    "-e .", "-e git+https://example.org/a#egg=a", "./alpha", "../alpha", "/srv/alpha.whl", "file:///srv/alpha.whl", ".",
    "--index-url https://example.org/simple", "-i https://example.org/simple", "--extra-index-url=https://example.org",
    "--find-links ./wheels", "-f .", "--no-index", "--pre", "--no-binary :all:", "--only-binary=:all:",
    "--trusted-host example.org", "--config-settings x=y", "alpha --config-settings=x=y", "alpha --global-option=x",
    "${INDEX}", "alpha==${VERSION}", "-r https://example.org/r.txt", "-r /etc/passwd", "-r ../outside.txt",
    "-r gone.txt", "-r pyproject.toml", "-c file:///etc/passwd", "alpha --hash=md5:abc", "alpha --hash=sha256:xyz",
    "alpha beta",
    "alpha\x0c--index-url https://example.org/simple", "alpha\u2028--pre", "alpha \udcff",
    "# a comment \\\n--index-url https://example.org/simple", "alpha \\\n--index-url https://example.org/simple",
]  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_what_says_more(tmp_path: Path, line: str) -> None:
    (tmp_path / "outside.txt").write_text("beta\n")
    with pytest.raises(NotPlainError):
        plain(tmp_path / "src", {"requirements.txt": f"beta\n{line}\n"})
    with pytest.raises(NotPlainError):
        plain(tmp_path / "src", {"requirements.txt": "beta\n", "limits.txt": line})


@pytest.mark.parametrize(
    "text",
    [
        '[tool.uv.sources]\nalpha = {path = "other"}\n',
        '[[tool.uv.index]]\nurl = "https://example.org/simple"\n',
        '[tool.uv]\nfind-links = ["wheels"]\n',
        "[tool]\nuv = 1\n",
        '[project.optional-dependencies]\nmore = ["alpha @ https://example.org/alpha.whl"]\n',
        '[project.optional-dependencies]\nmore = ["thing[other]"]\n',
        "[project.optional-dependencies]\nmore = [1]\n",
        '[project.optional-dependencies]\nother = ["beta"]\n',
    ],
)
def test_projects_that_say_more(tmp_path: Path, text: str) -> None:
    more = '[project.optional-dependencies]\nmore = ["beta"]\n[tool.uv]\ndev-dependencies = ["gamma"]\n'
    install: dict[str, Any] = {"project": "regular", "extras": ["More"], "requirements": []}
    assert plain(tmp_path, {"pyproject.toml": PROJECT["pyproject.toml"] + more}, **install).requirements[1] == "beta"
    with pytest.raises(NotPlainError, match=r"pyproject\.toml"):
        plain(tmp_path, {"pyproject.toml": PROJECT["pyproject.toml"] + text}, **install)


def test_a_link_out_of_the_checkout_and_files_that_include_each_other(tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("beta\n")
    src = tmp_path / "src"
    src.mkdir()
    (src / "linked.txt").symlink_to("../outside.txt")
    for line in ("-r linked.txt", "-r requirements.txt"):
        with pytest.raises(NotPlainError):
            plain(src, {"requirements.txt": f"{line}\n"})
    with pytest.raises(NotPlainError, match="among constraints"):
        plain(src, {"requirements.txt": "-c limits.txt\n", "limits.txt": "-r more.txt\n", "more.txt": "beta\n"})
    with pytest.raises(NotPlainError, match=r"install\.packages: a URL"):
        plain(src, {"requirements.txt": ""}, packages=["alpha @ https://example.org/alpha.whl"])
