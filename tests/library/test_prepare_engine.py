# SPDX-License-Identifier: Apache-2.0
"""Getting an engine: of packages and of a tarball, whole or not at all, and again without a network."""

import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_engines import build, entry, packages, sources, unpack
from ansible.module_utils.th_engines.build import Build
from ansible.module_utils.th_engines.tried import tried
from ansible.module_utils.th_sandbox.box import Settings
from ansible.module_utils.th_server import engine

from tests.kit import ROOT, load_module
from tests.kit.engines import SUITE, Mirror, server

TOOLS = ["coreutils", "dash", "util-linux"]
LEFT_OUT = ["usr/share/doc/*", "*bin/perl*"]


class Place:
    """A mirror, and the engines that are made of its packages."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mirror = Mirror(root / "mirror")
        self.engines_dir = root / "engines"
        self.engines: dict[str, Any] = {
            "one": {"family": "mysql", "debian": {"suite": SUITE, "packages": ["mysql-server-core"]}}
        }
        self.publish("9.9.1")

    def publish(self, version: str) -> None:
        files = {
            "/usr/sbin/mysqld": server(version),
            "/usr/bin/perl5": "x",
            "/usr/share/doc/mysql/README": "x",
            "/lib/mysql/plugin.so": "x",
        }
        self.mirror.package("mysql-server-core", files, version=f"1:{version}-1", depends="dash")
        self.mirror.publish()

    def begin(self, renew: bool = False, left_out: list[str] = LEFT_OUT) -> Build:
        """Begin to make the engine."""
        begun = self.look(renew, left_out)
        assert begun
        return begun

    def look(self, renew: bool = False, left_out: list[str] = LEFT_OUT) -> Build | None:
        """The same; None where nothing has to be made."""
        one = entry.read("one", self.engines, self.engines_dir)
        begun: Build | None = build.begin(one, "mysql", one.recipe(TOOLS, left_out), renew, 900)
        return begun

    def fetch(self, begun: Build) -> list[Path]:
        debian = self.engines["one"]["debian"]
        source = sources.source(self.mirror.source, debian["suite"], "")
        wanted = debian["packages"] + TOOLS
        files: list[Path] = packages.fetch(begun.name, debian["suite"], wanted, source, begun.work, 60)
        return files

    def make(self, begun: Build) -> Path:
        """Do what the tasks do."""
        files = self.fetch(begun)
        unpack.unpack_packages(files, Path(begun.folder), begun.recipe["left_out"])
        build.finish(begun, {"version": tried(begun), "packages": packages.versions(files)})
        return self.engines_dir / "one"

    def folders(self) -> list[str]:
        return sorted(path.name for path in self.engines_dir.iterdir())


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages of this machine's own programs."""
    mirror = Mirror(tmp_path_factory.mktemp("system"))
    mirror.system()
    return mirror.folder / "pool"


@pytest.fixture
def place(tmp_path: Path, system: Path) -> Place:
    made = Place(tmp_path)
    for deb in system.iterdir():
        (made.mirror.folder / "pool" / deb.name).hardlink_to(deb)
    made.mirror.publish()
    return made


def test_an_engine_is_made_of_packages_and_found_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = place.begin()
    home = place.make(begun)
    found = json.loads((home / build.MANIFEST).read_text())
    assert found["version"].startswith("Ver 9.9.1 for Linux")
    assert found["packages"] == {
        "coreutils": "1.0-1", "dash": "1.0-1", "mysql-server-core": "1:9.9.1-1", "util-linux": "1.0-1",
    }  # fmt: skip
    assert (home / "usr/lib/mysql/plugin.so").is_file(), "packages name files by the paths from before usr"
    assert (home / "lib").readlink() == Path("usr/lib")
    assert not (home / "usr/share/doc/mysql").exists() and not (home / "usr/bin/perl5").exists()
    assert (home / "usr/sbin/mysqld").stat().st_mode & 0o7777 == 0o755, "whatever the package has"
    assert len(place.folders()) == 2 and not list(home.glob(".*"))
    monkeypatch.setenv("PATH", str(place.root / "nothing"))  # neither apt nor a network
    assert place.look() is None


