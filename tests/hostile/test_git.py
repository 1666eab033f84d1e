# SPDX-License-Identifier: Apache-2.0
"""What a repository, a change in it and a git server can try against the worker that checks it out.

An attack is first shown to work with plain git, where that is safe to show; then that it does not with ours.
"""

import ast
import base64
import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_core.text import mask
from ansible.module_utils.th_environment.requirements import file_in, places
from ansible.module_utils.th_environment.uv import Source
from ansible.module_utils.th_git.client import Git, GitError, RetryPolicy
from ansible.module_utils.th_git.files import differing, file
from ansible.module_utils.th_git.process import GitLimits
from ansible.module_utils.th_sandbox.capped_log import CappedLog

from tests.kit import ROOT
from tests.kit.git_server import ENVIRONMENT, Repository, daemon, git, script
from tests.library.test_checkout import PROJECT, VERSIONS, ZUUL_REF, Workplace

PLAIN = {**ENVIRONMENT, "GIT_ALLOW_PROTOCOL": "file:git:http:ssh:ext", "GIT_TERMINAL_PROMPT": "0"}
"""Git as anybody runs it."""


def plain(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *words], cwd=folder, env={**PLAIN, **variables}, capture_output=True, timeout=300)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def repository(root: Path) -> Repository:
    """A project with one release and two migrations, and a library that it may have as a submodule."""
    library = Repository(root / "org" / "library")
    library.commit({"lib": "1"})
    made = Repository(root / PROJECT)
    made.commit({f"{VERSIONS}/a.py": script("a", None), "README": "x\n", "requirements.txt": "good\n"})
    git(made.folder, "branch", "stable/1")
    made.commit({f"{VERSIONS}/b.py": script("b", "a")})
    return made


@pytest.fixture(scope="module")
def url(root: Path, repository: Repository) -> Iterator[str]:
    with daemon(root) as base:
        yield base


@pytest.fixture(scope="module")
def mirrors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mirrors")


