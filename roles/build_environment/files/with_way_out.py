# SPDX-License-Identifier: Apache-2.0
"""Start a command of a box with a way out: ``with_way_out.py FD COMMAND...``

FD is one end of a pair of unix sockets, the other end of which the building side has. It gets the socket that listens
on the box's own loopback, and takes the connections of it as an HTTP proxy (th_proxy.py): so there is one way out of
the box, and no process in it that could be spoken to instead. Runs before any code of the project, on any Python 3.6 or
later; the command takes the place of this process.
"""

import array
import os
import socket
import sys


def main():
    """Hand out the socket, and become the command."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    handle = array.array("i", [listener.fileno()])
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=int(sys.argv[1])) as channel:
        channel.sendmsg([b"\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handle)])
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ[name] = os.environ[name.upper()] = "http://127.0.0.1:%d" % listener.getsockname()[1]  # noqa: UP031
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ""
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - the command is ours


main()
