# SPDX-License-Identifier: Apache-2.0
"""TLS to the Gearman server: the worker's key and certificate, and the CA that must have issued the server's.

The server's certificate must be valid, match the name, and be issued by that CA; the machine's CAs are not trusted.
Only TLS 1.2 is used: gear calls poll() on the socket, and with TLS 1.3, a readable socket need not have application
data (https://bugs.python.org/issue43622).
"""

from __future__ import annotations

import datetime
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # imported late, because most commands do not need it
    import ssl

PARTS = ("key", "cert", "ca")
"""The file fields of `Files`; all of them are required."""

_NO_TLS = ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


@dataclass(frozen=True)
class Files:
    """The PEM files for one server. `name` is the name that its certificate must have; "" means the host's name."""

    key: Path
    cert: Path
    ca: Path
    name: str = ""

    def check(self) -> None:
        """Raise FileError if one of the files cannot be used."""
        for part in PARTS:
            path: Path = getattr(self, part)
            try:
                with path.open("rb"):
                    pass
            except OSError as error:
                problem = f"{path} cannot be read ({error.strerror})"
                raise FileError(part, problem, "correct the path, or the file's permissions") from error
        if os.stat(self.key).st_mode & 0o007:
            raise FileError("key", f"{self.key} is open to every user of this machine", f"chmod o= {self.key}")
        _context(self)


class FileError(Exception):
    """A file that cannot be used: `part` (one of PARTS), the problem and the remedy."""

    def __init__(self, part: str, problem: str, remedy: str) -> None:
        super().__init__(f"{part}: {problem}; {remedy}")
        self.part, self.problem, self.remedy = part, problem, remedy


class RefusedError(OSError):
    """The server answers, but the TLS handshake with it fails. The text calls the server "it"."""


def connect(host: str, port: int, files: Files | None, seconds: float) -> socket.socket:
    """Connect to the server, with TLS if `files` is given; `seconds` is the timeout of each step.

    Raises RefusedError if TLS fails after the server has accepted the connection, other OSErrors before that.
    """
    channel = socket.create_connection((host, port), seconds)
    if files is None:
        return channel
    try:
        return _context(files).wrap_socket(channel, server_hostname=files.name or host)
    except FileError as error:
        channel.close()
        raise RefusedError(f"our {error}") from error
    except (OSError, ValueError) as error:
        channel.close()
        raise RefusedError(_explained(error, files.name or host)) from error


@dataclass(frozen=True)
class Certificate:
    """A server's certificate: its name and its expiry date."""

    name: str
    until: datetime.datetime


def certificate(host: str, port: int, files: Files, seconds: float) -> Certificate:
    """Connect to the server and return its certificate. Raises the same errors as `connect`."""
    import ssl

    with connect(host, port, files, seconds) as channel:
        assert isinstance(channel, ssl.SSLSocket), "there are files"
        peer: dict[str, Any] = dict(channel.getpeercert() or {})
    names = [value for key, value in peer.get("subjectAltName", ()) if key in ("DNS", "IP Address")]
    common = [value for pairs in peer.get("subject", ()) for key, value in pairs if key == "commonName"]
    until = ssl.cert_time_to_seconds(str(peer["notAfter"]))
    return Certificate(str([*names, *common, "?"][0]), datetime.datetime.fromtimestamp(until, datetime.UTC))


def _context(files: Files) -> ssl.SSLContext:
    """The TLS context for `files`. They are read for each connection, so that renewed files take effect."""
    import ssl

    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name
    made.minimum_version = made.maximum_version = ssl.TLSVersion.TLSv1_2
    scratch = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for part, path, taker in (("ca", files.ca, made), ("cert", files.cert, scratch)):
        try:
            taker.load_verify_locations(path)
        except (OSError, ValueError) as error:
            raise FileError(part, f"{path} holds no certificate in PEM form", "correct the path") from error
    asked: list[bool] = []

    def passphrase() -> str:
        # without this callback, OpenSSL would prompt on the terminal
        asked.append(True)
        return ""

    try:
        made.load_cert_chain(files.cert, files.key, passphrase)
    except (OSError, ValueError) as error:
        if asked:
            problem = f"{files.key} has a passphrase"
            remedy = f"take it off: openssl pkey -in {files.key} -out NEW"
        elif getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            problem, remedy = f"{files.key} does not belong to the certificate {files.cert}", "use the two of one pair"
        else:
            problem, remedy = f"{files.key} holds no private key in PEM form", "correct the path"
        raise FileError("key", problem, remedy) from error
    return made


def _explained(error: Exception, name: str) -> str:
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message or error} (checked for the name {name})"
    reason = str(getattr(error, "reason", "") or "")
    if reason in _NO_TLS:
        return "it does not speak TLS"
    if "ALERT" in reason:
        return f"it refuses our certificate or our TLS ({reason.lower().replace('_', ' ')})"
    if isinstance(error, TimeoutError):
        return "it does not answer in TLS; perhaps it does not speak it"
    if isinstance(error, ssl.SSLEOFError | ConnectionError):
        return "it ends the connection in the TLS handshake; perhaps it speaks no TLS, or refuses our certificate"
    return f"the TLS handshake fails ({error})"
