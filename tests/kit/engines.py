# SPDX-License-Identifier: Apache-2.0
"""Database servers beside the machine's own: the prepared MySQL, and a mirror of small packages to make others of."""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import yaml
from ansible.module_utils.th_server.engine import Engine, find

from . import ROOT

MYSQL = "mysql-9.7"
"""The engine that `make test` prepares."""
PREPARED = Path.home() / ".cache" / "turbo-hipster" / "engines"
"""The folder it is in: the one of playbooks that are run by hand, kept from run to run."""
SUITE = "moving"
"""The suite of a mirror's packages."""


def mysql_engine() -> Path:
    """The tree of a real MySQL server."""
    tree = PREPARED / MYSQL
    assert (tree / "usr" / "sbin" / "mysqld").is_file(), f"there is no {tree}: make host-development prepares it"
    return tree


def mysql() -> Engine:
    """The prepared MySQL."""
    mysql_engine()
    return find(MYSQL, {"family": "mysql"}, PREPARED)


def mysql_options() -> list[str]:
    """The options that the roles start a server of MySQL with."""
    defaults = yaml.safe_load((ROOT / "roles" / "restore_datasets" / "defaults" / "main.yaml").read_text())
    return list(defaults["restore_datasets_mysql_options"])


def server(version: str, family: str = "MySQL") -> str:
    """The text of a program that is asked for its version and nothing else."""
    return f'#!/bin/sh\necho "/usr/sbin/mysqld  Ver {version} for Linux on x86_64 ({family})"\n'


class Mirror:
    """A mirror of Debian with a few packages, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = f"deb [trusted=yes] file:{folder} any main"
        (folder / "pool").mkdir(parents=True)

    def package(self, name: str, files: Mapping[str, str | Path], version: str = "1.0-1", depends: str = "") -> None:
        """Add a package. Its files are programs, by path: their text, or the file to copy."""
        made = self.folder / "made"
        (made / "DEBIAN").mkdir(parents=True)
        for path, content in files.items():
            file = made / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copy(content, file)
            else:
                file.write_text(content)
            file.chmod(0o4755)
        needs = f"Depends: {depends}\n" if depends else ""
        (made / "DEBIAN" / "control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\n"
            f"{needs}Description: {name}\n"
        )
        for old in (self.folder / "pool").glob(f"{name}_*"):
            old.unlink()
        deb = self.folder / "pool" / f"{name}_{version.replace(':', '%3a')}_all.deb"
        command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(made), str(deb)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(made)

    def system(self) -> None:
        """Add packages with this machine's own programs that a box needs, and a shell."""
        for name, programs in {"coreutils": ["env"], "util-linux": ["prlimit", "setpriv"], "dash": ["dash"]}.items():
            files: dict[str, str | Path] = {f"/usr/bin/{program}": Path("/usr/bin", program) for program in programs}
            needs = ["ldd", *map(str, files.values())]
            said = subprocess.run(needs, check=True, capture_output=True, text=True).stdout
            files |= {path: Path(path) for path in re.findall(r"(/\S+) \(0x", said)}
            if name == "dash":
                files["/bin/sh"] = Path("/bin/dash")
            self.package(name, files)

    def publish(self) -> None:
        """Make the lists of all packages."""
        folder = self.folder / "dists" / SUITE / "main" / f"binary-{_architecture()}"
        folder.mkdir(parents=True, exist_ok=True)
        stanzas = []
        for deb in sorted((self.folder / "pool").iterdir()):
            about = subprocess.run(["dpkg-deb", "--field", str(deb)], check=True, capture_output=True, text=True).stdout
            digest = hashlib.sha256(deb.read_bytes()).hexdigest()
            stanzas.append(f"{about}Filename: pool/{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n")
        text = "\n".join(stanzas)
        (folder / "Packages").write_text(text)
        digest, path = hashlib.sha256(text.encode()).hexdigest(), f"main/{folder.name}/Packages"
        (self.folder / "dists" / SUITE / "Release").write_text(
            f"Suite: {SUITE}\nCodename: {SUITE}\nArchitectures: {_architecture()}\nComponents: main\n"
            f"Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n {digest} {len(text)} {path}\n"
        )


def _architecture() -> str:
    command = ["dpkg", "--print-architecture"]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout.strip()
