# SPDX-License-Identifier: Apache-2.0
"""An operator's own way to publish, as docs/editing.md has it: the results go there, and the link leads to them."""

import json
import tarfile
from pathlib import Path

from tests.examples import example
from tests.kit.installation import World

PLUGIN = """---
- name: Do next to nothing
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Say so
      ansible.builtin.debug:
"""


def test_results_go_where_an_edited_role_puts_them(world: World) -> None:
    ansible = Path(world.ansible(upload_logs_count_limit=999))
    tasks = ansible / "roles" / "upload_logs" / "tasks"
    (tasks / "publish_archive.yaml").write_text(example("editing.md", "tasks/publish_archive.yaml`, which"))
    plugin = ansible / "playbooks" / "quick"
    plugin.mkdir()
    (plugin / "run.yaml").write_text(PLUGIN)
    archives = world.root / "archives"
    archives.mkdir()
    where = {"type": "archive", "folder": str(archives), "url": "https://logs.example.org/archives"}
    jobs = [{"name": "quick", "plugin": "quick", "note": "tok-3n-9"}]
    config = world.configure(ansible_dir=str(ansible), jobs=jobs, publish_logs={**where, "token": "tok-3n-9"})
    given = world.arguments(ZUUL_UUID="archived")
    words = ["run", "-c", str(config), "--job", "quick", "--project", given["ZUUL_PROJECT"], "--url", given["ZUUL_URL"]]
    done = world.th(*words, "--branch", "master", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    (packed,) = archives.iterdir()
    assert document["url"] == f"https://logs.example.org/archives/{packed.name}" and document["messages"] == []
    with tarfile.open(packed) as archive:
        names = archive.getnames()
        assert {"./index.html", "./result.json", "./task_output.log", "./job.yaml"} <= set(names)
        texts = [file.read().decode() for name in names if (file := archive.extractfile(name))]
    assert not [text for text in texts if "tok-3n-9" in text], "a secret of publish_logs is masked"
    assert any("********" in text for text in texts)
    assert not world.leftovers()
    (tasks / "publish_archive.yaml").write_text("- name: Break\n  ansible.builtin.fail: {msg: the archive is full}\n")
    broken = world.th(*words, "--branch", "master", "--json")
    document = json.loads(broken.stdout)
    assert broken.returncode == 0 and document["url"] == "" and document["result"] == "SUCCESS"
    assert [(one["code"], one["counts"], one["detail"]) for one in document["messages"]] == [
        ("upload_failed", False, "the archive is full")
    ]
