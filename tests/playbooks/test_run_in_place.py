# SPDX-License-Identifier: Apache-2.0
"""How a module of a role is run: from where it lies on this machine, as Ansible does elsewhere."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from tests.kit import ROOT

TOY = """
import atexit
import os
import signal
import subprocess
import sys
import time
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_toy import SHARED

module = AnsibleModule({"way": {"type": "str"}, "secret": {"type": "str", "no_log": True}}, supports_check_mode=True)
way = module.params["way"]
if way == "raise":
    raise KeyError("a defect")
if way == "end":
    print("not JSON")
    raise SystemExit("what it says last")
if way == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if way == "wait":
    with open(os.environ["TOY"], "w") as file:
        file.write(str(os.getpid()))
    os.kill(os.getppid(), signal.SIGALRM)  # as at the end of the task's time
    time.sleep(3600)
if way == "daemon":
    subprocess.Popen(["sh", "-c", "echo $$ > $TOY; exec sleep 3600"], start_new_session=True)
    while not os.path.exists(os.environ["TOY"]) or not os.path.getsize(os.environ["TOY"]):
        time.sleep(0.01)
if way == "late":
    atexit.register(lambda: open(os.environ["TOY"], "w").close())
if way == "warn":
    module.warn("mind the gap")
if way == "refuse":
    module.fail_json(msg="refused")
module.exit_json(
    changed=True,
    file=__file__,
    shared=SHARED,
    check=module.check_mode,
    length=len(module.params["secret"] or ""),
    told=os.environ.get("TOY"),
    text="{{ lookup('env', 'HOME') }}",
    files=sorted(map(int, os.listdir("/proc/self/fd"))),
    stdin=sys.stdin.read(),
    handlers=[int(signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGALRM)],
)
"""
PASSWORD = "abc"


@pytest.fixture
def roles(tmp_path: Path) -> Path:
    """The roles `project`, as far as it runs modules, and `toy`."""
    for part in ("action_plugins", "files"):
        shutil.copytree(ROOT / "roles/project" / part, tmp_path / "roles/project" / part)
    for path, text in (("toy/library/toy.py", TOY), ("project/module_utils/th_toy.py", "SHARED = 'of project'\n")):
        (tmp_path / "roles" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "roles" / path).write_text(text)
    return tmp_path / "roles"


def play(roles: Path, *tasks: dict[str, Any], words: tuple[str, ...] = (), **variables: Any) -> list[dict[str, Any]]:
    """What each task comes to, in a play on this machine."""
    folder = roles.parent
    for number, task in enumerate(tasks):
        task |= {"register": f"answer_{number}", "ignore_errors": True}
    told = "[" + ", ".join(f"answer_{number}" for number in range(len(tasks))) + "]"
    write = {"copy": {"content": "{{ " + told + " | to_json }}", "dest": str(folder / "told")}, "check_mode": False}
    last = {**write, "vars": {"ansible_python_interpreter": sys.executable}}
    play = {"hosts": "localhost", "gather_facts": False, "roles": ["project", "toy"], "tasks": [*tasks, last]}
    here = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    (folder / "play.yaml").write_text(yaml.safe_dump([{**play, "vars": here | variables}]))
    program = Path(sys.executable).parent / "ansible-playbook"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    environment |= {"ANSIBLE_ROLES_PATH": str(roles), "ANSIBLE_ASYNC_DIR": str(folder / "async")}
    done = subprocess.run(
        [str(program), "-i", "localhost,", *words, str(folder / "play.yaml")],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout
    answers: list[dict[str, Any]] = json.loads((folder / "told").read_text())
    return answers


def in_place(roles: Path, answer: dict[str, Any]) -> bool:
    return bool(answer["file"] == str(roles / "toy/library/toy.py"))


def test_a_module_of_ours_runs_from_where_it_lies(roles: Path, tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("word\n")
    sealed = VaultLib([("default", VaultSecret(b"word"))]).encrypt(PASSWORD).decode()
    (tmp_path / "vars.yaml").write_text("secret: !vault |\n" + textwrap.indent(sealed, "  "))
    plain, told, checked, vaulted = answers = play(
        roles,
        {"toy": {}},
        {"toy": {}, "environment": {"TOY": "x y"}},
        {"toy": {}, "check_mode": True},
        {"toy": {"secret": "{{ secret }}"}},
        words=("--vault-id", str(tmp_path / "pass"), "-e", f"@{tmp_path}/vars.yaml"),
    )
    assert all(in_place(roles, answer) for answer in answers)
    assert (plain["shared"], plain["changed"], plain["failed"]) == ("of project", True, False)
    assert (plain["told"], told["told"]) == (None, "x y")
    assert (plain["check"], checked["check"]) == (False, True)
    assert (plain["length"], vaulted["length"]) == (0, len(PASSWORD))
    assert plain["text"] == "{{ lookup('env', 'HOME') }}"


def test_a_module_that_fails(roles: Path) -> None:
    ways = {
        "refuse": "refused",
        "raise": "KeyError: 'a defect'",
        "end": "toy ended with status 1 and without a result: what it says last",
        "kill": "toy ended with status 137 and without a result: it printed nothing",
    }
    answers = play(roles, *({"toy": {"way": way}} for way in ways))
    assert [(answer["failed"], answer["msg"]) for answer in answers] == [(True, text) for text in ways.values()]


def test_a_module_is_a_process_of_its_own(roles: Path, tmp_path: Path) -> None:
    """As one that was started for it: it has no file of Ansible's, takes its signals, and only itself with it."""
    daemon, waiting, late = (tmp_path / name for name in ("daemon", "waiting", "late"))
    plain, left, waited, ended, warned, again = play(
        roles,
        {"toy": {}},
        {"toy": {"way": "daemon"}, "environment": {"TOY": str(daemon)}},
        {"toy": {"way": "wait"}, "environment": {"TOY": str(waiting)}, "timeout": 600},
        {"toy": {"way": "late"}, "environment": {"TOY": str(late)}},
        {"toy": {"way": "warn"}},
        {"toy": {}},
    )
    assert [number for number in plain["files"] if number < 3] == [0, 1, 2] and len(plain["files"]) == 4
    assert plain["stdin"] == "" and plain["handlers"] == [signal.SIG_DFL] * 2
    assert not left["failed"], "a daemon keeps its output open"
    os.kill(int(daemon.read_text()), signal.SIGKILL)
    assert waited["failed"] and "after 600" in waited["msg"] and waited["timedout"]
    assert not Path(f"/proc/{waiting.read_text()}").exists(), "nothing goes on behind Ansible's back"
    assert not ended["failed"] and late.exists()
    assert warned["warnings"] == ["mind the gap"]
    assert again == plain, "one task's module changes nothing for the next"


def test_where_it_would_run_otherwise_it_is_packed(roles: Path, tmp_path: Path) -> None:
    """With another Python, after a change of the user, or for another machine."""
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    answers = play(
        roles,
        {"toy": {}, "vars": {"ansible_python_interpreter": str(other)}},
        {"toy": {}, "delegate_to": "127.0.0.1", "vars": {"ansible_python_interpreter": sys.executable}},
        {"toy": {}, "async": 60, "poll": 1},
        {"toy": {}},
    )
    assert [in_place(roles, answer) for answer in answers] == [False, False, False, True]
    assert {answer["shared"] for answer in answers} == {"of project"}