@pytest.fixture
def work(tmp_path: Path, mirrors: Path, url: str) -> Workplace:
    made = Workplace(tmp_path, url)
    made.mirrors = mirrors
    made.described["releases"] = ["stable/1"]
    made.patience = RetryPolicy(attempts=1, time_limit=300, backoff=0.01)
    made.limits = GitLimits(made.src(), 1000, 8 << 20, 1 << 30, cpu=2)
    return made


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that an attack writes when it comes through."""
    return tmp_path / "owned"


@pytest.fixture
def payload(tmp_path: Path, mark: Path) -> Path:
    """A program that writes it."""
    path = tmp_path / "payload"
    path.write_text(f"#!/bin/sh\ntouch {mark}\n")
    path.chmod(0o755)
    return path


def propose(repository: Repository, tree: str, subject: str = "evil") -> str:
    """Make a commit of a tree that only ZUUL_REF holds."""
    commit = git(repository.folder, "commit-tree", tree, "-p", "master", "-m", subject)
    git(repository.folder, "update-ref", ZUUL_REF, commit)
    return commit


def blob(repository: Repository, content: bytes) -> str:
    words = ["git", "hash-object", "-w", "--stdin"]
    return subprocess.run(words, input=content, cwd=repository.folder, env=ENVIRONMENT, check=True,
                          stdout=subprocess.PIPE).stdout.decode().strip()  # fmt: skip


def tree(repository: Repository, *entries: tuple[str, str, str], base: bool = False) -> str:
    """A tree with entries (mode, name, object), whatever git thinks of their names; `base` adds those of master."""
    raw = list(entries)
    if base:
        for line in git(repository.folder, "ls-tree", "master").splitlines():
            meta, _, name = line.partition("\t")
            mode, _, found = meta.split()
            raw += [(mode.lstrip("0"), name, found)] if name not in [one[1] for one in entries] else []
    raw.sort(key=lambda entry: os.fsencode(entry[1] + ("/" if entry[0] == "40000" else "")))
    content = b"".join(f"{mode} ".encode() + os.fsencode(name) + b"\0" + bytes.fromhex(found)
                       for mode, name, found in raw)  # fmt: skip
    words = ["git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally"]
    return subprocess.run(words, input=content, cwd=repository.folder, check=True,
                          stdout=subprocess.PIPE).stdout.decode().strip()  # fmt: skip


def with_submodule(
    repository: Repository, url: str, path: str = "sub", name: str = "sub", more: str = "", commit: str = "",
    links: tuple[tuple[str, str], ...] = (),
) -> str:  # fmt: skip
    """A change with a submodule; `links` are symbolic links at the root, name and target."""
    commit = commit or git(repository.folder.parent / "library", "rev-parse", "HEAD")
    text = f'[submodule "{name}"]\n\tpath = "{path}"\n\turl = {url}\n{more}'.encode()
    entries = [("100644", ".gitmodules", blob(repository, text))]
    entries += [("120000", link, blob(repository, target.encode())) for link, target in links]
    *above, last = path.split("/")
    entry = ("160000", last, commit)
    for folder in reversed(above):
        entry = ("40000", folder, tree(repository, entry))
    entries.append(entry)
    return propose(repository, tree(repository, *entries, base=True))


def refused(work: Workplace, words: str = "", code: str = "checkout_failed") -> str:
    return work.fails(code, words)


# -- a repository that hostile code could write to: no command of ours runs one of its ------------------------------


@dataclass(frozen=True)
class Trap:
    """Something in a checkout's .git, which a command of git's springs; `ours` is the same command with our git."""

    set: Callable[[Path, Path, str], None]
    spring: tuple[str, ...]
    ours: Callable[[Git, Path], object] | None = None


def configured(*pairs: tuple[str, str]) -> Callable[[Path, Path, str], None]:
    """A trap of the configuration; PAYLOAD stands for the program, LOCKED for a server that lets nobody in."""

    def write(src: Path, payload: Path, server: str) -> None:
        for key, value in pairs:
            key = key.replace("PAYLOAD", str(payload)).replace("LOCKED", server)
            git(src, "config", key, value.replace("PAYLOAD", str(payload)))

    return write


def hooked(src: Path, payload: Path, server: str) -> None:
    (src / ".git" / "hooks").mkdir(exist_ok=True)
    (src / ".git" / "hooks" / "post-checkout").symlink_to(payload)


def hooks_path(src: Path, payload: Path, server: str) -> None:
    (payload.parent / "hooks").mkdir()
    (payload.parent / "hooks" / "post-checkout").symlink_to(payload)
    git(src, "config", "core.hooksPath", str(payload.parent / "hooks"))


def included(src: Path, payload: Path, server: str) -> None:
    (payload.parent / "more").write_text(f"[core]\n\tfsmonitor = {payload}\n")
    git(src, "config", "include.path", str(payload.parent / "more"))


def signed(src: Path, payload: Path, server: str) -> None:
    text = git(src, "cat-file", "commit", "HEAD").replace("\n\n", "\ngpgsig -----BEGIN PGP SIGNATURE-----\n x\n\n", 1)
    found = subprocess.run(["git", "hash-object", "-t", "commit", "-w", "--stdin"], input=text.encode(), cwd=src,
                           check=True, stdout=subprocess.PIPE).stdout.decode().strip()  # fmt: skip
    git(src, "update-ref", "--no-deref", "HEAD", found)
    configured(("log.showSignature", "true"), ("gpg.program", "PAYLOAD"))(src, payload, server)


def missing_object(src: Path, payload: Path, server: str) -> None:
    configured(("remote.evil.url", "/nowhere"), ("remote.evil.promisor", "true"), ("remote.evil.uploadpack", "PAYLOAD"),
               ("extensions.partialClone", "evil"), ("core.repositoryFormatVersion", "1"))(src, payload,
               server)  # fmt: skip


def with_alternates(src: Path, payload: Path, server: str) -> None:
    git(src.parent, "clone", "--quiet", "--bare", str(src), str(src.parent / "other"))
    (src / ".git" / "objects" / "info").mkdir(exist_ok=True)
    (src / ".git" / "objects" / "info" / "alternates").write_text(f"{src.parent / 'other' / 'objects'}\n")
    git(src, "config", "core.alternateRefsCommand", str(payload))


HERE = "git://127.0.0.1:9/x"  # nobody listens there
TRAPS = {
    "hook in .git/hooks": Trap(hooked, ("checkout", "--force", "HEAD")),
    "core.hooksPath": Trap(hooks_path, ("checkout", "--force", "HEAD")),
    "core.fsmonitor": Trap(configured(("core.fsmonitor", "PAYLOAD")), ("status",)),
    "core.fsmonitor by include.path": Trap(included, ("status",)),
    "core.sshCommand": Trap(configured(("core.sshCommand", "PAYLOAD")), ("ls-remote", "ssh://127.0.0.1:9/x")),
    "core.gitProxy": Trap(configured(("core.gitProxy", "PAYLOAD")), ("ls-remote", HERE)),
    "core.alternateRefsCommand": Trap(with_alternates, ("fetch", "URL", "master")),
    "credential.helper": Trap(configured(("credential.helper", "!PAYLOAD")), ("ls-remote", "LOCKED")),
    "credential.helper of a URL": Trap(configured(("credential.LOCKED.helper", "!PAYLOAD")), ("ls-remote", "LOCKED")),
    "core.askPass": Trap(configured(("core.askPass", "PAYLOAD")), ("ls-remote", "LOCKED")),
    "url.ext.insteadOf": Trap(
        configured(("url.ext::PAYLOAD .insteadOf", "git:"), ("protocol.ext.allow", "always")), ("ls-remote", HERE)
    ),
    "uploadpack of a remote": Trap(
        configured(("remote.evil.url", "/nowhere"), ("remote.evil.uploadpack", "PAYLOAD")), ("fetch", "evil")
    ),
    "gpg.program with log.showSignature": Trap(signed, ("show", "-s", "--format=%s", "HEAD")),
    "diff.external": Trap(
        configured(("diff.external", "PAYLOAD")),
        ("diff", "HEAD~1", "HEAD"),
        lambda tool, src: differing(tool, src, "HEAD~1", "HEAD"),
    ),
    "a remote for a missing object": Trap(missing_object, ("cat-file", "-p", "1" * 40)),
}


class Locked(BaseHTTPRequestHandler):
    """A server that lets nobody in, and remembers what it was told."""

    told: list[str]

    def do_GET(self) -> None:
        self.told.append(self.headers.get("Authorization", ""))
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def locked() -> Iterator[tuple[str, list[str]]]:
    Locked.told = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Locked)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Locked.told
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_in_the_checkouts_git_is_not_sprung(
    tmp_path: Path, repository: Repository, url: str, locked: tuple[str, list[str]], payload: Path, mark: Path,
    trap: str
) -> None:
    src = tmp_path / "src"
    git(tmp_path, "clone", "--quiet", str(repository.folder), str(src))
    places = {"URL": f"{url}/{PROJECT}", "LOCKED": locked[0] + "/x"}
    TRAPS[trap].set(src, payload, locked[0])
    words = [places.get(word, word) for word in TRAPS[trap].spring]
    plain(src, *words)
    assert mark.exists(), "the attack works with plain git"
    mark.unlink()
    tool = Git(CappedLog(tmp_path / "log", 10**6), (url,), RetryPolicy(1, 20, 0))
    try:
        ours = TRAPS[trap].ours
        ours(tool, src) if ours else tool.run(*words, cwd=src)
    except GitError:
        pass  # what does not work without it
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["smudge", "process", "merge driver", "a locked folder"])
def test_a_checkout_is_made_anew_whatever_was_left_in_it(
    work: Workplace, repository: Repository, payload: Path, mark: Path, kind: str
) -> None:
    """Filters and drivers have names of their own: nothing overrides them, so git is never run where they can be."""
    attributes = "* filter=evil merge=evil\n"
    repository.change(ZUUL_REF, {".gitattributes": attributes, "README": "changed\n", f"{VERSIONS}/c.py": script("c",
    "b")})
    work.run()
    src = work.src()
    assert git(src, "config", "--list").count("filter.") == 0
    key = {"process": "filter.evil.process", "merge driver": "merge.evil.driver"}.get(kind, "filter.evil.smudge")
    git(src, "config", key, str(payload))
    (src / ".git" / "info").mkdir(exist_ok=True)
    (src / ".git" / "info" / "attributes").write_text(attributes)
    if kind == "merge driver":
        git(src, "checkout", "--quiet", "--force", "-B", "other", "HEAD~1")
        (src / "README").write_text("other\n")
        git(src, "commit", "--quiet", "--all", "--message", "x")
        plain(src, "merge", "refs/turbo-hipster/change")
    else:
        (src / "README").unlink()
        plain(src, "checkout", "--force", "HEAD", "--", "README")
    assert mark.exists(), "the attack works with plain git"
    mark.unlink()
    if kind == "a locked folder":
        (src / "locked" / "below").mkdir(parents=True)
        (src / "locked" / "below").chmod(0)
        (src / "locked").chmod(0)
    assert work.run()["commit"] == git(repository.folder, "rev-parse", ZUUL_REF)
    assert not mark.exists() and not (src / "locked").exists()
    assert key not in git(src, "config", "--list")


def test_git_is_run_in_the_checkout_before_its_code_only() -> None:
    """Git is run by the checkout, by what builds merged code, which it clones itself, and by what `th check` asks a
    repository: never by what runs once the change's code has run."""
    imports: dict[str, set[str]] = {}
    for path in (ROOT / "roles").rglob("*.py"):
        found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        names = {f"{node.module}.{alias.name}" for node in found for alias in node.names}
        own = f"{path.parent.name}.{path.stem}" if path.parent.name.startswith("th_") else path.stem
        imports[own] = set(re.findall(r"module_utils\.(th_\w+\.\w+)", " ".join(names)))
    users = {"th_git.process"}
    while more := {name for name, used in imports.items() if used & users} - users:
        users |= more
    modules = {path.stem for path in (ROOT / "roles").glob("*/library/*.py")}
    assert users & modules == {
        "update_mirror", "fetch_change", "check_out_change", "read_migrations", "record_change",  # the checkout
        "find_environment", "check_out_commit", "check_repository",
    }  # fmt: skip
    runs = [path for path in (ROOT / "roles").rglob("*.py") if '["git"' in path.read_text()]
    assert [f"{path.parent.name}/{path.name}" for path in runs] == ["th_git/process.py"]


