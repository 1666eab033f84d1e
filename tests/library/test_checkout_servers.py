# SPDX-License-Identifier: Apache-2.0
"""Git servers that cannot be used: whose fault that is, in whose words, and whether it is tried again."""

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import Mock

import pytest
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_git import errors
from ansible.module_utils.th_git.client import GitError
from ansible.module_utils.th_git.errors import folder_problem
from ansible.module_utils.th_git.mirror import unreachable

from tests.kit.git_server import Repository, git

from .test_checkout import PROJECT, ZUUL_REF, Workplace, repository, root, url, work  # noqa: F401 - fixtures

NOBODY = 65534
WEB_PAGE = b"<html>\nwords\n</html>\n"


@contextmanager
def http_server(status: int, headers: dict[str, str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """A web server that answers everything with one status; its base URL, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(WEB_PAGE)))
            self.end_headers()
            self.wfile.write(WEB_PAGE)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (401, {"WWW-Authenticate": 'Basic realm="git"'}, "Authentication failed"),
        (403, {}, "403"),
        (404, {}, "not found"),
        (410, {}, "410"),
        (200, {}, "not valid"),
    ],
)
def test_a_web_server_that_refuses_is_the_operators(
    work: Workplace, status: int, headers: dict[str, str], words: str  # noqa: F811
) -> None:
    with http_server(status, headers) as (base, _):
        detail = work.fails("git_refused", words, origin=base)
    assert base in detail and "zuul_server: git_url" in detail
    assert work.log().count("git fetch") == 1, "not tried again"


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_web_server_that_is_out_of_order_is_tried_again(work: Workplace, status: int) -> None:  # noqa: F811
    with http_server(status) as (base, _):
        work.fails("git_unreachable", str(status), origin=base)
    assert work.log().count("git fetch") == work.patience.attempts


def test_a_project_that_git_daemon_does_not_have(work: Workplace, repository: Repository) -> None:  # noqa: F811
    repository.git("config", "daemon.uploadpack", "false")
    work.fails("git_refused", "access denied or repository not exported", origin=f"{work.url}/nowhere")


def test_the_key_is_the_address_that_was_wrong(work: Workplace, repository: Repository) -> None:  # noqa: F811
    repository.change(ZUUL_REF, {"x": "x"})
    detail = work.fails("git_refused", "not exported", url=f"{work.url}/nowhere", origin=work.url)
    assert "zuul_url of its merger" in detail and "zuul_server" not in detail


def test_a_folder_of_this_machine_that_is_not_there(work: Workplace, tmp_path: Path) -> None:  # noqa: F811
    detail = work.fails("git_refused", "does not appear to be a git repository", origin=f"{tmp_path}/nowhere")
    assert f"{tmp_path}/nowhere does not exist" in detail and "zuul_server: git_url" in detail


def as_nobody(function: Callable[[], str]) -> str:
    """What a function says to a user who is not root."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(writing, function().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as stream:
        said = stream.read()
    os.waitpid(child, 0)
    return said


def test_a_folder_that_may_not_be_entered() -> None:
    with tempfile.TemporaryDirectory(prefix="th-closed-") as top:
        closed = Path(top) / "closed"
        (closed / PROJECT).mkdir(parents=True)
        os.chmod(top, 0o755)
        closed.chmod(0)
        url = f"file://{closed}/{PROJECT}"
        words = "fatal: 'x' does not appear to be a git repository\nfatal: Could not read from remote repository."
        server = Mock(bases=(f"file://{closed}",))
        try:
            said = as_nobody(lambda: str(unreachable(server, url, GitError("fetch", 128, words, 0))))
        finally:
            closed.chmod(0o700)
    assert f"'x' does not appear to be a git repository (the user of this process may not enter {closed})" in said
    assert "see zuul_server: git_url" in said


def test_which_folder_is_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "a b" / "c"
    inner.mkdir(parents=True)
    assert folder_problem(str(inner)) == folder_problem(f"file://{tmp_path}/a%20b/c") == ""
    assert folder_problem(f"{inner}/d/e") == f"{inner}/d does not exist"
    assert folder_problem("http://example.org/x") == ""
    monkeypatch.setattr(os, "access", lambda place, mode: str(place) != str(inner.parent))
    assert folder_problem(str(inner)) == f"the user of this process may not enter {inner.parent}"


SSH = {
    "permission": ("Permission denied (publickey,password).", False),
    "unknown host key": ("Host key verification failed.", False),
    "another host key": (
        "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\n"
        "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n"
        "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\n"
        "IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\nHost key verification failed.",
        False,
    ),
    "key types": (
        "Unable to negotiate with 127.0.0.1 port 22: no matching host key type found. Their offer: ssh-rsa", False
    ),
    "too many keys": ("Received disconnect from 127.0.0.1 port 22:2: Too many authentication failures", False),
    "refused": ("ssh: connect to host 127.0.0.1 port 22: Connection refused", False),
    "no such host": ("ssh: Could not resolve hostname nowhere.invalid: Name or service not known", False),
    "the project": ("ERROR: Repository not found.", False),
    "Gerrit": ("fatal: Project not found: org/project", False),
    "timeout": ("ssh: connect to host 127.0.0.1 port 22: Connection timed out", True),
    "no route": ("ssh: connect to host 127.0.0.1 port 22: No route to host", True),
    "no name server": ("ssh: Could not resolve hostname a.example: Temporary failure in name resolution", True),
    "reset": ("Connection reset by 127.0.0.1 port 22", True),
    "busy": ("kex_exchange_identification: Connection closed by remote host", True),
}


@pytest.mark.parametrize("name", SSH)
def test_what_ssh_says_is_the_reason(
    work: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str  # noqa: F811
) -> None:
    """An ssh that says what the real one says: git's own last words are the same for all of it."""
    words, transient = SSH[name]
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    (tmp_path / "words").write_text(f"{words}\n")
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/words >&2\nexit 255\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    last = words.splitlines()[-1].rstrip(".")
    detail = work.fails("git_unreachable" if transient else "git_refused", last, origin="ssh://git@127.0.0.1")
    assert ("HAS CHANGED" in detail) == ("HAS CHANGED" in words)
    assert work.log().count("git fetch") == (work.patience.attempts if transient else 1)


@pytest.mark.parametrize(
    ("number", "transient"), [(socket.EAI_AGAIN, True), (socket.EAI_NONAME, False), (None, True)]
)
def test_a_name_that_curl_cannot_resolve(monkeypatch: pytest.MonkeyPatch, number: int | None, transient: bool) -> None:
    """curl does not say whether there is no such name, or no answer."""

    def lookup(host: str, port: object) -> list[object]:
        assert host == "git.example.org"
        if number is None:
            return []
        raise socket.gaierror(number, "whatever")

    monkeypatch.setattr(errors.socket, "getaddrinfo", lookup)
    said = "fatal: unable to access 'http://git.example.org/x/': Could not resolve host: git.example.org"
    assert GitError("fetch", 128, said, 0).transient is transient


@pytest.mark.parametrize(
    ("said", "transient"),
    [
        ("fatal: unable to access 'https://x/': SSL certificate problem: self-signed certificate", False),
        ("fatal: unable to access 'https://x/': server certificate verification failed. CAfile: none", False),
        ("fatal: unable to access 'http://x/': Recv failure: Connection reset by peer", True),
        ("error: RPC failed; curl 56 GnuTLS recv error (-54): Error in the pull function.", True),
        ("fatal: the remote end hung up unexpectedly\nfatal: early EOF", True),
        ("fatal: unable to look up x (port 9418) (Name or service not known)", False),
        ("fatal: unable to look up x (port 9418) (Temporary failure in name resolution)", True),
        ("fatal: unable to connect to x:\nx[0: 127.0.0.1]: errno=Connection refused", True),
        ("fatal: unable to access 'http://x/': Failed to connect to x port 80: Connection refused", True),
        ("fatal: transport 'ftp' not allowed", False),
        ("fatal: unable to update url base from redirection", False),
        ("fatal: something that nobody has thought of", False),
    ],
)
def test_what_goes_by_itself(said: str, transient: bool) -> None:
    assert GitError("fetch", 128, said, 0).transient is transient


def test_a_mirror_that_cannot_be_made_is_no_server(work: Workplace, tmp_path: Path) -> None:  # noqa: F811
    (work.mirrors / f"{PROJECT}.git").parent.mkdir(parents=True)
    (work.mirrors / f"{PROJECT}.git").write_text("a file in the way")
    work.fails("playbook_failed", "git_working_dir")


@pytest.fixture
def merger(root: Path, repository: Repository) -> Repository:  # noqa: F811
    """A repository as Zuul's merger has it: a clone, with remote branches beside its own."""
    made = Repository(root / PROJECT)
    for name in ("master", "stable/1", "stable/2"):
        made.git("update-ref", f"refs/remotes/origin/{name}", name)
    made.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/master")
    return made


TIMER = {"ref": "", "branch": "", "change": "", "patchset": ""}


@pytest.mark.parametrize(
    ("head", "branch"),
    [
        ("ref: refs/remotes/origin/master", "master"),
        ("ref: refs/remotes/origin/HEAD", "master"),
        ("ref: refs/remotes/origin/stable/2", "stable/2"),
        ("ref: refs/remotes/gerrit/none", "master"),
        ("ref: refs/heads/stable/1", "stable/1"),
        ("ref: refs/heads/gone", "master"),
        ("ref: refs/nowhere/at/all", "master"),
        ("stable/1", "stable/1"),
        ("stable/1^{tree}", "master"),
    ],
)
def test_a_head_of_every_kind(work: Workplace, merger: Repository, head: str, branch: str) -> None:  # noqa: F811
    """A timer's job names neither a ref nor a branch."""
    content = head if head.startswith("ref: ") else merger.git("rev-parse", head)
    tips = {name: merger.git("rev-parse", name) for name in (branch, "stable/2")}
    (merger.folder / ".git" / "HEAD").write_text(f"{content}\n")
    document = work.run(**TIMER)
    assert (document["branch"], document["commit"]) == (branch, tips[branch])
    asked = work.run("asked", **{**TIMER, "branch": "stable/2"})
    assert (asked["branch"], asked["commit"]) == ("stable/2", tips["stable/2"])


def test_no_head_at_all(work: Workplace, merger: Repository) -> None:  # noqa: F811
    merger.git("branch", "--move", "master", "main")
    (merger.folder / ".git" / "HEAD").write_text("ref: refs/heads/nowhere\n")
    assert work.run(**TIMER)["branch"] == "main"
    for name in ("stable/1", "stable/2"):
        merger.git("branch", "--delete", "--force", name)
    work.described["releases"] = []
    merger.git("branch", "--move", "main", "odd")
    assert work.run("odd", **TIMER)["branch"] == "odd"


def test_a_repository_without_any_branch_has_no_author_to_blame(work: Workplace, root: Path) -> None:  # noqa: F811
    git(root / PROJECT, "checkout", "--quiet", "--detach")
    for name in ("master", "stable/1", "stable/2"):
        git(root / PROJECT, "branch", "--delete", "--force", name)
    with pytest.raises(StepError) as caught:
        work.run(**TIMER)
    assert caught.value.code == "checkout_ref_gone"
