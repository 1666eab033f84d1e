# SPDX-License-Identifier: Apache-2.0
"""The limits of a box: what variables may say, what is said of one that was met, and the report of what holds."""

import os
import signal
from typing import Any

import pytest
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_sandbox.limits import BoxLimits, Exceeded, limit_in_output, limit_of_signal

from tests.kit import boxes, load_module

ALL = BoxLimits(memory=1, processes=1, open_files=1, cpu_seconds=1, disk=1, file_size=1, tmp=1)


def test_sizes_are_numbers_or_words() -> None:
    limits = boxes.settings(memory="1.5G", disk=4096, file_size="512M", processes="12", tmp="0").limits
    assert (limits.memory, limits.disk, limits.file_size) == (3 << 29, 4096, 512 << 20)
    assert (limits.processes, limits.tmp) == (12, 0)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("memory", "lots", "sandbox_memory: 'lots' is not a size, such as 4G."),
        ("disk", "-1", "sandbox_disk: '-1' is not a size, such as 4G."),
        ("processes", "4G", "sandbox_processes: '4G' is not a whole number."),
        ("open_files", -1, "sandbox_open_files: -1 is less than 0, which is no limit."),
        ("cpu_seconds", 1.5, "sandbox_cpu_seconds: 1.5 is not a whole number."),
    ],
)
def test_a_variable_that_is_wrong(variable: str, value: Any, words: str) -> None:
    with pytest.raises(StepError) as caught:
        boxes.settings(**{variable: value})
    assert (caught.value.code, caught.value.detail) == ("playbook_failed", words)


@pytest.mark.parametrize(
    ("exceeded", "words"),
    [
        (Exceeded("memory", 4 << 30), "memory, 4 GiB (sandbox_memory)"),
        (Exceeded("disk", 3 << 29), "disk, 1.5 GiB (sandbox_disk)"),
        (Exceeded("disk_quota", 60 << 20), "quota of the disk, 60 MiB (sandbox_disk_quota)"),
        (Exceeded("tmp", 1001), "tmp, 1001 bytes (sandbox_tmp)"),
        (Exceeded("cpu_seconds", 60), "processor time, 60 s (sandbox_cpu_seconds)"),
        (Exceeded("open_files", 64), "open files, 64 (sandbox_open_files)"),
    ],
)
def test_what_is_said_of_a_limit(exceeded: Exceeded, words: str) -> None:
    assert str(exceeded) == words


@pytest.mark.parametrize(
    ("line", "limit"),
    [
        ("MemoryError", "memory"),
        ("OSError: [Errno 12] Cannot allocate memory", "memory"),
        ("memory allocation of 1048576 bytes failed", "memory"),
        ("OSError: [Errno 24] Too many open files: 'x'", "open_files"),
        ("OSError: [Errno 27] File too large", "file_size"),
        ("File size limit exceeded (core dumped)", "file_size"),
        ("RuntimeError: can't start new thread", "processes"),
        ("sh: 1: Cannot fork", "processes"),
        ("bash: fork: retry: Resource temporarily unavailable", "processes"),
        ("BlockingIOError: [Errno 11] Resource temporarily unavailable", "processes"),
        ("signal: 24 (SIGXCPU)", "cpu_seconds"),
        ("OSError: [Errno 28] No space left on device", "tmp"),
        ("OSError: [Errno 122] Disk quota exceeded: 'x'", "tmp"),
        ("resource temporarily unavailable: BlockingIOError: [Errno 11]", None),
        ("(1030, 'Got error 28 from storage engine (errno: 28 \"No space left on device\")')", None),
        ("Can't open file: 't.ibd' (errno: 24 \"Too many open files\")", None),
        ("KeyError: 'memory'", None),
    ],
)
def test_last_words_that_speak_of_a_limit(line: str, limit: str | None) -> None:
    found = limit_in_output(ALL, ["Traceback (most recent call last):", *line.split("\n")])
    assert (found.limit if found else None) == limit
    assert limit_in_output(BoxLimits(tmp=0), line.split("\n")) is None, "there are no limits"


def test_signals_that_speak_of_a_limit() -> None:
    assert limit_of_signal(ALL, -signal.SIGXCPU) == Exceeded("cpu_seconds", 1)
    assert limit_of_signal(ALL, -signal.SIGXFSZ) == Exceeded("file_size", 1)
    assert limit_of_signal(ALL, -signal.SIGKILL) is limit_of_signal(ALL, None) is None
    assert limit_of_signal(BoxLimits(), -signal.SIGXCPU) is None


def test_the_report_says_what_the_kernel_says() -> None:
    report = load_module("project", "sandbox_report").report
    found = report(boxes.settings(memory="2G", open_files=77, cgroups=False))
    assert (found["kind"], found["no_new_privileges"], found["seccomp"]) == ("bubblewrap", True, True)
    assert int(found["capabilities"], 16) == 0 and found["network"] == ["lo"]
    assert found["namespaces"] == ["user", "pid", "mnt", "ipc", "uts", "cgroup", "net"]
    assert found["user"] == {"outside": os.geteuid(), "inside": 1000}
    assert set(found["held"].values()) == {"looking"} and found["cgroups"] == {"version": 0, "controllers": []}
    assert (found["rlimits"]["open_files"], found["rlimits"]["memory"]) == (77, 2 << 30)
    assert report(boxes.settings(disk_quota=True))["held"]["disk"] == "quota"


def test_the_report_of_no_box() -> None:
    found = load_module("project", "sandbox_report").report(boxes.settings(kind="none", seccomp=False))
    assert found["namespaces"] == [] and found["user"] == {"outside": os.geteuid(), "inside": os.geteuid()}


def test_a_box_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    report = load_module("project", "sandbox_report").report
    with pytest.raises(StepError) as caught:
        report(boxes.settings(open_files=4))
    assert caught.value.code == "sandbox_unavailable"