def test_git_is_not_looked_for_in_the_checkout(
    tmp_path: Path, payload: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "git").symlink_to(payload)
    monkeypatch.setenv("PATH", f":.:{os.environ['PATH']}")
    subprocess.run(["git", "--version"], cwd=tmp_path, env=dict(os.environ), check=False, capture_output=True)
    assert mark.exists(), "the attack works with the PATH as it is"
    mark.unlink()
    Git(CappedLog(tmp_path / "log", 10**6), (), RetryPolicy()).run("--version", cwd=tmp_path)
    assert not mark.exists()


# -- submodules -----------------------------------------------------------------------------------------------------

EVIL_URLS = {
    "ext": "ext::sh -c touch% {mark}",
    "an option": "--upload-pack=touch {mark}",
    "an option of ssh": "ssh://-oProxyCommand=touch%20{mark}/x",
    "an encoded option of ssh": "ssh://%2DoProxyCommand=touch%20{mark}/x",
    "an option of ssh, scp-like": "-oProxyCommand=touch:{mark}",
    "a user that is an option": "ssh://-oProxyCommand=x@h/x",
    "a folder": "{outside}",
    "a file URL": "file://{outside}",
    "a folder by ..": "../../../outside",
    "a line break": '"http://h/x\\nhost=evil"',
    "fd": "fd::17",
}


