# SPDX-License-Identifier: Apache-2.0
"""What a job has outside of its folder is found by its name."""

from pathlib import Path

import pytest
from ansible.module_utils.th_core.mark import mark, short_folder

from worker import job_dir
from worker.job_dir import JobDir, mark_of


def test_what_is_outside_of_the_folder_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's folder, and results that were on their way; nothing of anybody else's."""
    place = tmp_path / "logs" / "7" / "job [1]"
    place.mkdir(parents=True)
    with JobDir(tmp_path / "jobs", "b1") as folder, JobDir(tmp_path / "jobs", "b2") as other:
        assert mark_of(folder.root) != mark_of(other.root)
        made = []
        for job in (folder, other):
            monkeypatch.setenv(job_dir.MARKER, str(job.root))
            told = {"log_path": "7/job [1]", "ref": "refs/heads/{{ 1 }}"}
            job.write_job_yaml({"th_publish_path": str(tmp_path / "logs"), "th_job": told})
            made += [short_folder(), place.parent / f".job [1].publishing-{mark()}-x"]
            made[-1].mkdir()
            (made[-1] / "index.html").write_text("half of it")
        other.keep = True
        (tmp_path / "jobs" / "b2" / "job.yaml").rename(tmp_path / "kept.yaml")
    assert [path.exists() for path in made] == [False, False, True, True]
    made[2].rmdir()
    assert place.is_dir()
