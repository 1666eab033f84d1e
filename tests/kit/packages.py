# SPDX-License-Identifier: Apache-2.0
"""Small Python packages, a project that builds itself, and a package index on loopback: no network is needed."""

import base64
import functools
import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

BACKEND = """\
import pathlib, tomllib, zipfile

def _build(folder, editable):
    project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    needs = project.get("dependencies") or pathlib.Path("needs.txt").read_text().split()
    info = f"{name}-{version}.dist-info"
    file = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{file}", "w") as wheel:
        if editable:
            wheel.writestr(f"{name}.pth", str(pathlib.Path.cwd()))
        else:
            wheel.writestr(f"{name}.py", "")
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        wheel.writestr(f"{info}/METADATA", "\\n".join(lines + [f"Requires-Dist: {one}" for one in needs]) + "\\n")
        about = ["Wheel-Version: 1.0", "Generator: x", "Root-Is-Purelib: true", "Tag: py3-none-any"]
        wheel.writestr(f"{info}/WHEEL", "\\n".join(about) + "\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return file

def build_wheel(folder, config_settings=None, metadata_directory=None):
    return _build(folder, False)

def build_editable(folder, config_settings=None, metadata_directory=None):
    return _build(folder, True)
"""


def project(dependencies: Sequence[str] = (), dynamic: bool = False, evil: str = "") -> dict[str, str]:
    """The files of a project whose build backend is its own; `evil` is code that the backend runs."""
    lines = [
        "[build-system]",
        "requires = []",
        'build-backend = "backend"',
        'backend-path = ["."]',
        "[project]",
        'name = "thing"',
        'version = "1.5"',
        'dynamic = ["dependencies"]' if dynamic else f"dependencies = {list(dependencies)!r}",
    ]
    return {
        "pyproject.toml": "\n".join(lines) + "\n",
        "backend.py": BACKEND + evil + "\n",
        "needs.txt": "\n".join(dependencies) + "\n",
    }


def add_wheel(
    index: Path,
    name: str,
    version: str,
    requires: Sequence[str] = (),
    more: str = "",
    uploaded: str = "",
    beside: Mapping[str, str] | None = None,
) -> None:
    """Put a wheel into an index that is served from `index`.

    `more` is a module's text, `beside` what is installed beside it, `uploaded` the wheel's day.
    """
    folder = index / "simple" / name.replace("_", "-")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    files = {
        f"{name}/__init__.py": more,
        **(beside or {}),
        f"{info}/METADATA": "\n".join(metadata + [f"Requires-Dist: {one}" for one in requires]) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(file, "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
        rows = [f"{path},sha256={_digest(text)},{len(text.encode())}" for path, text in files.items()]
        wheel.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,"]) + "\n")
    _list(folder, {file.name: uploaded} if uploaded else {})


def add_sdist(index: Path, name: str, version: str, files: Mapping[str, str]) -> None:
    """Put a source distribution into an index; `files` are those of a project (see `project`)."""
    folder = index / "simple" / name.replace("_", "-")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / f"{name}-{version}.tar.gz", "w:gz") as tar:
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        for path, text in {**files, "PKG-INFO": about}.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{path}")
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    _list(folder, {})


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def _list(folder: Path, uploaded: Mapping[str, str]) -> None:
    """Write a package's page; with the days of their upload it is the one of PEP 691 and PEP 700."""
    files = sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")])
    links = "".join(f'<a href="{path.name}">{path.name}</a>\n' for path in files)
    (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")
    page = folder / "index.json"
    known = json.loads(page.read_text())["files"] if page.is_file() else []
    known += [
        {"filename": name, "url": name, "hashes": {}, "upload-time": f"{day}T12:00:00Z"}
        for name, day in uploaded.items()
    ]
    if known:
        page.write_text(json.dumps({"meta": {"api-version": "1.1"}, "name": folder.name, "files": known}))


def fill(cache: Path, names: Sequence[str]) -> None:
    """Fill a cache of uv's with packages of the real index."""
    uv = Path(sys.executable).parent / "uv"
    rest = cache.with_name(f"{cache.name}-rest")
    words = [str(uv), "pip", "install", "--quiet", "--python", sys.executable, "--target", str(rest), *names]
    subprocess.run(words, env={**os.environ, "UV_CACHE_DIR": str(cache)}, check=True)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map: ClassVar[dict[str, str]] = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".json": "application/vnd.pypi.simple.v1+json",
    }

    def send_head(self) -> Any:
        if self.path.endswith("/") and Path(self.translate_path(self.path), "index.json").is_file():
            self.path += "index.json"
        return super().send_head()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP on loopback; gives the URL of its ``simple`` index."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/simple"
    finally:
        server.shutdown()
        server.server_close()