@pytest.mark.parametrize("evil", EVIL_URLS)
def test_a_submodules_url_is_no_more_than_one(
    work: Workplace, repository: Repository, tmp_path: Path, mark: Path, evil: str
) -> None:
    outside = tmp_path / "outside"
    Repository(outside).commit({"secret": "1"})
    address = EVIL_URLS[evil].format(mark=mark, outside=outside)
    with_submodule(repository, address, commit=git(outside, "rev-parse", "HEAD"))
    if evil in ("ext", "a folder", "a file URL"):
        clone = tmp_path / "clone"
        allowed = ("-c", "protocol.ext.allow=always", "-c", "protocol.file.allow=always")
        git(tmp_path, "clone", "--quiet", "--no-checkout", str(repository.folder), str(clone))
        git(clone, "fetch", "--quiet", "origin", ZUUL_REF)
        git(clone, "checkout", "--quiet", "FETCH_HEAD")
        plain(clone, *allowed, "submodule", "update", "--init")
        assert mark.exists() or (clone / "sub" / "secret").exists(), "the attack works with plain git"
        mark.unlink(missing_ok=True)
    refused(work)
    assert not mark.exists() and not list((work.src() / "sub").glob("*"))


def _cr(repository: Repository, url: str, outside: Path) -> None:
    with_submodule(repository, f"{url}/org/library", path="sub\r", links=(("sub", str(outside)),))


