# SPDX-License-Identifier: Apache-2.0
"""The demo's git repository: always the same commits, from pinned archives only."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from demo import project
from demo.project import Release
from demo.tools import DemoError, built

PATCH = """Add a greeting

It says hello.

diff --git a/pkg/hello.py b/pkg/hello.py
new file mode 100644
index 0000000..ce01362
--- /dev/null
+++ b/pkg/hello.py
@@ -0,0 +1 @@
+hello
"""


def make_archive(folder: Path, version: str, files: dict[str, str]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"mlflow_skinny-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"mlflow_skinny-{version}/{name}")
            member.size = len(content.encode())
            tar.addfile(member, io.BytesIO(content.encode()))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], project.Repository]:
    """Build a small repository, of two releases that need no network, and one change."""
    downloads, changes = tmp_path / "downloads", tmp_path / "changes"
    old = make_archive(downloads, "1.0", {"pkg/old.py": "1\n", "pkg/same.py": "é\n", "PKG-INFO": "x"})
    new = make_archive(downloads, "2.0", {"pkg/same.py": "é\n", "pkg/new.py": "2\n", "a.egg-info/x": "x"})
    monkeypatch.setattr(
        project, "RELEASES", (Release("1.0", "stable/1", old, 1000), Release("2.0", "master", new, 2000))
    )
    changes.mkdir()
    (changes / "7-greeting.patch").write_text(PATCH)
    monkeypatch.setattr(project, "CHANGES_DIR", changes)
    return lambda name: project.build(tmp_path / name, downloads)


def test_same_inputs_make_the_same_commits(small):
    one, two = small("one"), small("two")
    assert one.changes == two.changes
    refs = [project.git(repository.path, "for-each-ref") for repository in (one, two)]
    assert refs[0] == refs[1]


def test_users_git_configuration_changes_nothing(small, tmp_path, monkeypatch):
    before = small("before").changes
    (tmp_path / ".gitconfig").write_text("[user]\nname = Somebody\n[commit]\ngpgSign = true\n[core]\nautocrlf = true\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Somebody")
    assert small("after").changes == before


def test_releases_are_one_history_without_what_packaging_added(small):
    path = small("r").path
    assert project.git(path, "rev-parse", "master~1") == project.git(path, "rev-parse", "stable/1")
    assert project.git(path, "ls-tree", "-r", "--name-only", "stable/1").split() == ["pkg/old.py", "pkg/same.py"]
    assert project.git(path, "ls-tree", "-r", "--name-only", "master").split() == ["pkg/new.py", "pkg/same.py"]
    assert project.git(path, "show", "master:pkg/same.py") == "é"


def test_change_is_one_commit_on_the_target_under_both_refs(small):
    repository = small("r")
    (change,) = repository.changes
    assert (change.number, change.name, change.subject) == (7, "greeting", "Add a greeting")
    assert change.ref.startswith("refs/zuul/master/Z")
    assert change.refspec == "refs/changes/07/7/1"
    assert project.git(repository.path, "rev-parse", change.ref, change.refspec).split() == [change.commit] * 2
    assert project.git(repository.path, "rev-list", f"master..{change.commit}") == change.commit
    assert project.git(repository.path, "diff", "--name-only", "master", change.ref) == "pkg/hello.py"


def test_second_build_takes_what_is_there(small):
    head = small("r").path / "HEAD"
    before = head.stat().st_ino
    small("r")
    assert head.stat().st_ino == before


def test_export_writes_the_files_of_a_commit(small, tmp_path):
    project.export(small("r").path, "stable/1", tmp_path / "out")
    files = {str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert files == {"pkg/old.py", "pkg/same.py"}


def test_archive_that_is_not_the_pinned_one_is_not_used(small, tmp_path, monkeypatch):
    make_archive(tmp_path / "downloads", "2.0", {"pkg/evil.py": "1\n"})
    fetched = []
    monkeypatch.setattr(project, "_fetch", lambda release, path: fetched.append(release.version))
    project.download(tmp_path / "downloads")
    assert fetched == ["2.0"]


def test_member_that_leaves_its_folder_is_refused(tmp_path):
    make_archive(tmp_path, "1.0", {"pkg/../../evil.py": "1\n"})
    with pytest.raises(DemoError, match="evil"):
        list(project._files(tmp_path / "mlflow_skinny-1.0.tar.gz"))


def test_what_was_half_built_has_no_name(tmp_path):
    with pytest.raises(RuntimeError), built(tmp_path / "x", "key") as fresh:
        assert fresh is not None
        (fresh / "file").touch()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_other_key_builds_again(tmp_path):
    for key, expected in (("a", True), ("a", False), ("b", True)):
        with built(tmp_path / "x", key) as fresh:
            assert (fresh is not None) is expected
