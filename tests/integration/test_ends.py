# SPDX-License-Identifier: Apache-2.0
"""How jobs are ended from outside: by Zuul, by time limits, by the worker's own end, by its death."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.git_server import daemon, silence
from tests.kit.installation import DUMP, JOB, PATIENCE, TIP, Worker, World, script, slowness, working
from tests.kit.waiting import free_port, wait_until

HANGS = """
- name: Publish the results on a server that hangs
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Hang
      ansible.builtin.command: sleep 900
      changed_when: false
"""
SLEEP = "op.execute('SELECT SLEEP(900)')"
PASSES = """
- name: Pass
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Pass
      ansible.builtin.command: "true"
      changed_when: false
"""


@pytest.fixture(autouse=True, scope="module")
def at_the_tip(world: World) -> Iterator[None]:
    """Most jobs have only the change to walk."""
    world.dataset("first", dump=TIP.encode())
    yield
    world.dataset("first")


def stop(worker: Worker, unique: str) -> None:
    first = worker.packets(unique)[0].data
    answer = worker.zuul.stop(first["manager"], {"name": JOB, "number": first["number"]}, f"stop-{unique}")
    assert [packet.kind for packet in answer] == ["complete"]


@pytest.fixture(scope="module")
def impatient(world: World) -> Iterator[Worker]:
    """A worker that asks a git server once."""
    limits = {"checkout_fetch_attempts": 1}
    with working(world, ansible_dir=world.ansible(**limits)) as running:
        yield running


def test_a_stop_in_the_middle_of_a_migration(world: World, impatient: Worker) -> None:
    world.dataset("first")
    unique = impatient.launch(world.migration(SLEEP))
    impatient.wait_for(unique, "c3 -> d4")
    slow, begun = slowness(), time.monotonic()
    stop(impatient, unique)
    wait_until(lambda: not [left for left in world.left_soon() if "publish" not in left and "mariadbd" in left])
    assert time.monotonic() - begun < 10 * slow
    answer = impatient.answer(unique)
    assert answer.finals == ["fail"] and answer.result == "CANCELED"
    world.dataset("first", dump=TIP.encode())
    steps = answer.document["datasets"][0]["migrations"]
    assert [step["to"] for step in steps][:2] == ["b2", "c3"], "what was measured so far is published"


def test_a_git_server_that_does_not_answer(world: World) -> None:
    limits = {"checkout_fetch_time_limit": 3, "checkout_fetch_attempts": 1}
    with silence() as url, working(world, ansible_dir=world.ansible(**limits)) as worker:
        answer = worker.run({**world.migration("pass"), "ZUUL_URL": url})
    assert answer.codes == ["git_unreachable"]
    assert answer.result is None, "this is not the change's fault: Zuul shall try again"
    assert answer.document["result"] == "INFRASTRUCTURE"
    assert answer.data[-1]["messages"][0].startswith("INFRASTRUCTURE (not the change's fault, but the machine's): ")
    assert [item["code"] for item in answer.document["first_try"]] == ["git_unreachable"]


def test_a_password_in_the_address_of_a_git_server_is_not_published(world: World, impatient: Worker) -> None:
    url = world.url.replace("git://", "git://someone:pass-word@")
    answer = impatient.run({**world.migration("pass"), "ZUUL_URL": url})
    # this protocol knows no users: it is a host that does not exist, or that no name server is there to ask for
    assert answer.codes in (["git_refused"], ["git_unreachable"])
    assert "someone" in answer.everything() and "pass-word" not in answer.everything()


def test_a_stop_while_git_waits_for_its_server(world: World, impatient: Worker) -> None:
    with silence() as url:
        unique = impatient.launch({**world.migration("pass"), "ZUUL_URL": url})
        impatient.wait_for(unique, "Update the project's mirror")
        slow, begun = slowness(), time.monotonic()
        stop(impatient, unique)
        answer = impatient.answer(unique)
    assert time.monotonic() - begun < 15 * slow
    assert answer.result == "CANCELED"


def stopped(worker: Worker, unique: str, published: bool = True) -> None:
    """Stop a build: it is answered within ten seconds, then published, and leaves no process behind."""
    slow, begun = slowness(), time.monotonic()
    stop(worker, unique)
    answer = worker.answer(unique, published=published)
    assert answer.finals == ["fail"] and answer.result == "CANCELED"
    assert answer.packets[-1].at - begun < 10 * slow
    if published:
        assert answer.document["result"] == "CANCELED"


SLOW = {
    "requirements.txt": "./slow\n",
    "slow/pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "slow"\nbackend-path = ["."]\n',
    "slow/slow.py": "import time\ntime.sleep(900)\n",
}


def test_a_stop_while_a_package_is_built(world: World, impatient: Worker) -> None:
    unique = impatient.launch(world.change({**script("d4", "c3"), **SLOW}))
    impatient.wait_for(unique, "Install the project, and what has to be built")
    stopped(impatient, unique)


def test_a_stop_while_a_dump_is_imported(world: World, impatient: Worker) -> None:
    world.dataset("slow", "dumps", f"{DUMP}\nDO SLEEP(900);\n".encode())
    unique = impatient.launch(world.migration("pass"), "gate-dumps")
    impatient.wait_for(unique, "Import the dump")
    wait_until(lambda: any("mariadbd" in left for left in world.left_soon()))
    stopped(impatient, unique)
    assert not list((world.root / "snapshots").glob("slow-*")), "what is half there is none"


def test_a_stop_while_the_upload_hangs(world: World) -> None:
    """It holds up neither the answer nor the worker's end, and takes no verdict back."""
    ansible = Path(world.ansible())
    (ansible / "playbooks" / "upload-logs.yaml").write_text(HANGS)
    (ansible / "playbooks" / "passes").mkdir()
    (ansible / "playbooks" / "passes" / "run.yaml").write_text(PASSES)
    for end in ("stop", "shutdown"):
        with working(world, ansible_dir=str(ansible), jobs=[{"name": JOB, "plugin": "passes"}]) as worker:
            unique = worker.launch(world.arguments())
            worker.wait_for(unique, "publishing the results")
            slow, begun = slowness(), time.monotonic()
            if end == "stop":
                stopped(worker, unique, published=False)
                slow, begun = slowness(), time.monotonic()
            worker.process.send_signal(signal.SIGTERM)
            if end == "shutdown":
                answer = worker.answer(unique, published=False)
                assert answer.finals == ["complete"] and answer.result == "SUCCESS"
            assert worker.process.wait(PATIENCE) == 0 and time.monotonic() - begun < 30 * slow
            assert not world.leftovers()