def _case(repository: Repository, url: str, outside: Path) -> None:
    with_submodule(repository, f"{url}/org/library", path="A/modules/x", links=(("a", ".git"),))


def _newline(repository: Repository, url: str, outside: Path) -> None:
    with_submodule(repository, f"{url}/org/library", path="sub\\n\\u001b[2J")


def _name(repository: Repository, url: str, outside: Path) -> None:
    with_submodule(repository, f"{url}/org/library", name="../../.git/hooks")


def _update(repository: Repository, url: str, outside: Path) -> None:
    with_submodule(repository, f"{url}/org/library", more=f"\tupdate = !touch {outside}/owned\n")


def _option(repository: Repository, url: str, outside: Path) -> None:
    with_submodule(repository, f"{url}/org/library", path="--upload-pack=touch owned")


def _nested_folder(repository: Repository, url: str, outside: Path) -> None:
    inner = Repository(outside)
    inner.commit({"secret": "1"})
    library = repository.folder.parent / "nested"
    if not library.exists():
        Repository(library).commit({"x": "1"})
    nested = Repository(library)
    text = f'[submodule "in"]\n\tpath = in\n\turl = {outside}\n'.encode()
    entries = (("100644", ".gitmodules", blob(nested, text)), ("160000", "in", git(outside, "rev-parse", "HEAD")))
    commit = git(library, "commit-tree", tree(nested, *entries), "-m", "x")
    git(library, "update-ref", "refs/heads/master", commit)
    with_submodule(repository, f"{url}/org/nested", commit=commit)


def _hasdotgit(repository: Repository, url: str, outside: Path) -> None:
    library = repository.folder.parent / "unsound"
    if not library.exists():
        Repository(library).commit({"x": "1"})
    unsound = Repository(library)
    inner = tree(unsound, ("100644", "config", blob(unsound, b"[core]\n\tfsmonitor = touch owned\n")))
    commit = git(library, "commit-tree", tree(unsound, ("40000", ".GIT", inner)), "-m", "x")
    git(library, "update-ref", "refs/heads/master", commit)
    with_submodule(repository, f"{url}/org/unsound", commit=commit)


def _itself(repository: Repository, url: str, outside: Path) -> None:
    """A repository that holds itself many times would be cloned for ever."""
    commit = git(repository.folder, "rev-parse", "master")
    modules = b"".join(b'[submodule "m%d"]\n\tpath = m%d\n\turl = ../project\n' % (n, n) for n in range(201))
    entries = [("100644", ".gitmodules", blob(repository, modules))]
    entries += [("160000", f"m{number}", commit) for number in range(201)]
    propose(repository, tree(repository, *entries, base=True))


PLACES: dict[str, tuple[Callable[[Repository, str, Path], None], str]] = {
    "a path that ends in CR beside a link (CVE-2025-48384)": (_cr, "not a valid folder name"),
    "a path that a link leads into .git on other file systems (CVE-2024-32002)": (_case, "symbolic link"),
    "a path with a line break and an escape": (_newline, ""),
    "a path that is an option": (_option, ""),
    "a name that leads out": (_name, ""),
    "update = !command": (_update, ""),
    "a folder of this machine, nested": (_nested_folder, "outside of the repositories"),
    "a tree with .GIT in it": (_hasdotgit, ""),
    "two hundred of them": (_itself, "more than 200 submodules"),
}


