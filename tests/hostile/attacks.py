# SPDX-License-Identifier: Apache-2.0
"""What changes try while they are walked. Each prints `STOLEN` with the token where it has got somewhere.

A body knows ``W``: `root` (of the world that is attacked), `pid` and `file` (of a process of the worker's), the ports
`tcp`, `udp`, `tcp6` and `gearman`, `abstract` (a socket), `mark` (a word for what outlives the job), `src`, `venv`,
`folder` of its own job.
"""

from __future__ import annotations

from dataclasses import dataclass

from .changes import ENV_PY, MIGRATION, PACKAGE

MOUNTS = "its mount namespace"
PROCESSES = "its process namespace"
NETWORK = "its network namespace"
READ_ONLY = "a read-only mount"
SECCOMP = "the filter of system calls"
CAPABILITIES = "having no capability"
END = "the end of its process namespace"


@dataclass(frozen=True)
class Attack:
    """One thing that a change tries, and what stops it.

    `by` says where its code is. `root`: it needs root to work without the box. `shown` is False where that would not
    be safe, or would need a machine of another kind.
    """

    tries: str
    stopped: str
    body: str
    by: str = MIGRATION
    root: bool = False
    shown: bool = True


def _read(path: str) -> str:
    return f"print('STOLEN', open({path}).read())"


def _connect(family: str, address: str) -> str:
    return f"""
        import socket
        with socket.socket(socket.{family}) as other:
            other.settimeout(60)
            other.connect({address})
            print('STOLEN', other.recv(100))
    """


def _write(path: str) -> str:
    return f"""
        with open({path}, 'a') as stream:
            stream.write('poison')
        print('STOLEN')
    """


def _call(number: str, *arguments: str) -> str:
    """A system call that must not be made; the numbers are those of most architectures, where there is one."""
    return f"""
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        buffer = ctypes.create_string_buffer(4096)
        if libc.syscall({number}, {", ".join(arguments)}) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        print('STOLEN')
    """


_DATAGRAM = """
    import socket
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.settimeout(60)
        other.connect(('127.0.0.1', W['udp']))  # where nobody listens, it is told so at once
        other.send({payload})
        print('STOLEN', other.recv(100))
"""
_QUESTION = "123401000001000000000000046c65616b076578616d706c650000010001"
"""A question for the address of ``leak.example`` (RFC 1035)."""
_OUTLIVE = """
    import os, sys
    there, here = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(3, 64):
                try: number == here or os.close(number)
                except OSError: pass
            nothing = os.open('/dev/null', os.O_RDWR)
            for number in range(3): os.dup2(nothing, number)
            os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(3600)', W['mark']])
        os._exit(0)
    os.close(here)
    os.read(there, 1)  # until it runs: then its end is closed
"""

READING = (
    Attack("to read the worker's configuration", MOUNTS, _read("W['root'] + '/etc/config.yaml'")),
    Attack("to read the worker's ssh key", MOUNTS, _read("W['root'] + '/home/.ssh/id_ed25519'"), ENV_PY),
    Attack("to read another job's arguments", MOUNTS, _read("W['root'] + '/jobs/other/job.yaml'"), PACKAGE),
    Attack("to read another job's password", MOUNTS, _read("W['root'] + '/jobs/other/db/first/admin.cnf'")),
    Attack("to read its own job's administrator's password", MOUNTS, _read("W['folder'] + '/db/toy/admin.cnf'")),
    Attack("to read a dataset's dump", MOUNTS, _read("W['root'] + '/datasets/first/seed.sql'")),
    Attack("to read a snapshot", MOUNTS, _read("W['root'] + '/cache/snapshots/first-1/data/toy/t.ibd'")),
    Attack("to list other jobs", MOUNTS,
           "import os; assert 'other' in os.listdir(W['root'] + '/jobs'); print('STOLEN')", ENV_PY),
    Attack("to read /etc/shadow", MOUNTS, _read("'/etc/shadow'"), root=True),
    Attack("to read the kernel's log", MOUNTS,
           "import os; print('STOLEN', os.read(os.open('/dev/kmsg', os.O_NONBLOCK), 8192))", root=True),
    Attack("to make a device node of a disk", CAPABILITIES,
           "import os, stat; os.mknod('disk', stat.S_IFBLK | 0o600, os.makedev(254, 0)); print('STOLEN')", root=True),
    Attack("to follow a link to another job", MOUNTS,
           "import os; os.symlink(W['root'] + '/jobs/other/job.yaml', 'link'); print('STOLEN', open('link').read())"),
    Attack("to make a hard link to another job's file", MOUNTS,
           "import os; os.link(W['root'] + '/jobs/other/job.yaml', 'x'); print('STOLEN', open('x').read())"),
)  # fmt: skip