def test_an_engine_is_renewed_when_asked_or_when_its_recipe_is_another(place: Place) -> None:
    begun = place.begin()
    home = place.make(begun)
    first = home.resolve()
    place.publish("9.9.2")
    assert place.look() is None, "that there is something newer is nobody's wish"
    begun = place.begin(renew=True)
    assert home.resolve() == first and (first / "usr/sbin/mysqld").is_file(), "until the new one is whole"
    place.make(begun)
    assert "9.9.2" in (home / build.MANIFEST).read_text()
    assert first.is_dir(), "a job may still use it"
    os.utime(first / ".replaced", (1, 1))
    begun = place.begin(left_out=[])
    assert not first.exists()
    place.make(begun)
    assert (home / "usr/share/doc/mysql/README").is_file()


BEGIN = """
import sys
from pathlib import Path
import tests.kit
from ansible.module_utils.th_engines import build, entry
one = entry.read("one", {"one": {"family": "mysql", "debian": {"suite": "s", "packages": ["p"]}}}, Path(sys.argv[1]))
print(build.begin(one, "mysql", one.recipe([], []), False, 900).folder, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(place: Place) -> Iterator["subprocess.Popen[str]"]:
    """Another run, which has begun to make the engine."""
    words = [sys.executable, "-c", BEGIN, str(place.engines_dir)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_what_a_killed_run_has_left_is_no_engine_and_is_removed(place: Place, other: Any) -> None:
    left = Path(other.stdout.readline().strip())
    (left / "usr/sbin").mkdir(parents=True)
    (left / "usr/sbin/mysqld").touch()
    left.with_name(f"{left.name}.link").symlink_to(left.name)
    assert not (place.engines_dir / "one").exists()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(place.begin)
        with pytest.raises(TimeoutError):
            waiting.result(0.7)
        other.kill()
        begun = waiting.result(30)
    assert place.folders() == [Path(begun.folder).name]


def test_two_runs_make_one_engine(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = threading.Event()

    def sleep(seconds: float) -> None:
        looked.set()
        time.sleep(seconds)

    monkeypatch.setattr(build, "time", SimpleNamespace(sleep=sleep, time=time.time))
    begun = place.begin()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(place.look, renew=True)
        assert looked.wait(30) and not waiting.done()
        place.make(begun)
        assert waiting.result(30) is None, "it is as new as could be"


@pytest.mark.parametrize(
    ("suite", "package", "mirror", "words"),
    [
        (SUITE, "no-such-server", "", "The suite moving has no package no-such-server: correct engines.one.debian"),
        ("gone", "dash", "", "has no suite gone: correct engines.one.debian.suite"),
        (SUITE, "dash", "deb http://u:secret@127.0.0.1:9/ x main", "The mirror http://127.0.0.1:9/ cannot be used"),
    ],
)
def test_what_keeps_packages_from_being_fetched(
    place: Place, suite: str, package: str, mirror: str, words: str
) -> None:
    place.engines["one"]["debian"] = {"suite": suite, "packages": [package]}
    place.mirror.source = mirror or place.mirror.source
    begun = place.begin()
    with pytest.raises(StepError) as caught:
        place.fetch(begun)
    assert words in caught.value.detail and "secret" not in caught.value.detail


def test_a_module_that_fails_leaves_nothing(place: Place) -> None:
    class Module:
        params: dict[str, str]

        def fail_json(self, **said: str) -> None:
            raise SystemExit(said["msg"])

    def step(_: Build) -> dict[str, str]:
        raise OSError(errno.ENOSPC, "No space left on device")

    begun = place.begin()
    module = Module()
    module.params = {"build": begun.folder}
    with pytest.raises(SystemExit, match=rf"The disk is full \({begun.folder}\): free some space"):
        build.run_build_step(module, step)
    assert place.folders() == []
    with pytest.raises(SystemExit, match=r"begin_engine comes first"):
        build.run_build_step(module, step)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("E: You don't have enough free space in /x/archives/.", "The disk is full"),
        ("W: GPG error: The following signatures couldn't be verified: NO_PUBKEY 1", "upgrade debian-archive-keyring"),
        ("E: Something else.", "apt-get has failed: Something else."),
    ],
)
def test_what_apt_says(said: str, words: str) -> None:
    assert words in packages._problem(said, name="one", suite="s", source="URIs: http://m\n", folder=Path("/x"))


def test_a_machine_without_apt(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = place.begin()
    monkeypatch.setenv("PATH", str(place.root / "nothing"))
    with pytest.raises(StepError, match=r"engines.one.debian needs apt-get .* a vendor's tarball"):
        place.fetch(begun)


def test_an_engine_that_does_not_work_is_not_kept(place: Place) -> None:
    begun = place.begin()
    with pytest.raises(StepError, match=r"has no server of the family mysql"):
        tried(begun)
    binary = Path(begun.folder) / "usr" / "sbin"
    binary.mkdir(parents=True)
    (binary / "mysqld").write_text("no program")
    with pytest.raises(StepError, match=r"does not work on this machine, and is not kept"):
        tried(begun)


def test_a_folder_of_somebody_elses_is_not_replaced(place: Place) -> None:
    (place.engines_dir / "one").mkdir(parents=True)
    with pytest.raises(StepError, match=r"was not made by this role: move it away"):
        place.begin()


# -- tarballs


def tarball(path: Path, *members: tarfile.TarInfo, mode: str = "w:xz") -> str:
    """A vendor's tarball with a server; its digest."""
    with tarfile.open(path, mode) as archive:
        for name, text in {"mysql-8.0.99/bin/mysqld": server("8.0.99"), "mysql-8.0.99/man/mysqld.1": "x"}.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text), 0o4755
            archive.addfile(info, io.BytesIO(text.encode()))
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = 1 if kind == tarfile.REGTYPE else 0
    return info


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_tarball_is_unpacked_without_its_top_folder(tmp_path: Path, mode: str) -> None:
    path, tree = tmp_path / "x.tar", tmp_path / "tree"
    tree.mkdir()
    good = member("mysql-8.0.99/lib/libx.so", tarfile.SYMTYPE, "../lib/private/libx.so.1")
    same = member("mysql-8.0.99/bin/mysqld-debug", tarfile.LNKTYPE, "mysql-8.0.99/bin/mysqld")
    unpack.unpack_tarball(path, tarball(path, good, same, mode=mode).upper(), tree, ["man/*"])
    assert sorted(one.name for one in tree.iterdir()) == ["bin", "lib"]
    assert (tree / "bin/mysqld").stat().st_mode & 0o7777 == 0o755
    assert (tree / "bin/mysqld-debug").samefile(tree / "bin/mysqld")
    assert tried(Build("x", "mysql", str(tree), "", {})).startswith("Ver 8.0.99")