def test_a_git_server_that_comes_back_is_found_by_the_second_try(world: World, impatient: Worker) -> None:
    """And a worker whose jobs were stopped does the next one as if nothing had been."""
    port = free_port()
    unique = impatient.launch({**world.migration("pass"), "ZUUL_URL": f"git://127.0.0.1:{port}"})
    impatient.wait_for(unique, "trying once more: git_unreachable")
    with daemon(world.root / "served", port):
        answer = impatient.answer(unique)
    assert answer.result == "SUCCESS"
    assert [item["code"] for item in answer.document["first_try"]] == ["git_unreachable"]
    first = json.loads((answer.folder / "first-try" / "result.json").read_text())
    assert first["result"] == "INFRASTRUCTURE" and first["ours"] is True
    assert "Connection refused" in (answer.folder / "first-try" / "git_prep.log").read_text()


def test_the_workers_end_gives_its_job_back_to_the_c_server(world: World) -> None:
    with working(world, gearmand=True) as worker:
        failed = worker.run(world.migration("raise RuntimeError('no')"))
        assert failed.result is not None and failed.result.startswith("FAILURE")
        unique = worker.launch(world.migration(SLEEP))
        worker.wait_for(unique, "c3 -> d4")
        slow, begun = slowness(), time.monotonic()
        worker.process.send_signal(signal.SIGTERM)
        answer = worker.answer(unique)
        assert worker.process.wait(PATIENCE) == 0
        assert time.monotonic() - begun < 30 * slow
    assert answer.result is None and answer.finals == ["fail"], "no result: Zuul launches it again"
    assert answer.codes == ["worker_stopped"]