PROCESS = (
    Attack("to read the worker's environment", PROCESSES, _read("f\"/proc/{W['pid']}/environ\"")),
    Attack("to read the worker's command", PROCESSES, _read("f\"/proc/{W['pid']}/cmdline\""), PACKAGE),
    Attack("to read a file that the worker has open", PROCESSES, _read("f\"/proc/{W['pid']}/fd/{W['file']}\"")),
    Attack("to go through the worker's root folder", PROCESSES,
           _read("f\"/proc/{W['pid']}/root{W['root']}/etc/config.yaml\"")),
    Attack("to stop a process of the worker's", PROCESSES,
           "import os, signal; os.kill(W['pid'], signal.SIGSTOP); print('STOLEN')"),
    Attack("to kill a process of the worker's", PROCESSES,
           "import os, signal; os.kill(W['pid'], signal.SIGKILL); print('STOLEN')", ENV_PY),
    Attack("to kill everything that it can", PROCESSES,
           "import os, signal\ntry: os.kill(-1, signal.SIGTERM)\nfinally: os.kill(W['pid'], 0); print('STOLEN')",
           shown=False),
    Attack("to trace a process of the worker's", SECCOMP, """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        libc.ptrace.argtypes = [ctypes.c_long] * 4
        if libc.ptrace(0x4206, W['pid'], 0, 0) != 0:
            raise OSError(ctypes.get_errno(), 'ptrace')
        print('STOLEN')
        libc.ptrace(17, W['pid'], 0, 0)
    """),
    Attack("to trace itself, on the way to a hole in ptrace", SECCOMP,
           "import ctypes\nassert ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0\nprint('STOLEN')"),
    Attack("to outlive the job by forking twice and setsid", END, _OUTLIVE),
    Attack("to outlive the job from env.py", END, _OUTLIVE, ENV_PY),
)  # fmt: skip

NET = (
    Attack("to connect out by TCP", NETWORK, _connect("AF_INET", "('127.0.0.1', W['tcp'])")),
    Attack("to connect out by TCP over IPv6", NETWORK, _connect("AF_INET6", "('::1', W['tcp6'])"), PACKAGE),
    Attack("to send by UDP", NETWORK, _DATAGRAM.format(payload="b'x'")),
    Attack("to ask a name server", NETWORK, _DATAGRAM.format(payload="bytes.fromhex('" + _QUESTION + "')"), ENV_PY),
    Attack("to connect to an abstract unix socket", NETWORK, _connect("AF_UNIX", "W['abstract']")),
    Attack("to connect to another job's unix socket", MOUNTS, _connect("AF_UNIX", "W['root'] + '/jobs/s'")),
    Attack("to give orders to the Gearman server", NETWORK, """
        import socket
        with socket.create_connection(('127.0.0.1', W['gearman']), 60) as server:
            server.sendall(b'status\\n')
            server.settimeout(60)
            print('STOLEN', server.recv(100))
    """),
    Attack("to open a socket to the machine below this one", SECCOMP,
           "import socket; socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM); print('STOLEN')", shown=False),
    Attack("to open a pair of sockets to the machine below this one", SECCOMP,
           "import socket; socket.socketpair(socket.AF_VSOCK, socket.SOCK_STREAM); print('STOLEN')", shown=False),
    Attack("to open a pair of sockets of any kind but one", SECCOMP, """
        import errno, socket
        for family in set(range(1, 50)) - {socket.AF_UNIX}:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
                try: socket.socketpair(family, kind); print('STOLEN')
                except OSError as error:
                    if error.errno not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.ESOCKTNOSUPPORT,
                                           errno.EPROTONOSUPPORT): print('STOLEN', family)
                except ValueError: pass
    """, shown=False),
    Attack("to open a socket to the kernel's cryptography", SECCOMP,
           "import socket; socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET); print('STOLEN')", shown=False),
    Attack("to listen to all packets", SECCOMP,
           "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 768); print('STOLEN')", root=True),
)  # fmt: skip

