# SPDX-License-Identifier: Apache-2.0
"""Publishing: what is copied, what is left out, and that nobody sees half of it."""

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_step import StepError

from .conftest import load_module

module = load_module("upload_logs", "publish_folder")

PLACE = "7/7/1/check/job/0123456"


class Publisher:
    def __init__(self, job_dir: Path, tmp_path: Path) -> None:
        self.results = job_dir / "results"
        self.root = tmp_path / "published"
        self.place = self.root / PLACE
        self.params: dict[str, Any] = {
            "source": str(self.results),
            "root": str(self.root),
            "log_path": PLACE,
            "url": "https://logs.example.org/th",
            "job_dir": str(job_dir),
            "file_limit": 1000,
            "total_limit": 5000,
            "count_limit": 100,
        }

    def run(self) -> dict[str, Any]:
        return dict(module.publish(self.params))

    def published(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.place)): path.read_bytes() for path in self.place.rglob("*") if path.is_file()
        }

    def beside(self) -> list[str]:
        return [path.name for path in self.place.parent.iterdir()]


@pytest.fixture
def publisher(job_dir: Path, tmp_path: Path) -> Publisher:
    made = Publisher(job_dir, tmp_path)
    (made.results / "index.html").write_text("<p>")
    (made.results / "artifacts").mkdir()
    (made.results / "artifacts" / "checkout.json").write_text("{}")
    return made


def test_files_and_folders_get_there_readable_for_everyone(publisher: Publisher) -> None:
    (publisher.results / "index.html").chmod(0o600)
    (publisher.results / "artifacts").chmod(0o700)
    (publisher.results / "run").write_text("x")
    (publisher.results / "run").chmod(0o4755)
    before = os.umask(0o077)
    try:
        result = publisher.run()
    finally:
        os.umask(before)
    assert result == {"changed": True, "url": f"https://logs.example.org/th/{PLACE}/", "left_out": []}
    assert publisher.published() == {"index.html": b"<p>", "artifacts/checkout.json": b"{}", "run": b"x"}
    for path in [publisher.root, *publisher.root.rglob("*")]:
        assert path.stat().st_mode & 0o7777 == (0o755 if path.is_dir() else 0o644), path
    assert publisher.beside() == ["0123456"]


def test_the_second_time_nothing_changes(publisher: Publisher) -> None:
    assert publisher.run()["changed"]
    again = publisher.run()
    assert not again["changed"]
    assert publisher.beside() == ["0123456"]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_build_that_is_published_again_is_replaced(
    publisher: Publisher, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.run()
    (publisher.results / "index.html").write_text("<p>new")
    (publisher.results / "artifacts" / "checkout.json").unlink()
    if not exchange:

        class Libc:
            def renameat2(self, *_: object) -> int:
                module.ctypes.set_errno(errno.EINVAL)
                return -1

        monkeypatch.setattr(module.ctypes, "CDLL", lambda *_, **__: Libc())
    assert publisher.run()["changed"]
    assert publisher.published() == {"index.html": b"<p>new"}
    assert publisher.beside() == ["0123456"]


def test_what_is_no_plain_file_is_left_out_and_listed(publisher: Publisher, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "password").write_text("s3cret")
    results = publisher.results
    (results / "link").symlink_to(secret / "password")
    (results / "dir-link").symlink_to(secret)
    (results / "dangling").symlink_to("nowhere")
    os.mkfifo(results / "pipe")
    os.link(secret / "password", results / "hard")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(results / "socket"))
    listener.close()
    (results / ".htaccess").write_text("x")
    (results / "two\nlines").write_text("x")
    (results / "-rf").write_text("x")
    (results / "sp ace").write_text("x")
    (results / "évil").write_text("x")
    (results / "<script>").write_text("x")
    open(os.fsencode(results) + b"/\xff\xfe", "w").close()
    (results / "left-out.txt").write_text("a lie")
    result = publisher.run()
    published = publisher.published()
    listed = published.pop("left-out.txt").decode().splitlines()
    assert sorted(published) == ["artifacts/checkout.json", "index.html"]
    assert listed == result["left_out"]
    assert len(listed) == 14
    assert "hard: a file with several names" in listed
    assert "pipe: neither a file nor a folder" in listed
    assert "two\N{REPLACEMENT CHARACTER}lines: its name" in listed
    assert not any(b"s3cret" in content for content in published.values())


def test_limits(publisher: Publisher) -> None:
    (publisher.results / "result.json").write_text("{}")
    (publisher.results / "big.log").write_text("x" * 1001)
    for number in range(7):
        (publisher.results / f"log{number}").write_text("x" * 900)
    left_out = publisher.run()["left_out"]
    assert left_out[0] == "big.log: 1001 bytes, the limit is 1000"
    assert [line.partition(":")[0] for line in left_out[1:]] == ["log5", "log6"]
    publisher.params["count_limit"] = 2
    publisher.run()
    assert sorted(publisher.published()) == ["index.html", "left-out.txt", "result.json"]


def test_a_very_deep_folder(publisher: Publisher) -> None:
    path = publisher.results
    for _ in range(30):
        path = path / "d"
        path.mkdir()
    (left_out,) = publisher.run()["left_out"]
    assert left_out.endswith("too deep")


@pytest.mark.parametrize("place", ["", "/", "../x", "a/../b", "a//b", "a/./b", ".hidden", "a\nb", "-x", "a/\0"])
def test_places_that_are_refused(publisher: Publisher, place: str) -> None:
    publisher.params["log_path"] = place
    with pytest.raises(StepError) as caught:
        publisher.run()
    assert caught.value.code == "upload_failed"
    assert not publisher.root.exists()


def test_no_space_left_leaves_nothing_behind(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    publisher.run()
    (publisher.results / "index.html").write_text("<p>new")
    real = os.write

    def full(handle: int, data: bytes) -> int:
        if data == b"{}":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle, data)

    monkeypatch.setattr(module.os, "write", full)
    with pytest.raises(StepError) as caught:
        publisher.run()
    assert caught.value.code == "upload_failed"
    assert "No space left" in caught.value.detail
    monkeypatch.undo()
    assert publisher.published()["index.html"] == b"<p>", "what was published before stays whole"
    assert publisher.beside() == ["0123456"]


def test_results_that_are_not_there(publisher: Publisher) -> None:
    publisher.params["source"] += "/none"
    with pytest.raises(StepError, match="No such file"):
        publisher.run()
    assert publisher.beside() == []


def test_a_place_that_cannot_be_made(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "published").write_text("a file")
    with pytest.raises(StepError) as caught:
        publisher.run()
    assert caught.value.code == "upload_failed"


def test_leftovers_of_an_interrupted_upload_are_removed(publisher: Publisher) -> None:
    left = publisher.place.parent / ".0123456.publishing-old"
    fresh = publisher.place.parent / ".0123456.publishing-new"
    for path in (left, fresh):
        path.mkdir(parents=True)
    os.utime(left, (1, 1))
    publisher.run()
    assert sorted(publisher.beside()) == [".0123456.publishing-new", "0123456"]


def test_the_results_of_other_builds_are_never_replaced(publisher: Publisher) -> None:
    publisher.run()
    before = publisher.published()
    publisher.params["log_path"] = "7/7"
    with pytest.raises(StepError) as caught:
        publisher.run()
    assert caught.value.code == "upload_failed" and "something else" in caught.value.detail
    assert publisher.published() == before