@pytest.mark.parametrize("evil", PLACES)
def test_a_submodule_stays_where_it_belongs(
    work: Workplace, repository: Repository, url: str, tmp_path: Path, evil: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    make, words = PLACES[evil]
    if make is _nested_folder:
        outside.rmdir()
    make(repository, url, outside)
    detail = refused(work, words)
    assert detail.isprintable()
    assert not (outside / "owned").exists() and not (outside / "lib").exists()
    assert not list(work.src().rglob("owned")) and not list(work.src().rglob("in/secret"))


def test_hooks_of_the_machines_templates_are_not_run_in_submodules(
    work: Workplace, repository: Repository, url: str, tmp_path: Path, payload: Path, mark: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "templates" / "hooks").mkdir(parents=True)
    (tmp_path / "templates" / "hooks" / "post-checkout").symlink_to(payload)
    with_submodule(repository, f"{url}/org/library")
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(tmp_path / "templates"))
    work.run()
    assert (work.src() / "sub" / "lib").is_file() and not mark.exists()
    hooks = work.src() / ".git" / "modules" / "sub" / "hooks"
    assert not hooks.exists()
    plain(work.src() / "sub", "checkout", "--force", "HEAD")
    assert not mark.exists()
    plain(tmp_path, "clone", "--quiet", str(repository.folder), "x", GIT_TEMPLATE_DIR=str(tmp_path / "templates"))
    assert mark.exists(), "the attack works with plain git"


def test_the_password_of_a_server_goes_to_no_other(
    work: Workplace, repository: Repository, tmp_path: Path, locked: tuple[str, list[str]]
) -> None:
    """Git puts the user and password in for a beginning of a text, which is not always the same as a server."""
    evil, told = locked
    base = evil[: evil.rindex(":") + 2].replace("://", "://user:s3cret@")  # a port that the other one begins with
    trick = f"{evil}/x"
    secret = f"url.{base}.insteadOf={mask(base)}"
    told.clear()
    plain(tmp_path, "-c", secret, "ls-remote", trick)
    sent = [base64.b64decode(word.partition(" ")[2]).decode() for word in told if word]
    assert any("s3cret" in word for word in sent), "the attack works with plain git"
    told.clear()
    tool = Git(CappedLog(tmp_path / "log", 10**6), (base,), RetryPolicy(1, 20, 0))
    assert tool.server_error(trick)
    assert told and not any("s3cret" in base64.b64decode(word.partition(" ")[2]).decode() for word in told if word)
    assert "s3cret" not in (tmp_path / "log").read_text()


def test_a_submodule_shares_no_file_with_the_repositories_of_this_machine(
    tmp_path: Path, work: Workplace, root: Path, repository: Repository
) -> None:
    """Else the change's code could write to the objects of the repository that all jobs fetch from."""
    with_submodule(repository, "../library")
    work.url, work.mirrors = str(root), tmp_path / "mirrors"
    work.run()
    inodes = {path.stat().st_ino for path in (root / "org" / "library").rglob("*") if path.is_file()}
    assert (work.src() / "sub" / "lib").is_file()
    assert not inodes & {path.stat().st_ino for path in work.src().rglob("*") if path.is_file()}
    git(tmp_path, "clone", "--quiet", str(root / "org" / "library"), "plain")
    shared = inodes & {path.stat().st_ino for path in (tmp_path / "plain").rglob("*") if path.is_file()}
    assert shared, "the attack works with plain git"


# -- links out of the checkout --------------------------------------------------------------------------------------


