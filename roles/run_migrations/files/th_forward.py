# SPDX-License-Identifier: Apache-2.0
"""Run a command next to a port that leads to the database's socket: ``th_forward.py SOCKET PORT COMMAND...``

For drivers that do not support sockets: a walk's box has a network of its own, with nothing in it but this port. It
must run with any Python (3.6 or later) that the project may use.
"""

import os
import selectors
import socket
import sys

CHUNK = 65536


class Side:
    """One end of a forwarded connection: `left` has yet to be sent to it, `ended` is whether it sends no more."""

    def __init__(self, one):
        self.socket, self.left, self.ended, self.other = one, b"", False, None


def main(path, port, command):
    """Listen, serve the port in a separate process, and exec the command."""
    listener = socket.socket(socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    if os.fork() == 0:
        try:
            detach(listener.fileno())
            serve(listener, path)
        finally:
            os._exit(1)
    listener.close()
    try:
        os.execvp(command[0], command)  # noqa: S606 - there is no shell
    except OSError as error:
        sys.exit(f"{command[0]} cannot be run: {error.strerror}")


def detach(kept):
    """Detach from the command's process group, its output and its files, except for the descriptor `kept`."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.closerange(3, kept)
    os.closerange(kept + 1, max(os.sysconf("SC_OPEN_MAX"), 4096) if hasattr(os, "sysconf") else 4096)


def serve(listener, path):
    """Forward each connection to the socket until this process is killed."""
    selector = selectors.DefaultSelector()
    listener.setblocking(False)
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, events in selector.select():
            if key.fileobj is listener:
                accept(selector, listener, path)
            elif key.data.socket.fileno() >= 0:  # not closed since with its other side
                forward(selector, key.data, events)


def accept(selector, listener, path):
    """Accept a connection; it is closed if the server does not accept one."""
    try:
        inside, _ = listener.accept()
    except OSError:
        return
    outside = socket.socket(socket.AF_UNIX)
    try:
        outside.connect(path)
        inside.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        inside.close()
        outside.close()
        return
    sides = Side(inside), Side(outside)
    for side, other in (sides, sides[::-1]):
        side.other = other
        side.socket.setblocking(False)
        selector.register(side.socket, selectors.EVENT_READ, side)


def forward(selector, side, events):
    """Forward data from one side as fast as the other takes it."""
    try:
        if events & selectors.EVENT_WRITE:
            side.left = side.left[side.socket.send(side.left) :]
        if events & selectors.EVENT_READ and not side.other.left:
            data = side.socket.recv(CHUNK)
            side.ended = not data
            side.other.left = data
    except (BlockingIOError, InterruptedError):
        pass
    except OSError:
        side.ended = side.other.ended = True
        side.left = side.other.left = b""
    if (side.ended or side.other.ended) and not side.left and not side.other.left:
        for one in (side, side.other):
            watch(selector, one, 0)
            one.socket.close()
        return
    for one in (side, side.other):
        reading = selectors.EVENT_READ if not one.other.left and not one.ended else 0
        watch(selector, one, reading | (selectors.EVENT_WRITE if one.left else 0))


def watch(selector, side, events):
    """Wait for exactly these events on a side."""
    known = side.socket in selector.get_map()
    if known and events:
        selector.modify(side.socket, events, side)
    elif known:
        selector.unregister(side.socket)
    elif events:
        selector.register(side.socket, events, side)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
