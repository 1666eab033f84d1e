# SPDX-License-Identifier: Apache-2.0
"""Encrypting a connection of the project's code to an external server, on its way out of the box.

Drivers connect to a socket of the worker, where they do not encrypt, and where some send a password that they would
encrypt elsewhere. So the worker makes the encrypted connection to the server in their place, before their login passes.
Once the account is logged in, the traffic is neither read nor changed.

A packet of MySQL's protocol has three bytes for its length, one for its number during the login, and the payload. TLS
takes one packet more, which the driver does not know of, so the numbers are changed on the way.
"""

from __future__ import annotations

import socket
import ssl
import threading
from typing import Protocol

CHUNK = 256 << 10
_MOST = 1 << 20
"""Maximum bytes of a packet during the login."""
_PROTOCOL = 10
_TLS, _SINCE_4_1 = 0x800, 0x200
"""Capabilities: encryption, and the protocol of MySQL 4.1 and later."""
_SHORT = 32
"""Bytes of a login that precede the user's name: what a client sends to ask for TLS."""
_OK, _ERROR, _OK_FOLLOWS = b"\x00", b"\xff", b"\x01\x03"
_TLS_ERROR = 2026


class Channel(Protocol):
    """One end of a forwarded connection, as sockets have it."""

    def recv_into(self, buffer: memoryview, /) -> int:
        """Read some bytes; 0 at the end."""

    def sendall(self, data: memoryview | bytes, /) -> None:
        """Write all of the data."""

    def shutdown(self, how: int, /) -> None:
        """End the connection in one or both directions."""


class EncryptedChannel:
    """TLS on a connected socket; one thread may read while another one writes, which ssl.SSLSocket does not allow."""

    def __init__(self, raw: socket.socket, context: ssl.SSLContext, host: str) -> None:
        """Establish TLS. Raises OSError, of which ssl.SSLError is one."""
        self._raw, self._lock = raw, threading.Lock()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                raw.sendall(self._outgoing.read())
                if not (data := raw.recv(CHUNK)):
                    raise ConnectionError("the server has ended the connection") from None
                self._incoming.write(data)
            else:
                raw.sendall(self._outgoing.read())
                return

    def recv_into(self, buffer: memoryview, /) -> int:
        """Read some bytes; 0 at the end."""
        while True:
            with self._lock:
                try:
                    return self._tls.read(len(buffer), buffer)  # type: ignore[return-value]  # with a buffer
                except ssl.SSLZeroReturnError:
                    return 0
                except ssl.SSLWantReadError:
                    pass
            if not (data := self._raw.recv(CHUNK)):
                return 0
            with self._lock:
                self._incoming.write(data)

    def sendall(self, data: memoryview | bytes, /) -> None:
        """Write all of the data."""
        with self._lock:
            self._tls.write(data)
            encrypted = self._outgoing.read()
        self._raw.sendall(encrypted)

    def shutdown(self, how: int, /) -> None:
        """End the connection in one or both directions."""
        self._raw.shutdown(how)


def logged_in(inside: Channel, outside: socket.socket, context: ssl.SSLContext, host: str, seconds: float) -> Channel:
    """Let the client `inside` log in at the server, with TLS if the server offers it; returns the way to the server.

    With a context that verifies certificates the server must offer TLS. `seconds` is the timeout of each step before
    the login. Raises OSError, after telling the client why if TLS is the reason.
    """
    outside.settimeout(seconds)
    number, greeting = _read(outside)
    place = greeting.find(0, 1) + 1 + 4 + 8 + 1  # after the version: thread, first part of the salt, filler
    offered = greeting[:1] == bytes([_PROTOCOL]) and len(greeting) >= place + 2
    capabilities = int.from_bytes(greeting[place : place + 2], "little") if offered else 0
    if not capabilities & _TLS:
        if greeting[:1] != _ERROR and context.verify_mode is not ssl.CERT_NONE:
            inside.sendall(_refusal(number, "the server offers no TLS, which ssl_ca of the dataset demands"))
            raise ConnectionError("the server offers no TLS")
        inside.sendall(packet(number, greeting))
        outside.settimeout(None)
        return outside
    plain = (capabilities & ~_TLS).to_bytes(2, "little")
    inside.sendall(packet(number, greeting[:place] + plain + greeting[place + 2 :]))
    number, login = _read(inside)
    wanted = int.from_bytes(login[:4], "little")
    if len(login) <= _SHORT or not wanted & _SINCE_4_1 or wanted & _TLS:
        raise ConnectionError("the client does not log in as MySQL's clients do")
    login = (wanted | _TLS).to_bytes(4, "little") + login[4:]
    outside.sendall(packet(number, login[:_SHORT]))
    try:
        far = EncryptedChannel(outside, context, host)
    except ssl.SSLError as error:
        inside.sendall(_refusal(number + 1, f"TLS with the server fails: {error}"))
        raise
    outside.settimeout(None)
    far.sendall(packet(number + 1, login))
    while True:
        number, said = _read(far)
        inside.sendall(packet(number - 1, said))
        if said[:1] in (_OK, _ERROR):
            return far
        if said != _OK_FOLLOWS:
            number, answer = _read(inside)
            far.sendall(packet(number + 1, answer))


def packet(number: int, payload: bytes) -> bytes:
    """A packet of MySQL's protocol."""
    return len(payload).to_bytes(3, "little") + bytes([number & 0xFF]) + payload


def _refusal(number: int, text: str) -> bytes:
    """The packet by which a server refuses a client."""
    return packet(number, _ERROR + _TLS_ERROR.to_bytes(2, "little") + b"#HY000" + text.encode())


def _read(channel: Channel) -> tuple[int, bytes]:
    """The next packet: its number and its payload. Raises ConnectionError."""
    header = _exactly(channel, 4)
    size = int.from_bytes(header[:3], "little")
    if size > _MOST:
        raise ConnectionError(f"a packet of {size} bytes during the login")
    return header[3], _exactly(channel, size)


def _exactly(channel: Channel, size: int) -> bytes:
    data = memoryview(bytearray(size))
    done = 0
    while done < size:
        if not (got := channel.recv_into(data[done:])):
            raise ConnectionError("the connection has ended during the login")
        done += got
    return bytes(data)
