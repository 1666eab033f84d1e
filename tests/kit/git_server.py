# SPDX-License-Identifier: Apache-2.0
"""Real git repositories and real git servers on loopback."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.kit.waiting import free_port

ENVIRONMENT = {
    **os.environ,
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "An Author",
    "GIT_AUTHOR_EMAIL": "author@example.org",
    "GIT_COMMITTER_NAME": "A Committer",
    "GIT_COMMITTER_EMAIL": "committer@example.org",
    "GIT_ALLOW_PROTOCOL": "file:git:http",
}


def git(folder: Path, *words: str) -> str:
    """Run git and return what it prints."""
    done = subprocess.run(
        ["git", "-c", "init.defaultBranch=master", *words],
        cwd=folder,
        env=ENVIRONMENT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.strip()


class Repository:
    """A repository with its working folder, served as it is; one that is there already is taken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.exists():
            folder.mkdir(parents=True)
            git(folder, "init", "--quiet")

    def git(self, *words: str) -> str:
        """Run git in the repository and return what it prints."""
        return git(self.folder, *words)

    def commit(self, files: Mapping[str, str | None], subject: str = "A commit") -> str:
        """Write (or with None remove) files, commit, and return the commit."""
        for name, content in files.items():
            path = self.folder / name
            if content is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", "--allow-empty", "--message", subject)
        return git(self.folder, "rev-parse", "HEAD")

    def change(self, ref: str, files: Mapping[str, str | None], subject: str = "A change", on: str = "master") -> str:
        """Make a commit that only `ref` holds, as Zuul's merger does."""
        git(self.folder, "checkout", "--quiet", "--detach", on)
        commit = self.commit(files, subject)
        git(self.folder, "update-ref", ref, commit)
        git(self.folder, "checkout", "--quiet", "master")
        return commit


@contextmanager
def daemon(root: Path, port: int = 0) -> Iterator[str]:
    """A git server for the repositories below a folder; gives its base URL."""
    port = port or free_port()
    server = subprocess.Popen(
        [
            "git",
            "daemon",
            "--export-all",
            "--reuseaddr",
            "--listen=127.0.0.1",
            f"--port={port}",
            f"--base-path={root}",
            str(root),
        ],
        env=ENVIRONMENT,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 300).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "git daemon does not listen"
                time.sleep(0.02)
        yield f"git://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 15)
        server.wait()


@contextmanager
def silence() -> Iterator[str]:
    """The base URL of a git server that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield f"git://127.0.0.1:{listener.getsockname()[1]}"


def script(revision: str, down: str | None, body: str = "pass") -> str:
    """The text of an alembic migration."""
    return f"revision = {revision!r}\ndown_revision = {down!r}\n\n\ndef upgrade():\n    {body}\n"
