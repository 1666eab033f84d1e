# SPDX-License-Identifier: Apache-2.0
"""What takes connections on loopback, and a proxy like a company's that remembers what it was asked for."""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Self


class Listener:
    """Listens at `port`, and gives each connection to `take`."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    @contextmanager
    def running(self) -> Iterator[Self]:
        """With it listening."""
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield self
        finally:
            self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.take(client)

    def take(self, client: socket.socket) -> None:
        """Serve one connection; the next one waits until this returns."""
        raise NotImplementedError


class CompanyProxy(Listener):
    """Connects wherever it is asked to; `heads` are the heads of the requests. `refuses` is a status for all; `leads`
    says which port of loopback a host is taken for."""

    def __init__(self, refuses: str = "", leads: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.refuses, self.leads = refuses, dict(leads or {})
        self.heads: list[str] = []

    def take(self, client: socket.socket) -> None:
        """Serve it beside the others."""
        threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            head = b""
            while not head.endswith(b"\r\n\r\n") and (byte := client.recv(1)):
                head += byte
            self.heads.append(head.decode())
            method, target, _ = self.heads[-1].split("\r\n")[0].split(" ")
            if self.refuses:
                client.sendall(f"HTTP/1.1 {self.refuses}\r\nContent-Length: 0\r\n\r\n".encode())
                return
            authority = target if method == "CONNECT" else target.split("/")[2]
            host, _, port = authority.partition(":")
            place = ("127.0.0.1", self.leads[host]) if host in self.leads else (host, int(port or 80))
            with socket.create_connection(place, 300) as server:
                if method == "CONNECT":
                    client.sendall(b"HTTP/1.1 200 Go ahead\r\n\r\n")
                else:
                    server.sendall(head.replace(f"http://{authority}".encode(), b"", 1))
                back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                back.start()
                _pump(client, server)
                back.join(300)


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