def test_links_out_of_the_checkout_are_not_followed(work: Workplace, repository: Repository, tmp_path: Path) -> None:
    secret = tmp_path / "config.yaml"
    secret.write_text("[alembic]\nscript_location = owned\n[project]\ngood>=1\n")
    (tmp_path / "gitmodules").write_text('[submodule "x"]\n\tpath = x\n\turl = /etc\n')
    names = {"alembic.ini": secret, "requirements.txt": secret, "pyproject.toml": secret,
    "setup.py": Path("/etc/shadow"),
             ".gitmodules": tmp_path / "gitmodules",
             "folder": Path("/etc")}  # fmt: skip
    entries = [("120000", name, blob(repository, os.fsencode(target))) for name, target in names.items()]
    propose(repository, tree(repository, *entries, base=True))
    del work.described["migrations"]["script_location"]
    work.described["migrations"] |= {"config": "alembic.ini", "version_locations": [VERSIONS]}
    src = work.src()
    # git takes no .gitmodules that is a link, whatever it leads to
    refused(work, "gitmodules")
    versions = tree(repository, ("120000", "z.py", blob(repository, os.fsencode(secret))))
    entries = [entry for entry in entries if entry[1] != ".gitmodules"]
    propose(repository, tree(repository, *entries, ("40000", "more", versions), base=True))
    work.described["migrations"]["version_locations"] += ["more", "folder"]
    document = work.run()
    assert (src / "alembic.ini").is_symlink() and (src / "alembic.ini").read_text() == secret.read_text()
    assert sorted(document["revisions"]) == ["a", "b"] and not document["unreadable"]
    tool = Git(CappedLog(tmp_path / "log", 10**6), (), RetryPolicy())
    assert file(tool, src, "HEAD", "alembic.ini") is None
    outside = (*names, "../git_prep.log", "folder/passwd", str(secret))
    assert not any(file_in(src, name) for name in outside)
    assert places(src, ["requirements.txt", "folder/passwd"], "Because good was not found") == []
    install = {"constraints": ["setup.py"], "requirements": ["requirements.txt"], "packages": [], "extras": []}
    assert Source.of({**install, "project": "none"}, src).dependencies() == []


# -- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".GIT", ".git ", ".git.", "git~1", ".g\u200cit", ".git\\x", "..", ".git"])
@pytest.mark.parametrize("whose", ["the change's", "merged"])
def test_a_name_that_is_git_somewhere_is_not_written(
    work: Workplace, repository: Repository, tmp_path: Path, mark: Path, name: str, whose: str
) -> None:
    inner = tree(repository, ("100644", "config", blob(repository, f"[core]\n\tfsmonitor = touch {mark}\n".encode())))
    commit = propose(repository, tree(repository, ("40000", name, inner), base=True))
    if whose == "the change's":
        refused(work, "not sound")
        return
    src = tmp_path / "merged"
    git(tmp_path, "clone", "--quiet", str(repository.folder), str(src))
    git(src, "fetch", "--quiet", "origin", ZUUL_REF)
    tool = Git(CappedLog(tmp_path / "log", 10**6), (), RetryPolicy())
    with pytest.raises(GitError):
        tool.checkout(src, commit)
    assert not (src / name / "config").exists() or name in (".git", "..")


def test_names_and_words_of_every_sort_are_harmless_in_what_is_written(
    work: Workplace, repository: Repository
) -> None:
    evil = ["-rf.py", "--option", "a\nfatal: owned.py", "\x1b[2J\x1b]0;owned\x07.py", "\u202eevil\u2066.py",
    "\x9b31m.py", " .py"]
    files, last = {}, "b"
    for number, name in enumerate(evil):
        files[f"{VERSIONS}/{name}"] = script(f"r{number}", last)
        last = f"r{number}" if name.endswith(".py") else last
    repository.change(ZUUL_REF, {**files, **dict.fromkeys(evil, "x")}, "\x1b[2Jsubject \u202e\x9b31m\nFAILURE")
    document = work.run()
    for line in work.log().splitlines():
        assert line.replace("\t", " ").isprintable(), line
    assert all(text.isprintable() for text in (document["subject"], *document["touched"]["helpers"]))
    assert all(fact["file"].isprintable() for fact in document["revisions"].values())
    assert len(document["touched"]["added"]) == sum(name.endswith(".py") for name in evil)
    json.dumps(document).encode()


@pytest.mark.parametrize("ref", ["a\x9b31m", "a\u202eb", "a\u2028b", "--upload-pack=x", "a\ud800", "x;y\x07",
"a\u200bb"])
def test_a_ref_is_no_option_and_no_escape(work: Workplace, ref: str) -> None:
    for field in ("ref", "branch"):
        work.fails("checkout_failed", "is not the name of a ref", **{field: ref})


def test_a_servers_head_is_no_option(tmp_path: Path, root: Path, work: Workplace) -> None:
    """Its name is handed to ``git config``, for which ``--edit`` would start an editor."""
    odd = Repository(root / "odd" / "project")
    commit = odd.commit({"README": "x"})
    git(odd.folder, "update-ref", "refs/heads/--edit", commit)
    git(odd.folder, "symbolic-ref", "HEAD", "refs/heads/--edit")
    work.url, work.mirrors = work.url + "/odd", tmp_path / "mirrors"
    assert "--edit" in plain(tmp_path, "ls-remote", "--symref", f"{work.url}/project", "HEAD").stdout.decode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.library.test_checkout.PROJECT", "project")
        # the name is none of a branch that could be taken: the usual one is
        work.fails("profile_wrong", "master has no migration script", ref="", branch="", change="")