@pytest.mark.parametrize("key", ["tree", "program"])
def test_a_box_shows_a_server_that_links_lead_to(tmp_path: Path, key: str) -> None:
    path, tree = tmp_path / "x.tar", tmp_path / "tree"
    tree.mkdir()
    unpack.unpack_tarball(path, tarball(path), tree, [])
    (tmp_path / "engine").symlink_to("tree")
    place = tmp_path / "engine" / ("bin/mysqld" if key == "program" else "")
    found = engine.find("one", {"family": "mysql", key: str(place)})
    boxed = found.box(Settings()).around([found.program, "--version"], "/")
    try:
        said = subprocess.run(boxed.argv, pass_fds=boxed.handles, capture_output=True, text=True, check=True).stdout
    finally:
        boxed.close()
    assert "Ver 8.0.99" in said


EVIL = {
    "a name above": [member("mysql/../../evil")],
    "an absolute name": [member("/evil")],
    "a link to the root": [member("mysql/lib", tarfile.SYMTYPE, "/etc")],
    "a link above": [member("mysql/lib/x", tarfile.SYMTYPE, "../../evil")],
    "a file through links": [
        member("mysql/a", tarfile.SYMTYPE, "."),
        member("mysql/b", tarfile.SYMTYPE, "a/../.."),
        member("mysql/b/evil"),
    ],
    "a device": [member("mysql/null", tarfile.CHRTYPE)],
    "a pipe": [member("mysql/pipe", tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("name", EVIL)
def test_a_tarball_that_would_write_elsewhere(name: str, tmp_path: Path) -> None:
    path, tree = tmp_path / "x.tar", tmp_path / "in" / "tree"
    tree.mkdir(parents=True)
    with pytest.raises(StepError, match=r"Nothing of the archive is used"):
        unpack.unpack_tarball(path, tarball(path, *EVIL[name], mode="w"), tree, [])
    assert not list(tmp_path.rglob("evil"))


def test_a_package_writes_through_no_link_to_the_machine(tmp_path: Path) -> None:
    """A package may have a link to what the box has there; nothing is ever written to where it leads outside."""
    path, tree = tmp_path / "x.tar", tmp_path / "tree"
    tree.mkdir()
    tarball(path, member("lib", tarfile.SYMTYPE, str(tmp_path)), member("lib/evil"), mode="w")
    with tarfile.open(path) as archive, pytest.raises(StepError, match=r"Nothing of the archive is used"):
        unpack._extract(archive, path, tree, [], strip=0, loose_links=True)
    assert not (tmp_path / "evil").exists()


def test_a_tarball_that_is_another_or_none(tmp_path: Path) -> None:
    path, tree = tmp_path / "x.tar.xz", tmp_path / "tree"
    tree.mkdir()
    digest = tarball(path)
    with pytest.raises(StepError, match=rf"its SHA-256 digest is {digest}, and not 0000"):
        unpack.unpack_tarball(path, "0" * 64, tree, [])
    path.write_bytes(path.read_bytes()[:-200])
    for content in (path.read_bytes(), b"no tarball"):
        path.write_bytes(content)
        with pytest.raises(StepError, match=r"no tar archive that can be unpacked"):
            unpack.unpack_tarball(path, hashlib.sha256(content).hexdigest(), tree, [])
    path.unlink()
    with pytest.raises(StepError, match=r"put the tarball there"):
        unpack.unpack_tarball(path, digest, tree, [])


# -- what engines.yaml says


@pytest.mark.parametrize(
    ("engines", "words"),
    [
        ({"two": {"family": "mysql"}}, "engines.yaml has no engine 'one'; it has two"),
        ({"one": []}, "engines.one: must be a mapping"),
        ({"one": {}}, "engines.one.family: is missing"),
        ({"one": {"family": "mysql", "debain": {}}}, "engines.one.debain: unknown key"),
        ({"one": {"family": "mysql", "debian": {"suite": "sid"}}}, "engines.one.debian.packages: is missing"),
        ({"one": {"family": "mysql", "debian": {"suite": "sid", "packages": ["-o"]}}}, "not the name of a package"),
        ({"one": {"family": "mysql", "tarball": {"path": "x", "sha256": "0" * 64}}}, "not an absolute path"),
        ({"one": {"family": "mysql", "tarball": {"path": "/x", "sha256": "0"}}}, "not a SHA-256 digest"),
        (
            {"one": {"family": "mysql", "program": "/x", "tarball": {"path": "/x", "sha256": "0" * 64}}},
            "has two origins: leave tarball or the other one out",
        ),
    ],
)
def test_an_entry_that_cannot_be_used(engines: dict[str, Any], words: str) -> None:
    with pytest.raises(StepError) as caught:
        entry.read("one", engines, Path("/engines"))
    assert words in caught.value.detail


def test_the_engines_that_come_with_it_can_be_read() -> None:
    import yaml

    engines = yaml.safe_load((ROOT / "inventory/group_vars/all/engines.yaml").read_text())["engines"]
    assert {entry.read(name, engines, Path("/engines")).kind for name in engines} == {"", "debian"}


def test_the_report_names_each_engine(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    report: Callable[..., list[dict[str, str]]] = load_module("prepare_engine", "check_engines").report
    program = place.root / "mysqld"
    program.write_text(server("8.4.9"))
    program.chmod(0o755)
    place.engines |= {"mine": {"family": "mysql", "program": str(program)}, "wrong": {"family": "postgresql"}}
    one, mine, wrong = report(place.engines, place.engines_dir)
    assert (one["version"], mine["problem"]) == ("", "") and mine["version"].startswith("Ver 8.4.9")
    assert "playbooks/prepare-engine.yaml -e engine=one makes it" in one["problem"]
    assert "engines.wrong.family is none of mariadb, mysql" in wrong["problem"]


def test_an_engine_that_this_machine_has_is_tried(place: Place) -> None:
    begin = load_module("prepare_engine", "begin_engine").begin
    given = {"packages": [], "left_out": [], "renew": False, "engines_dir": str(place.engines_dir), "time_limit": 60}
    place.engines["mine"] = {"family": "mysql", "program": str(place.root / "mysqld")}
    with pytest.raises(StepError, match=r"the engine mine is not there: no program"):
        begin({**given, "name": "mine", "engines": place.engines}, False)
    (place.root / "mysqld").write_text(server("8.4.9"))
    (place.root / "mysqld").chmod(0o755)
    found = begin({**given, "name": "mine", "engines": place.engines}, False)
    assert found == {"changed": False, "build": "", "kind": "", "origin": {}}
    found = begin({**given, "name": "one", "engines": place.engines}, True)
    assert (found["changed"], found["build"], place.engines_dir.exists()) == (True, "", False)


# -- where packages come from

STANZA = """\
# Debian
Types: deb deb-src
URIs: https://u:p@mirror.example.org/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
Architectures: amd64 i386
"""
VENDOR = "deb [arch=amd64] https://vendor.example.org/debian bookworm main\n"
LINE = "deb [ signed-by=/k.gpg arch=amd64 ] http://mirror.example.org/debian bookworm main non-free # ours\n"
DISABLED = STANZA.replace("u:p@mirror", "disabled") + "Enabled: no\n"


def fields(text: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text.splitlines())


@pytest.mark.parametrize(
    ("files", "uris", "key"),
    [
        (
            {"sources.list.d/debian.sources": f"{DISABLED}\n{STANZA}"},
            "https://u:p@mirror.example.org/debian",
            "keyring",
        ),
        ({"sources.list": LINE}, "http://mirror.example.org/debian", "/k.gpg"),
        (
            {"sources.list.d/a.list": VENDOR, "sources.list.d/debian.sources": STANZA},
            "https://u:p@mirror.example.org/debian",
            "keyring",
        ),
        ({"sources.list": VENDOR.replace("bookworm", "sid")}, "https://vendor.example.org/debian", ""),
    ],
)
def test_the_source_is_the_machines_own_for_another_suite(
    files: dict[str, str], uris: str, key: str, tmp_path: Path
) -> None:
    (tmp_path / "sources.list.d").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = fields(sources.source("", "trixie", "bookworm", tmp_path))
    assert found.pop("URIs") == uris and key in found.pop("Signed-By", "")
    assert found == {"Types": "deb", "Suites": "trixie", "Components": "main", "Targets": "Packages"}


def test_a_source_that_is_given_or_missing(tmp_path: Path) -> None:
    assert fields(sources.source(LINE, "sid", "x"))["URIs"] == "http://mirror.example.org/debian"
    assert fields(sources.source(STANZA, "sid", "x"))["Suites"] == "sid"
    assert fields(sources.source("deb file:/srv/m x main", "sid", "x"))["URIs"] == "copy:/srv/m"
    key = STANZA + "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n"
    assert "Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n" in sources.source(key, "sid", "x")
    with pytest.raises(StepError, match=r"prepare_engine_source is no source"):
        sources.source("https://u:secret@example.org", "sid", "x")
    with pytest.raises(StepError, match=r"for bookworm is in .*: set prepare_engine_source"):
        sources.source("", "sid", "bookworm", tmp_path)
