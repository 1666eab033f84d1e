# SPDX-License-Identifier: Apache-2.0
"""A change names repositories as submodules that only the worker may read: it does not read them for the change."""

import base64
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import mask
from ansible.module_utils.th_git.client import Git, RetryPolicy
from ansible.module_utils.th_git.submodules import check_out_submodules, resolved
from ansible.module_utils.th_sandbox.capped_log import CappedLog

from tests.kit.git_server import Repository, git

from .test_git import locked  # noqa: F401 - a fixture

SECRET = "s3cret-of-the-operator"


class Place:
    """A checkout whose server lets nobody in, with what it is told, and commits with submodules."""

    def __init__(self, folder: Path, server: str, told: list[str], user: str) -> None:
        self.folder, self.server, self.told = folder, server, told
        self.base = server.replace("://", f"://{user}@") if user else server
        self.src = folder / "src"
        self.repository = Repository(self.src)
        self.merged = self.repository.commit({"README": "x\n"})
        git(self.src, "config", "remote.origin.url", f"{mask(self.base)}/org/project")

    def commit(self, *modules: tuple[str, str, str], commit: str = "1" * 40) -> str:
        """A commit with submodules: name, path, URL."""
        git(self.src, "checkout", "--quiet", "--force", "--detach", self.merged)
        text = "".join(f'[submodule "{name}"]\n\tpath = {path}\n\turl = {url}\n' for name, path, url in modules)
        (self.src / ".gitmodules").write_text(text)
        git(self.src, "add", ".gitmodules")
        for _, path, _ in modules:
            git(self.src, "update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
        git(self.src, "commit", "--quiet", "--message", "x")
        return git(self.src, "rev-parse", "HEAD")

    def check_out(self, merged: list[str]) -> tuple[StepError | None, set[str]]:
        """What it ends with, and who the server was told that it is."""
        self.told.clear()
        shutil.rmtree(self.src / ".git" / "modules", ignore_errors=True)
        git(self.src, "submodule", "deinit", "--quiet", "--all", "--force")
        tool = Git(CappedLog(self.folder / "log", 10**6), (self.base,), RetryPolicy(1, 20, 0))
        failed = None
        try:
            check_out_submodules(tool, self.src, merged)
        except StepError as error:
            failed = error
        assert SECRET not in (self.folder / "log").read_text()
        sent = {base64.b64decode(word.partition(" ")[2]).decode() for word in self.told if word}
        return failed, sent


@pytest.mark.parametrize("whose", ["of the address", "of the home folder"])
def test_a_password_is_not_used_for_a_submodule_that_merged_code_does_not_name(
    tmp_path: Path, locked: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, whose: str,  # noqa: F811
    stopped_by: Callable[[str], None],
) -> None:  # fmt: skip
    """The password of the configured server, or one that a .netrc has for any."""
    server, told = locked
    monkeypatch.setenv("HOME", str(tmp_path))
    place = Place(tmp_path, server, told, f"zuul:{SECRET}" if whose == "of the address" else "")
    if whose == "of the home folder":
        (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login zuul password {SECRET}\n")
    mine = ("library", "library", "../library")
    merged = place.commit(mine)
    _, sent = place.check_out([merged])
    assert sent == {f"zuul:{SECRET}"}, "merged code's are fetched with it"
    named = {
        "by its address": [("secret", "secret", f"{server}/org/secret")],
        "by a relative one": [("secret", "secret", "../secret")],
        "by one that leads round": [("secret", "secret", "../x/../secret")],
        "under a merged name": [("library", "library", "../secret")],
        "a second time for a merged place": [("secret", "library", "../secret"), mine],
        "for a merged place, at last": [("library", "library", "../library"), ("secret", "library", "../secret")],
    }
    for way, modules in named.items():
        place.commit(*modules)
        failed, sent = place.check_out([merged])
        assert not sent, way
        assert failed is not None and failed.code == "checkout_failed" and failed.detail.isprintable(), way
        assert "without the passwords and keys" in failed.detail, way
    stopped_by("no credentials for what merged code does not name")


def test_neither_agent_nor_keys_are_used_for_a_submodule_that_merged_code_does_not_name(
    tmp_path: Path, locked: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nenv > {tmp_path}/variables\necho "$*" > {tmp_path}/words\nexit 255\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    monkeypatch.setenv("HOME", str(tmp_path))
    place = Place(tmp_path, "ssh://git@git.example.org", [], "")
    merged = place.commit(("library", "library", "../library"))
    place.check_out([merged])
    variables = (tmp_path / "variables").read_text()
    assert "SSH_AUTH_SOCK=/run/agent" in variables and f"HOME={tmp_path}\n" in variables
    for url in ("../secret", "ssh://git@git.example.org/org/secret", "git@other.example.org:x"):
        (tmp_path / "variables").unlink()
        place.commit(("secret", "secret", url))
        failed, _ = place.check_out([merged])
        assert failed is not None
        variables, words = (tmp_path / "variables").read_text(), (tmp_path / "words").read_text()
        assert "SSH_AUTH_SOCK" not in variables and str(tmp_path) not in variables.partition("HOME=")[2].split("\n")[0]
        for option in ("-F /dev/null", "IdentityAgent=none", "PubkeyAuthentication=no", "IdentityFile=/dev/null"):
            assert option in words, (url, option)


def test_submodules_of_submodules_have_no_more_rights_than_the_commit_that_names_them(
    tmp_path: Path, locked: tuple[str, list[str]]  # noqa: F811
) -> None:
    """A commit of a merged submodule's that merged code is not at may have been pushed by anybody."""
    server, told = locked
    library = Repository(tmp_path / "library")
    text = '[submodule "below"]\n\tpath = below\n\turl = {}/org/{}\n'
    commits = []
    for name in ("known", "secret"):
        (library.folder / ".gitmodules").write_text(text.format(server, name))
        git(library.folder, "add", ".gitmodules")
        git(library.folder, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},below")
        git(library.folder, "commit", "--quiet", "--message", name)
        commits.append(git(library.folder, "rev-parse", "HEAD"))
    place = Place(tmp_path, server, told, f"zuul:{SECRET}")
    # a folder of this machine stands for a server that gives the library to everybody
    local = f"file://{library.folder}"
    merged = place.commit(("library", "library", local), commit=commits[0])
    tools = Git(CappedLog(tmp_path / "log", 10**6), (place.base, str(tmp_path)), RetryPolicy(1, 20, 0))
    for commit, allowed in zip(commits, (True, False), strict=True):
        place.commit(("library", "library", local), commit=commit)
        shutil.rmtree(place.src / ".git" / "modules", ignore_errors=True)
        shutil.rmtree(place.src / "library", ignore_errors=True)
        told.clear()
        with pytest.raises(StepError):
            check_out_submodules(tools, place.src, [merged])
        sent = {base64.b64decode(word.partition(" ")[2]).decode() for word in told if word}
        assert told and sent == ({f"zuul:{SECRET}"} if allowed else set())


@pytest.mark.parametrize("remote", ["http://h/a/b", "http://h/a/b/", "git@h:a/b", "git@h:b", "/srv/a/b", "ssh://h:1/a/b"])
def test_a_relative_url_is_what_git_makes_of_it(tmp_path: Path, remote: str) -> None:
    made = Repository(tmp_path / "r")
    git(made.folder, "config", "remote.origin.url", remote)
    urls = ["../x", "../../x", "./x", "../x/", "./../x/y", "../x/../y", "/srv/x", "http://o/x", "x"]
    text = "".join(f'[submodule "{n}"]\n\tpath = p{n}\n\turl = {url}\n' for n, url in enumerate(urls))
    (made.folder / ".gitmodules").write_text(text)
    git(made.folder, "add", ".gitmodules")
    for number in range(len(urls)):
        git(made.folder, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},p{number}")
    git(made.folder, "commit", "--quiet", "--message", "x")
    git(made.folder, "submodule", "--quiet", "init")
    for number, url in enumerate(urls):
        assert resolved(remote, url) == git(made.folder, "config", f"submodule.{number}.url"), url