WRITING = (
    Attack("to write into the cache of packages", MOUNTS,
           _write("W['root'] + '/cache/packages/wheels/index/thing.whl'")),
    Attack("to write into a release's kept environment", MOUNTS,
           _write("W['root'] + '/cache/environments/abc/venv/lib/thing.py'"), PACKAGE),
    Attack("to write into the git mirror", MOUNTS, _write("W['root'] + '/cache/git/org/toy.git/config'")),
    Attack("to write into the snapshot", MOUNTS,
           _write("W['root'] + '/cache/snapshots/first-1/data/toy/t.ibd'"), ENV_PY),
    Attack("to forge another job's events", MOUNTS, _write("W['root'] + '/jobs/other/artifacts/walk-first.jsonl'")),
    Attack("to forge its own events", MOUNTS, _write("W['folder'] + '/artifacts/walk-toy.jsonl'")),
    Attack("to forge its own result", MOUNTS, _write("W['folder'] + '/results/result.json'"), ENV_PY),
    Attack("to alter the programs that start it", READ_ONLY,
           "import glob; open(glob.glob(W['programs'] + '/*.py')[0], 'r+').close(); print('STOLEN')"),
    Attack("to alter its environment in the walk", READ_ONLY, _write("W['venv'] + '/lib/th_attack.pth'")),
    Attack("to put bytecode where other changes take theirs from", READ_ONLY,
           _write("W['bytecode'] + '/th_attack.pyc'")),
    Attack("to leave something in /tmp", MOUNTS, "open('/tmp/' + W['mark'], 'w').close()"),
    Attack("to leave something in /dev/shm", MOUNTS, "open('/dev/shm/' + W['mark'], 'w').close()", ENV_PY),
    Attack("to leave a segment of shared memory", SECCOMP, """
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        number = libc.shmget(W['key'], 4096, 0o1600)
        print('made' if number >= 0 else ctypes.get_errno())
    """),
    Attack("to keep memory where nobody outside can count it", SECCOMP, """
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        got = {'a queue': libc.msgget(0, 0o1600), 'semaphores': libc.semget(0, 32000, 0o1600),
               'a segment': libc.shmget(0, 4096, 0o1600), 'secret memory': libc.syscall(447, 0)}
        if any(number >= 0 for number in got.values()): print('STOLEN', got)
    """, shown=False),
    Attack("to have a socket hold more than it counts for", SECCOMP, """
        import ctypes, socket
        libc = ctypes.CDLL(None, use_errno=True)
        high, wanted = 1 << 32, ctypes.c_int(4 << 20)  # the kernel looks at the lower half of a number alone
        for level, option in ((0, 0), (high, 0), (0, high), (high, high)):
            one = socket.socketpair()[0]
            before = one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            arguments = (one.fileno(), level | socket.SOL_SOCKET, option | socket.SO_SNDBUF)
            libc.syscall(W['setsockopt'], *map(ctypes.c_long, arguments), ctypes.byref(wanted), 4)
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) > before: print('STOLEN')
    """),
    Attack("to make a program that runs as the worker", SECCOMP, """
        import os
        open('sh', 'w').close()
        os.chmod('sh', 0o4755)
        print('STOLEN')
    """),
    Attack("to set a kernel parameter", READ_ONLY,
           "import os; os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY); print('STOLEN')", root=True),
    Attack("to be ended later than others when memory is short", READ_ONLY, """
        for value in ('1000', '0'):
            with open('/proc/self/oom_score_adj', 'w') as file: file.write(value)
        print('STOLEN' if open('/proc/self/oom_score_adj').read() == '0\\n' else '')
    """),
    Attack("to write to any file of the kernel's", READ_ONLY, """
        import glob, os
        for place in ('/proc/*', '/proc/self/*', '/proc/1/*', '/proc/pressure/*', '/proc/sys/*/*', '/proc/irq/*/*'):
            for path in filter(os.path.isfile, glob.glob(place)):
                try: os.close(os.open(path, os.O_WRONLY)); print('STOLEN', path)
                except OSError: pass
    """, shown=False),
    Attack("to find out that it is only tried out", "names that say nothing", """
        import os, pwd, socket
        said = [socket.gethostname(), *pwd.getpwuid(os.getuid())[:6], *os.environ, open('/etc/hosts').read()]
        said += [open(f'/proc/{name}/comm').read() for name in os.listdir('/proc') if name.isdecimal()]
        if any(word in text.lower() for text in said for word in ('sandbox', 'hipster', 'zuul')): print('STOLEN', said)
    """, shown=False),
    Attack("to open the magic system request", READ_ONLY,
           "import os; os.open('/proc/sysrq-trigger', os.O_WRONLY); print('STOLEN')", shown=False),
)  # fmt: skip

KERNEL = (
    Attack("to become root in a namespace of its own", SECCOMP, """
        import ctypes, os
        if os.fork() == 0:
            os._exit(ctypes.CDLL(None).unshare(0x10000000) & 1)
        assert os.wait()[1] == 0
        print('STOLEN')
    """),
    Attack("to mount a file system", SECCOMP, """
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.mount(b'none', W['src'].encode(), b'tmpfs', 0, None) == 0, ctypes.get_errno()
        print('STOLEN')
        libc.umount2(W['src'].encode(), 2)
    """, root=True),
    Attack("to change its root folder", SECCOMP, "import os\nif os.fork() == 0:\n    os.chroot(W['src']); os._exit(0)\n"
           "assert os.wait()[1] == 0\nprint('STOLEN')", root=True),
    Attack("to keep a secret for the next job in the kernel's keys", SECCOMP, """
        import ctypes
        libkey = ctypes.CDLL(None, use_errno=True)
        assert libkey.syscall(W['add_key'], b'user', W['mark'].encode(), b'x', 1, -3) >= 0
        print('STOLEN')
    """),
    Attack("to use what no filter of system calls sees", SECCOMP, _call("425", "4", "buffer")),
    Attack("to watch the kernel's performance counters", SECCOMP,
           _call("W['perf']", "buffer", "0", "-1", "-1", "0"), shown=False),
    Attack("to load a program into the kernel", SECCOMP, _call("W['bpf']", "0", "buffer", "128"), shown=False),
)  # fmt: skip

ATTACKS = READING + PROCESS + NET + WRITING + KERNEL
