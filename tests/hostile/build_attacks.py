# SPDX-License-Identifier: Apache-2.0
"""What changes try while they are installed, beside what they try in a walk. The bodies know ``W``, as those of
attacks.py do, and of it `uv` and `prefix`, the interpreter's folder."""

from __future__ import annotations

from .attacks import ATTACKS, MOUNTS, READ_ONLY, SECCOMP, Attack

PROXY = "the proxy that is the only way out"
MOUNTED = "being a mount of its namespace"


def _set_id(making: str) -> str:
    return f"""
        import ctypes, os, stat
        {making}
        if os.stat('runs-as-owner').st_mode & stat.S_ISUID:
            print('STOLEN')
        os.unlink('runs-as-owner')
    """


def _through(host: str, port: str, request: str = "CONNECT {} HTTP/1.1") -> str:
    """Connect by the proxy, where there is one."""
    return f"""
        import os, socket
        place, way = {host!r} + ':%d' % W[{port!r}], os.environ.get('http_proxy')
        if way is None:
            other = socket.create_connection(({host!r}.strip('[]'), W[{port!r}]), 3)
        else:
            other = socket.create_connection(('127.0.0.1', int(way.split(':')[2])), 3)
            other.sendall({request!r}.format(place).encode() + b'\\r\\n\\r\\n')
            answer = b''
            while not answer.endswith(b'\\r\\n\\r\\n'):
                byte = other.recv(1)
                if not byte:
                    raise OSError(answer)
                answer += byte
            if b' 200 ' not in answer:
                raise PermissionError(answer)
        other.sendall(b'status\\n')
        print('STOLEN', other.recv(100))
    """


BUILDING = (
    Attack("to make a program that runs as the worker by opening it", SECCOMP,
           _set_id("os.umask(0); os.close(os.open('runs-as-owner', os.O_CREAT | os.O_WRONLY, 0o4755))")),
    Attack("to make a program that runs as the worker by mknod", SECCOMP,
           _set_id("os.umask(0); os.mknod('runs-as-owner', stat.S_IFREG | 0o4755)")),
    Attack("to make a program that runs as the worker by openat2", SECCOMP, _set_id("""
        os.umask(0)
        how = (ctypes.c_uint64 * 3)(os.O_CREAT | os.O_WRONLY, 0o4755, 0)
        ctypes.CDLL(None).syscall(437, -100, b'runs-as-owner', how, 24)
    """.strip().replace("\n        ", "\n        "))),
    Attack("to read its own job's arguments", MOUNTS, "print('STOLEN', open(W['folder'] + '/job.yaml').read())"),
    Attack("to forge which environments were built", MOUNTS,
           "open(W['folder'] + '/artifacts/environment.json', 'r+').write('{}'); print('STOLEN')"),
    Attack("to put a link in its environment's place", MOUNTED,
           "import os; os.rename(W['venv'], W['venv'] + '.old'); os.symlink('/etc', W['venv']); print('STOLEN')"),
    Attack("to put a link in its checkout's place", MOUNTED, """
        import os
        os.rename(W['src'], W['src'] + '.old')
        print('STOLEN')
        os.rename(W['src'] + '.old', W['src'])
    """),
    Attack("to alter the interpreter", READ_ONLY,
           "import os; p = W['prefix'] + '/th_attack'; open(p, 'w').close(); os.unlink(p); print('STOLEN')", root=True),
    # not shown: nobody can write to a program that another test runs
    Attack("to alter uv", READ_ONLY, "open(W['uv'], 'r+b').close(); print('STOLEN')", shown=False),
    Attack("to give orders to the Gearman server through the proxy", PROXY, _through("localhost", "gearman")),
    Attack("to connect to loopback through the proxy by another spelling", PROXY, _through("127.1", "tcp")),
    Attack("to connect to loopback through the proxy over IPv6", PROXY, _through("[::1]", "tcp6")),
    Attack("to get a page of loopback through the proxy", PROXY,
           _through("127.0.0.1", "tcp", "GET http://{}/latest/meta-data/ HTTP/1.1")),
)  # fmt: skip

NOT_OF_BUILDS = ("to kill everything that it can", "to alter its environment in the walk")
"""Of those of a walk: the first ends the build as well, and has a test of its own; the second is a build's business."""

ALL = tuple(attack for attack in ATTACKS if attack.tries not in NOT_OF_BUILDS) + BUILDING

RUNNER = """
import os, signal, sys, traceback

def run(said, bodies, W):
    if os.path.isdir(said):
        return
    os.mkdir(said)
    for number, body in enumerate(bodies):
        if os.fork() == 0:
            signal.alarm(10)
            out = os.open('%s/%d' % (said, number), os.O_CREAT | os.O_WRONLY, 0o600)
            os.dup2(out, 1)
            os.dup2(out, 2)
            status = 0
            try:
                exec(body, {'W': W})
            except BaseException:
                traceback.print_exc()
                status = 1
            sys.stdout.flush()
            os._exit(status)
        os.wait()
"""
"""What runs attacks, each in a process of its own; what they say is in the files 0, 1, ... of a folder."""
