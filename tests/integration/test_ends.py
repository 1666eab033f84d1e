# SPDX-License-Identifier: Apache-2.0
"""How jobs are ended from outside: by Zuul, by time limits, by the worker's own end, by its death."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from tests.functional.support import wait_until
from tests.library.gitserver import daemon, free_port, silence

from .world import JOB, Answer, Worker, World, program, working

SLEEP = "op.execute('SELECT SLEEP(900)')"


def stop(worker: Worker, unique: str) -> None:
    first = worker.packets(unique)[0].data
    answer = worker.zuul.stop(first["manager"], {"name": JOB, "number": first["number"]}, f"stop-{unique}")
    assert [packet.kind for packet in answer] == ["complete"]


def test_a_stop_in_the_middle_of_a_migration(world: World, worker: Worker) -> None:
    unique = worker.launch(world.migration(SLEEP))
    worker.wait_for(unique, "c3 -> d4")
    begun = time.monotonic()
    stop(worker, unique)
    wait_until(lambda: not [left for left in world.leftovers() if "publish" not in left and "mariadbd" in left], 10)
    assert time.monotonic() - begun < 10
    answer = worker.answer(unique, 30)
    assert answer.finals == ["fail"] and answer.result == "CANCELED"
    steps = answer.document["datasets"][0]["migrations"]
    assert [step["to"] for step in steps][:2] == ["b2", "c3"], "what was measured so far is published"
    assert worker.run(world.migration("pass")).result == "SUCCESS"


def test_a_git_server_that_does_not_answer(world: World) -> None:
    limits = {"checkout_fetch_time_limit": 2, "checkout_fetch_attempts": 2}
    with working(world, ansible_dir=world.ansible(**limits)) as worker, silence() as url:
        answer = worker.run({**world.migration("pass"), "ZUUL_URL": url})
    assert answer.codes == ["git_unreachable"]
    assert answer.result is None, "this is not the change's fault: Zuul shall try again"
    assert answer.document["result"] == "INFRASTRUCTURE"
    assert answer.data[-1]["messages"][0].startswith("INFRASTRUCTURE (not the change's fault, but the machine's): ")
    assert [item["code"] for item in answer.document["first_try"]] == ["git_unreachable"]


def test_a_git_server_that_comes_back_is_found_by_the_second_try(world: World) -> None:
    port = free_port()
    with working(world, ansible_dir=world.ansible(checkout_fetch_attempts=2)) as worker:
        unique = worker.launch({**world.migration("pass"), "ZUUL_URL": f"git://127.0.0.1:{port}"})
        worker.wait_for(unique, "trying once more: git_unreachable")
        with daemon(world.root / "served", port):
            answer = worker.answer(unique)
    assert answer.result == "SUCCESS"
    assert [item["code"] for item in answer.document["first_try"]] == ["git_unreachable"]
    first = json.loads((answer.folder / "first-try" / "result.json").read_text())
    assert first["result"] == "INFRASTRUCTURE" and first["ours"] is True
    assert "Connection refused" in (answer.folder / "first-try" / "git_prep.log").read_text()


def test_a_stop_while_git_waits_for_its_server(world: World, worker: Worker) -> None:
    with silence() as url:
        unique = worker.launch({**world.migration("pass"), "ZUUL_URL": url})
        worker.wait_for(unique, "Check out")
        begun = time.monotonic()
        stop(worker, unique)
        answer = worker.answer(unique, 30)
    assert time.monotonic() - begun < 15
    assert answer.result == "CANCELED"


def test_a_job_that_takes_too_long_is_ended(world: World) -> None:
    with working(world, job_time_limit=40) as worker:
        begun = time.monotonic()
        answer = worker.run(world.migration(SLEEP))
        assert time.monotonic() - begun < 80
        assert "job_timed_out" in answer.codes and answer.document["result"] == "FAILURE"
        assert [step["to"] for step in answer.document["datasets"][0]["migrations"]][:2] == ["b2", "c3"]
        assert worker.run(world.migration("pass")).finals == ["complete"]


def test_the_workers_end_gives_its_job_back(world: World) -> None:
    with working(world, gearmand=True) as worker:
        unique = worker.launch(world.migration(SLEEP))
        worker.wait_for(unique, "c3 -> d4")
        begun = time.monotonic()
        worker.process.send_signal(signal.SIGTERM)
        answer = worker.answer(unique, 30)
        assert worker.process.wait(30) == 0
        assert time.monotonic() - begun < 30
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


def test_with_the_c_server(world: World) -> None:
    with working(world, gearmand=True) as worker:
        assert worker.run(world.migration("pass")).result == "SUCCESS"
        answer = worker.run(world.migration("raise RuntimeError('no')"))
        assert answer.result is not None and answer.result.startswith("FAILURE")


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


def test_th_run_interrupted(world: World) -> None:
    given = world.migration(SLEEP)
    process = subprocess.Popen(
        [program("th"), "run", "-c", str(world.configure()), *arguments(world, given).split()],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "c3 -> d4" in line:
            break
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(30) == 130, rest
    assert not world.leftovers()


def test_a_published_job_done_again_by_hand(world: World, worker: Worker, tmp_path: Path) -> None:
    answer: Answer = worker.run(world.migration("op.create_index('uq', 't', ['name'], unique=True)"))
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "PATH": f"{Path(program('th')).parent}:{os.environ['PATH']}"}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        ["ansible-playbook", "playbooks/gate_real_db_upgrade/run.yaml", "-e", f"@{answer.folder}/job.yaml"],
        cwd=root, env=environment, capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode != 0, "the verdict is not SUCCESS"
    assert "WARNING - Migration c3->d4 failed to complete" in done.stdout, done.stdout
    [folder] = (home / "turbo-hipster").iterdir()
    again = world.th("verdict", "--json", str(folder))
    assert again.returncode == 1
    published = world.th("verdict", str(answer.folder))
    assert published.returncode == 1 and "1062" in published.stdout
    assert not list(folder.rglob("mariadbd.sock"))


PLUGIN = """---
- name: Say hello
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Look at the change
      ansible.builtin.assert:
        that: th_job.change != '13'
        fail_msg: Thirteen is not allowed.
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