def test_replaced_objects_are_not_taken(work: Workplace, repository: Repository, tmp_path: Path) -> None:
    commit = repository.change(ZUUL_REF, {"README": "good\n"})
    other = repository.change("refs/other", {"README": "evil\n"})
    git(repository.folder, "replace", commit, other)
    try:
        clone = tmp_path / "clone"
        git(tmp_path, "clone", "--quiet", str(repository.folder), str(clone))
        git(clone, "fetch", "--quiet", "origin", ZUUL_REF, "+refs/replace/*:refs/replace/*")
        assert git(clone, "show", f"{commit}:README") == "evil", "the attack works with plain git"
        work.run()
        assert (work.src() / "README").read_text() == "good\n"
        assert not git(work.src(), "for-each-ref", "refs/replace")
    finally:
        git(repository.folder, "replace", "-d", commit)


# -- bombs ----------------------------------------------------------------------------------------------------------


def _many(repository: Repository) -> str:
    """Ten thousand million files in eleven objects."""
    below = blob(repository, b"x")
    for level in range(10):
        mode = "40000" if level else "100644"
        below = tree(repository, *((mode, f"d{number}", below) for number in range(10)))
    return tree(repository, ("40000", "bomb", below), base=True)


def _several(repository: Repository) -> str:
    found = blob(repository, b"x")
    return tree(repository, *(("100644", f"f{number}", found) for number in range(2000)), base=True)


def _large(repository: Repository) -> str:
    """Ten times 4 MB of zeros, which are one object of a few kilobytes."""
    zeros = blob(repository, bytes(4 << 20))
    return tree(repository, *(("100644", f"zeros{number}", zeros) for number in range(10)), base=True)


def _random(repository: Repository) -> str:
    """More than the limit in the fetch itself."""
    return tree(repository, *(("100644", f"r{number}", blob(repository, os.urandom(3 << 20))) for number in range(3)))


def _slow(repository: Repository) -> str:
    """A pattern that git tries to match with a path in more ways than it could ever count."""
    below = tree(repository, ("100644", "c", blob(repository, b"x")))
    for _ in range(100):
        below = tree(repository, ("40000", "a", below))
    pattern = "/".join(["**", "a"] * 12)
    attributes = blob(repository, f"{pattern}/**/b more\n".encode())
    return tree(repository, ("40000", "a", below), ("100644", ".gitattributes", attributes), base=True)


BOMBS = {
    "ten thousand million files": (_many, "files_limit"),
    "two thousand files": (_several, "files_limit"),
    "zeros": (_large, "bytes_limit"),
    "a large pack": (_random, "bytes_limit"),
    "a pattern of attributes": (_slow, "cpu_limit"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_found_before_it_goes_off(work: Workplace, repository: Repository, bomb: str) -> None:
    make, variable = BOMBS[bomb]
    propose(repository, make(repository))
    with pytest.raises(StepError) as caught:
        work.run()
    assert caught.value.code == "over_limit" and variable in caught.value.detail, caught.value.detail
    written = sum(path.lstat().st_size for path in work.src().rglob("*") if path.is_file())
    assert written < 9 << 20


def test_a_bomb_in_a_submodule_is_stopped(work: Workplace, repository: Repository, url: str) -> None:
    library = Repository(repository.folder.parent / "bomb")
    library.commit({"x": "1"})
    zeros = blob(library, bytes(9 << 20))
    for bomb, limit in ((tree(library, ("100644", "zeros", zeros)), "bytes"), (_slow(library), "cpu")):
        commit = git(library.folder, "commit-tree", bomb, "-m", "x")
        git(library.folder, "update-ref", "refs/heads/master", commit)
        with_submodule(repository, f"{url}/org/bomb", commit=commit)
        refused(work, f"checkout_{limit}_limit", "over_limit")