def test_a_killed_worker_leaves_nothing_for_its_next_start(world: World) -> None:
    with working(world) as worker:
        unique = worker.launch(world.migration(SLEEP))
        worker.wait_for(unique, "c3 -> d4")
        os.killpg(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
    assert world.leftovers()
    with working(world) as worker:
        assert not world.leftovers()
        assert worker.run(world.migration("pass")).result == "SUCCESS"


def arguments(world: World, given: dict[str, str]) -> str:
    return (
        f"--job {JOB} --project {given['ZUUL_PROJECT']} --url {given['ZUUL_URL']} --ref {given['ZUUL_REF']} "
        f"--branch {given['ZUUL_BRANCH']} --commit {given['ZUUL_COMMIT']} --change {given['ZUUL_CHANGE']} --patchset 1"
    )


def test_th_run_with_wrong_usage_and_with_trouble_of_ours(world: World) -> None:
    config = str(world.configure())
    given = world.migration("pass")
    wrong = world.th("run", "-c", config, *arguments(world, given).replace("refs/zuul", "refs/../zuul").split())
    assert wrong.returncode == 2 and "--ref" in wrong.stderr and len(wrong.stderr.strip().splitlines()) == 1
    assert world.th("run", "-c", "/no/such/file", *arguments(world, given).split()).returncode == 2
    ours = world.th("run", "-c", config, *arguments(world, given).replace(JOB, "gate-none").split())
    assert ours.returncode == 3 and "Could not find seed database" in ours.stdout


PLUGIN = """---
- name: Say hello
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Look at the change
      ansible.builtin.assert:
        that: th_job.change != '13'
        fail_msg: Thirteen is not allowed.

    - name: Leave a file
      ansible.builtin.copy:
        content: of its own
        dest: "{{ th_job_dir }}/results/own.txt"
        mode: "0644"

    - name: Run the project's own test
      ansible.builtin.command: sh -c 'echo step one; echo no such table >&2; test {{ th_job.change }} != 14'
      changed_when: false
"""


def test_a_plugin_of_the_operators_own_is_a_playbook(world: World) -> None:
    ansible = world.ansible(upload_logs_count_limit=1000)
    plugin = Path(ansible) / "playbooks" / "say_hello"
    plugin.mkdir()
    (plugin / "run.yaml").write_text(PLUGIN)
    with working(world, ansible_dir=ansible, jobs=[{"name": "hello", "plugin": "say_hello"}]) as worker:
        good = worker.run(world.arguments(ZUUL_CHANGE="12"), "hello")
        assert good.result == "SUCCESS" and (good.folder / "task_output.log").exists()
        bad = worker.run(world.arguments(ZUUL_CHANGE="13"), "hello")
        assert bad.codes == ["test_failed"] and "Thirteen is not allowed" in bad.said()
        assert world.th("verdict", str(bad.folder)).returncode == 1
        worse = worker.run(world.arguments(ZUUL_CHANGE="14"), "hello")
        detail = worse.document["messages"][0]["detail"].splitlines()
        assert detail[0] == "Run the project's own test: non-zero return code: no such table"
        assert detail[1:] == ["stderr:", "no such table", "stdout:", "step one"]
        assert 'href="own.txt"' in (worse.folder / "index.html").read_text()
        log = (worse.folder / "task_output.log").read_text()
        assert "\ufffd" not in log and "\r" not in log and "Validating arguments" not in log
