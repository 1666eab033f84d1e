# SPDX-License-Identifier: Apache-2.0
"""The files for TLS: which cannot be used, and how that is said in the configuration and by `th submit`."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kit.certificates import Authority
from tests.kit.service import write_config
from worker.cli import main
from worker.config import config, tls
from worker.errors import ConfigError

Spoil = Callable[[tls.Files, Path], tls.Files]
KEYS = {"gearman_ssl_key": "key", "gearman_ssl_cert": "cert", "gearman_ssl_ca": "ca"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


def written(text: str, part: str) -> Spoil:
    def spoil(files: tls.Files, folder: Path) -> tls.Files:
        path = folder / f"{part}.pem"
        path.touch(0o600)
        path.write_text(text)
        return replace(files, **{part: path})

    return spoil


def opened(files: tls.Files, folder: Path) -> tls.Files:
    path = folder / "open.key"
    path.write_bytes(files.key.read_bytes())
    path.chmod(0o644)
    return replace(files, key=path)


def foreign(files: tls.Files, folder: Path) -> tls.Files:
    return replace(files, key=Authority(folder).issue("other").key)


def locked(files: tls.Files, folder: Path) -> tls.Files:
    return Authority(folder).issue("locked", passphrase=b"secret")


SPOILT = pytest.mark.parametrize(
    ("spoil", "part", "said"),
    [
        (lambda files, _: replace(files, key=Path("/nowhere/k")), "key", "/nowhere/k cannot be read (No such file or"),
        (lambda files, folder: replace(files, ca=folder), "ca", "cannot be read (Is a directory); correct the path"),
        (opened, "key", "open.key is open to every user of this machine; chmod o= "),
        (written("nonsense", "ca"), "ca", "ca.pem holds no certificate in PEM form; correct the path"),
        (written("", "cert"), "cert", "cert.pem holds no certificate in PEM form"),
        (written("nonsense", "key"), "key", "key.pem holds no private key in PEM form"),
        (foreign, "key", "other.key does not belong to the certificate "),
        (locked, "key", "locked.key has a passphrase; take it off: openssl pkey -in "),
    ],
)


def configured(folder: Path, host: str = "zuul.example.org", **keys: str) -> Path:
    path = write_config(folder, 4730, host)
    document = json.loads(path.read_text())
    document["zuul_server"] |= keys
    path.write_text(json.dumps(document))
    return path


@SPOILT
def test_what_cannot_be_used_is_named(
    authority: Authority, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Spoil, part: str, said: str
) -> None:
    files = spoil(authority.issue("worker"), tmp_path)
    path = configured(tmp_path, **{key: str(getattr(files, name)) for key, name in KEYS.items()})
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert str(caught.value).startswith(f"{path}: zuul_server.gearman_ssl_{part}: ") and said in str(caught.value)
    words = [word for name in KEYS.values() for word in (f"--ssl-{name}", str(getattr(files, name)))]
    assert main.th(["submit", "--job", "job", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"th: --ssl-{part}: ") and said in error and error.count("\n") == 1


def test_the_configuration_has_them(authority: Authority, tmp_path: Path) -> None:
    """Relative to the configuration; the server's certificate is for its host, if nothing else is said."""
    files = authority.issue("worker")
    for name in KEYS.values():
        (tmp_path / name).symlink_to(getattr(files, name))
    found = config.load(configured(tmp_path, **KEYS)).zuul_server.ssl
    assert found == tls.Files(*(tmp_path / name for name in KEYS.values()), name="zuul.example.org")
    found = config.load(configured(tmp_path, **KEYS, gearman_ssl_name="gearman")).zuul_server.ssl
    assert found and found.name == "gearman"
    assert config.load(configured(tmp_path)).zuul_server.ssl is None


@pytest.mark.parametrize(
    ("host", "keys", "named", "said"),
    [
        ("zuul", {"gearman_ssl_key": "k"}, "gearman_ssl_cert", "is missing; give all of gearman_ssl_key, "),
        ("zuul", {"gearman_ssl_cert": "c", "gearman_ssl_ca": "a"}, "gearman_ssl_key", "is missing; give all of"),
        ("zuul", {"gearman_ssl_name": "n"}, "gearman_ssl_key", "is missing; give all of"),
        ("embedded", KEYS, "gearman_ssl_key", "does not go with gearman_host: embedded; take it out"),
        ("embedded", {"gearman_ssl_name": "n"}, "gearman_ssl_name", "does not go with gearman_host: embedded"),
        ("zuul", {"gearman_ssl_ca": ""}, "gearman_ssl_ca", "not empty"),
    ],
)
def test_all_three_or_none(tmp_path: Path, host: str, keys: dict[str, str], named: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(configured(tmp_path, host, **keys))
    assert f": zuul_server.{named}: " in str(caught.value) and said in str(caught.value)


@pytest.mark.parametrize("word", ["--ssl-cert", "--ssl-name"])
def test_submit_wants_all_three_too(capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert main.th(["submit", "--job", "job", word, "x"]) == 2
    assert capsys.readouterr().err == "th: --ssl-key: is missing; --ssl-key, --ssl-cert and --ssl-ca go together\n"
