# SPDX-License-Identifier: Apache-2.0
"""A copy of the playbooks that a later version has left behind: `th init --diff`, and what `th check` says of it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.cli import check, init, main, playbooks_copy
from worker.cli.playbooks_copy import STAMP, Difference, Stamp, State, compare

Edit = Callable[[Path], None]
FILE = "roles/project/tasks/main.yaml"


def tree(folder: Path, **more: str) -> Path:
    """What a worker brings, in small."""
    files = {"playbooks/run.yaml": "- hosts: all\n", FILE: "- debug:\n", "inventory/hosts.yaml": "all:\n", **more}
    for name, text in {**files, "ansible.cfg": "[defaults]\n"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The playbooks of this worker."""
    folder = tree(tmp_path / "ours")
    for module in (init, check):
        monkeypatch.setattr(module, "default_ansible_dir", lambda: folder)
    return folder


@pytest.fixture
def copy(tmp_path: Path, ours: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main.th(["init", str(tmp_path / "copy")]) == 0
    capsys.readouterr()
    return tmp_path / "copy"


def write(name: str, text: str) -> Edit:
    def edit(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return edit


def remove(folder: Path) -> None:
    (folder / FILE).unlink()


def nothing(_: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("here", "there", "state"),
    [
        (nothing, write(FILE, "- mine:\n"), State.EDITED),
        (nothing, remove, State.REMOVED),
        (write(FILE, "- newer:\n"), nothing, State.OLDER),
        (write(FILE, "- newer:\n"), write(FILE, "- mine:\n"), State.CONFLICT),
        (write(FILE, "- newer:\n"), write(FILE, "- newer:\n"), None),
        (remove, nothing, State.OBSOLETE),
        (remove, write(FILE, "- mine:\n"), State.OBSOLETE),
        (remove, remove, None),
    ],
)
def test_whose_a_difference_is(ours: Path, copy: Path, here: Edit, there: Edit, state: State | None) -> None:
    here(ours)
    there(copy)
    assert compare(ours, copy) == ([Difference(FILE, state)] if state else [])


def test_what_is_new_is_missing_and_what_is_the_operators_own_is_not(ours: Path, copy: Path) -> None:
    write("roles/new/tasks/main.yaml", "[]\n")(ours)
    write("inventory/projects/org/mine.yaml", "migrations: {}\n")(copy)
    assert compare(ours, copy) == [Difference("roles/new/tasks/main.yaml", State.NEW)]


@pytest.mark.parametrize("stamp", [None, "{", "[]", '{"version": "1"}', '{"version": "1", "files": [1]}'])
def test_a_copy_without_a_stamp_that_can_be_read(ours: Path, copy: Path, stamp: str | None) -> None:
    (copy / STAMP).unlink()
    if stamp is not None:
        (copy / STAMP).write_text(stamp)
    assert compare(ours, copy) == []
    write(FILE, "- mine:\n")(copy)
    write("roles/new/tasks/main.yaml", "[]\n")(ours)
    found = {difference.path: difference.state for difference in compare(ours, copy)}
    assert found == {FILE: State.DIFFERENT, "roles/new/tasks/main.yaml": State.NEW}


def test_the_diff_leads_to_this_version(ours: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.th(["init", "--diff", str(copy)]) == 0
    assert capsys.readouterr().out.startswith(f"{copy} is what turbo-hipster ")
    write(FILE, "- mine:")(copy)
    assert main.th(["init", "--diff", str(copy)]) == 0, "what is edited is not behind"
    assert f"{FILE}: edited in the copy\n" in capsys.readouterr().out
    write(FILE, "- newer:\n")(ours)
    (ours / "playbooks" / "run.yaml").write_bytes(b"\xff")
    assert main.th(["init", "--diff", str(copy)]) == 1
    out = capsys.readouterr().out
    assert "-- mine:\n\\ No newline at end of file\n+- newer:\n" in out
    assert f"Binary files {copy}/playbooks/run.yaml and {ours}/playbooks/run.yaml differ\n" in out
    made = json.loads((copy / STAMP).read_text())["version"]
    assert f"the copy was made from turbo-hipster {made}; the diff leads to turbo-hipster {made}\n" in out
    assert out.endswith(f"th init --merged {copy}\n")


def test_what_was_merged_is_not_shown_as_behind(ours: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(FILE, "- newer:\n")(ours)
    write(FILE, "- newer: and mine\n")(copy)
    write("roles/new/tasks/main.yaml", "[]\n")(ours)
    assert main.th(["init", "--merged", str(copy)]) == 0
    assert capsys.readouterr().out.endswith("changed; 2 of its files are edited\n")
    assert {one.state for one in compare(ours, copy)} == {State.EDITED, State.REMOVED}
    assert main.th(["init", "--diff", str(copy)]) == 0


def test_the_diff_of_what_is_no_copy(tmp_path: Path, ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.th(["init", "--diff", str(tmp_path)]) == 2
    assert "has no playbooks" in capsys.readouterr().err


def test_check_says_when_a_copy_is_behind(ours: Path, copy: Path) -> None:
    assert list(check._copy(ours)) == []
    write(FILE, "- mine:\n")(copy)
    (found,) = check._copy(copy)
    assert found.level == "ok" and found.text.endswith(": up to date, 1 edited")
    Stamp("0.0.9", {**playbooks_copy.digests(copy), "ansible.cfg": "0" * 64}).write(copy)
    for number in range(4):
        write(f"roles/new/tasks/{number}.yaml", "[]\n")(ours)
    (found,) = check._copy(copy)
    assert found.level == "warn"
    first = ", ".join(f"roles/new/tasks/{number}.yaml" for number in range(3))
    assert found.text == f"{copy}, made from turbo-hipster 0.0.9: 5 files are older than this worker's: {first}, …"
    assert f"'th init --diff {copy}'" in found.remedy
