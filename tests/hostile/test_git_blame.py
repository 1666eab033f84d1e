# SPDX-License-Identifier: Apache-2.0
"""Repositories that make git say that somebody else is to blame."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from ansible.module_utils.th_git import client

from tests.kit.git_server import Repository

from .test_git import (  # noqa: F401 - fixtures
    Workplace,
    blob,
    mirrors,
    propose,
    refused,
    repository,
    root,
    tree,
    url,
    with_submodule,
    work,
)

WORDS = ("No space left on device", "Permission denied", "x\nfatal: write error: No space left on device\n")


@pytest.mark.parametrize("words", WORDS)
def test_a_file_is_called_what_git_says_of_the_machine(
    work: Workplace, repository: Repository, words: str, stopped_by: Callable[[str], None]  # noqa: F811
) -> None:
    """It cannot be written, as its name is too long for any file system."""
    below = tree(repository, ("100644", f"{words}{'x' * 300}", blob(repository, b"x")))
    propose(repository, tree(repository, ("40000", words.strip(), below), base=True))
    assert words.splitlines()[0] in refused(work, "unable to create file", "checkout_failed")
    stopped_by("reading what ends git's own lines")


@contextmanager
def server(said: str) -> Iterator[int]:
    """A server that tells the first who asks that something is wrong, and all others that it has nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            answers = iter([f"ERR {said}"])
            while True:
                try:
                    other, _ = listening.accept()
                except OSError:
                    return
                with other:
                    other.recv(4096)
                    text = next(answers, "")
                    other.sendall(f"{len(text) + 4:04x}{text}".encode() if text else b"0000")

        threading.Thread(target=answer, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("said", ["No space left on device", "the connection was reset by peer, try again"])
def test_a_server_of_the_changes_own_says_that_the_machine_is_to_blame(
    work: Workplace, repository: Repository, said: str, stopped_by: Callable[[str], None]  # noqa: F811
) -> None:
    with server(said) as port:
        with_submodule(repository, f"git://127.0.0.1:{port}/x")
        assert said in refused(work, "The submodules cannot be fetched", "checkout_failed")
    stopped_by("the change having chosen that server")


def test_what_git_says_of_the_system_is_believed() -> None:
    full = "No space left on device"
    fetched = f"fatal: write error: {full}\nfatal: fetch-pack: invalid index-pack output"
    assert client._has_system_error("fetch", fetched, full)
    assert client._has_system_error("checkout", f"error: x\nfatal: cannot create directory at 'x': {full}\n", full)
    assert not client._has_system_error("fetch", f"remote: {full}\nfatal: x", full)
    assert client.GitError("checkout", 128, "fatal: could not open 'x': Permission denied", 1).machine_fault
