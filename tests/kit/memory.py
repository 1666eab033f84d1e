# SPDX-License-Identifier: Apache-2.0
"""How much memory a piece of code takes, in a process of its own."""

import subprocess
import sys

from tests.kit import ROOT

PEAK = """
import ansible.module_utils, glob, sys
ansible.module_utils.__path__.extend(glob.glob({modules!r}))

def peak():
    with open("/proc/self/status") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("VmHWM:"))
"""


def run_program(program: str, *arguments: str, status: int = 0) -> str:
    """What a program prints that can import the roles' helpers and knows its own `peak` (KiB) until now."""
    start = PEAK.format(modules=str(ROOT / "roles" / "*" / "module_utils"))
    done = subprocess.run(
        [sys.executable, "-c", start + program, *arguments], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == status, done.stderr
    return done.stdout
