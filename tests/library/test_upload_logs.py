# SPDX-License-Identifier: Apache-2.0
"""Publishing: what is copied, what is left out, and that nobody sees half of it."""

import errno
import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_publish import copy, place
from ansible.module_utils.th_server import mariadb

from tests.kit import ROOT, load_module
from worker.inputs import documents

collecting = load_module("upload_logs", "collect_results")
module = load_module("upload_logs", "publish_folder")

PLACE = "7/7/1/check/job/0123456"
DEFAULTS = yaml.safe_load((ROOT / "roles" / "upload_logs" / "defaults" / "main.yaml").read_text())


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
            "time_limit": 300,
            "refused_extensions": DEFAULTS["upload_logs_refused_extensions"],
            "datasets": [],
            "addresses": [],
            "profile": "",
            "secrets": [],
            "secret_files": [],
        }

    def run(self) -> dict[str, Any]:
        """What the role's two steps return together."""
        collected = collecting.collect_results(self.params)
        published = module.publish({**self.params, "folder": collected["folder"]})
        return {**published, "left_out": collected["left_out"]}

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
                place.ctypes.set_errno(errno.EINVAL)
                return -1

        monkeypatch.setattr(place.ctypes, "CDLL", lambda *_, **__: Libc())
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


def test_deep_and_wide_folders_take_nothing_from_the_results(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deeper than Python's recursion and wider than what is listed; and what is on top goes first."""
    monkeypatch.setattr(copy, "LEFT_OUT_LINES", 30)
    publisher.params["count_limit"] = 30
    handle = os.open(publisher.results / "artifacts", os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=handle)
        below = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(handle)
    (publisher.results / "aa").mkdir()
    for number in range(70):
        (publisher.results / "aa" / f"f{number:04d}").touch()
    (publisher.results / "user.log").write_text("x")
    try:
        left_out = publisher.run()["left_out"]
        assert {"index.html", "user.log", "aa/f0000"} <= publisher.published().keys()
        assert len(left_out) == 31 and left_out[-1] == "... and more"
        publisher.params["count_limit"] = 2000
        assert publisher.run()["left_out"] == [f"artifacts{'/d' * 20}: too deep"]
    finally:  # pytest's own clean-up would recurse
        subprocess.run(["rm", "-rf", "--", publisher.results / "artifacts"], check=True)


@pytest.mark.parametrize(
    "name",
    ["a.php", "a.php7.txt", "x.PHTML", "a.phar.gz", "run.cgi", "a.shtml", "web.config", "php.ini", "user.py.log",
     "x.jsp", "evil.html", "a.svg", "a.js"],
)  # fmt: skip
def test_no_name_that_a_web_server_acts_on(publisher: Publisher, name: str) -> None:
    (publisher.results / name).write_text("<?php")
    (publisher.results / "artifacts" / "index.html").write_text("not the worker's")
    (publisher.results / "first-try").mkdir()
    (publisher.results / "first-try" / "index.html").write_text("<p>1")
    assert len(publisher.run()["left_out"]) == 2
    published = publisher.published()
    assert f"{name}: its name: a web server may act on ." in published.pop("left-out.txt").decode()
    assert sorted(published) == ["artifacts/checkout.json", "first-try/index.html", "index.html"]
    publisher.params["refused_extensions"] = []
    publisher.run()
    assert name in publisher.published()


def test_what_is_swapped_while_it_is_copied_leads_nowhere(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder and a file that become symbolic links between the look and the opening."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "checkout.json").write_text("s3cret")
    (publisher.results / "a.log").write_text("x")
    real = os.stat

    def swap(path: Any, **more: Any) -> os.stat_result:
        about = real(path, **more)
        if path in ("artifacts", "a.log") and more.get("dir_fd"):
            os.rename(publisher.results / path, tmp_path / f"was-{path}")
            (publisher.results / path).symlink_to(secret / ("" if path == "artifacts" else "checkout.json"))
        return about

    monkeypatch.setattr(copy.os, "stat", swap)
    left_out = publisher.run()["left_out"]
    assert [line.partition(":")[0] for line in left_out] == ["a.log", "artifacts"]
    assert sorted(publisher.published()) == ["index.html", "left-out.txt"]


def test_when_the_time_is_over_the_rest_is_left_out(publisher: Publisher) -> None:
    publisher.params["time_limit"] = 0
    left_out = publisher.run()["left_out"]
    assert [line.partition(":")[0] for line in left_out] == ["index.html", "artifacts/checkout.json"]
    assert list(publisher.published()) == ["left-out.txt"]


SECRETS = {
    "job.cnf": "of-the-jobs-account-1", "admin.cnf": "of-the-administrator-2", "db_pass": "of-the-dataset-3",
    "password_file": "of-the-server-4", "url": "of-the-git-server-5", "plugin": "of-the-plugin-6",
    "environment": "of-the-index-7", "variable": "of-the-worker-8", "operator": "of-the-operator-9",
    "file": "of-a-file-10", "address": "of-an-address-11", "encoded": "of@an/address-12",
    "profile": "of-a-profile-13",
}  # fmt: skip


def test_every_secret_that_a_job_has_is_masked(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_dir = publisher.results.parent
    folder = job_dir / "db" / "user_001"
    folder.mkdir(parents=True)
    server = mariadb.Server(str(folder), "/run/s.sock", {"": "shopping"}, "shopkeeper")
    mariadb.write_option_file(server.job_file, server, user="shopkeeper", password=SECRETS["job.cnf"])
    mariadb.write_option_file(server.admin_file, server, user="root", password=SECRETS["admin.cnf"])
    (folder / "broken.cnf").write_text('password="')
    os.mkfifo(folder / "pipe.cnf")
    files = {
        "user_001": {"project": "org/shop", "db_user": "shopkeeper", "db_pass": SECRETS["db_pass"], "database": "d"},
        "named": {"project": "org/shop", "db_user": "shopkeeper", "db_pass": "shopkeeper", "database": "shopping"},
        "external": {"databases": {"a": {"database": "x"}}, "server": {"user": "turbo", "password_file": "pw"}},
    }
    for name, document in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "pw").write_text(SECRETS["password_file"] + "\n")
    (tmp_path / "pw").chmod(0o600)
    (tmp_path / "secrets").write_text(f"\n{SECRETS['file']}\nshort\n")
    variables = {
        "th_job": {"url": f"https://zuul:{SECRETS['url']}@git.example.org/p", "branch": "{{ master }}"},
        "th_plugin": {"script": {"api_token": [SECRETS["plugin"]], "token_file": "/etc/token-of-it"}},
    }
    (job_dir / "job.yaml").write_text(documents.ansible_variables(variables))
    monkeypatch.setenv("UV_INDEX", f"https://{SECRETS['environment']}@packages.example.org/")
    monkeypatch.setenv("SOME_PASSWORD", SECRETS["variable"])
    (tmp_path / "shop.yaml").write_text(f"migrations: {{environment: {{A_KEY: {SECRETS['profile']}}}}}\n")
    publisher.params |= {
        "profile": str(tmp_path / "shop.yaml"),
        "datasets": [{"name": name, "config": str(tmp_path / f"{name}.json")} for name in (*files, "broken")],
        "addresses": [f"http://u:{SECRETS['address']}@h/", "http://u:of%40an%2Faddress-12@h/", "ssh://master@h/"],
        "secrets": [SECRETS["operator"], "1234567"],
        "secret_files": [str(tmp_path / "secrets")],
        "file_limit": 10_000,
        "total_limit": 40_000,
    }
    kept = "shopkeeper shopping master short 1234567 /etc/token-of-it"
    told = "".join(f"{name}: {secret}\n{' '.join(secret)}\n" for name, secret in SECRETS.items()) + kept
    for name in ("index.html", "user.log", "artifacts/checkout.json"):
        (publisher.results / name).write_text(told)
    (publisher.results / SECRETS["db_pass"]).write_text("")
    result = publisher.run()
    published = publisher.published()
    assert "its name holds a secret" in published["left-out.txt"].decode()
    everything = b"".join(published.values()).decode() + str(result) + str(list(publisher.place.rglob("*")))
    for secret in SECRETS.values():
        assert secret not in everything and " ".join(secret) not in everything
    for content in (published["index.html"].decode(), published["user.log"].decode()):
        assert content.splitlines()[-1] == kept and "db_pass: " in content and len(content) == len(told)
    publisher.params["secret_files"] = [str(tmp_path / "none")]
    with pytest.raises(StepError, match=r"upload_logs_secret_files: .*none cannot be read"):
        publisher.run()


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

    monkeypatch.setattr(copy.os, "write", full)
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
