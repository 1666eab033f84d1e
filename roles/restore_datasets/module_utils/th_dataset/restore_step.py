# SPDX-License-Identifier: Apache-2.0
"""Running a step of a restore as a module: it reads the file of the previous step, and writes it for the next one.

A dataset that cannot be restored is a finding and fails no task, so that the job's other datasets are tested. However
a step ends early, it leaves neither a server of the dataset running nor a lock held.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.th_core.artifacts import forget_errors, not_recorded_message, report_error
from ansible.module_utils.th_core.step import run_step
from ansible.module_utils.th_dataset import server_settings
from ansible.module_utils.th_dataset.choose_engine import choose_engine
from ansible.module_utils.th_dataset.dataset import read_dataset
from ansible.module_utils.th_dataset.failure import RestoreError, as_restore_errors
from ansible.module_utils.th_dataset.restore import Restore, RestoreOptions, digest_of, folder_of, leave
from ansible.module_utils.th_server import mariadb

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

ROLE = "restore_datasets"
RESTORE = {"type": "path", "required": True}
"""The option `restore` of every step but the first: the file that `begin_restore` returns."""

Step = Callable[[Restore], Mapping[str, Any]]


def begin(given: RestoreOptions) -> Restore:
    """Discard what an earlier restore has left of a dataset, and read the dataset's file. Raises RestoreError."""
    folder, config = folder_of(given), Path(given.config)
    with as_restore_errors("server_failed"):
        forget(given)
        leave(folder)
        if folder.exists():
            shutil.rmtree(folder)
        dataset = read_dataset(config, given.names, given.engine)
        restore = Restore(given, external=bool(dataset.server), digest=digest_of(config))
        if not restore.external:
            engine = choose_engine(given, dataset)
            restore.engine, restore.place = engine.name, engine.place
            restore.settings = server_settings.fitting(dataset.settings, engine)
        restore.folder.mkdir(mode=0o700, parents=True)
        restore.save()
    return restore


def carry_on(restore: Restore, step: Step) -> Mapping[str, Any]:
    """Run a step, and save the state for the next one. Raises RestoreError."""
    with as_restore_errors(restore.server_code):
        forget(restore.given)
        try:
            answer = step(restore)
            restore.save()
        except BaseException:
            with contextlib.suppress(mariadb.ServerError):
                leave(restore.folder, 0)
            raise
    return answer


def forget(given: RestoreOptions) -> None:
    """Remove the errors and artifacts of an earlier restore: the dataset no longer counts as restored."""
    job_dir = Path(given.job_dir)
    forget_errors(job_dir, ROLE, given.name)
    for former in (f"dataset-{given.name}.json", f"walk-{given.name}.jsonl"):
        (job_dir / "artifacts" / former).unlink(missing_ok=True)


def run_first_step(module: AnsibleModule) -> None:
    """Run `begin` as a module, which has the options of RestoreOptions."""
    given = RestoreOptions.of(module.params)

    def do() -> dict[str, Any]:
        restore = begin(given)
        return {"server": "external" if restore.external else "private", **_where(restore)}

    _run(module, given.job_dir, lambda: _answer(module, given, do))


def run_restore_step(module: AnsibleModule, step: Step) -> None:
    """Run a step as a module. It returns where the dataset is, and whether it is `ready` for the next step."""
    file = Path(module.params["restore"]).absolute()

    def run() -> dict[str, Any]:
        restore = Restore.read(file)
        return _answer(module, restore.given, lambda: {**carry_on(restore, step), **_where(restore)})

    _run(module, str(file.parents[2]), run)


def _run(module: AnsibleModule, job_dir: str, run: Callable[[], dict[str, Any]]) -> None:
    # raises SystemExit, so what was begun is undone
    signal.signal(signal.SIGTERM, lambda *_: module.exit_json(failed=True, msg="terminated"))
    run_step(module, ROLE, job_dir, run)


def _answer(module: AnsibleModule, given: RestoreOptions, do: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """The result of a step; for a dataset that cannot be restored the reason, which is recorded first."""
    try:
        return {"changed": True, "ready": True, **do()}
    except RestoreError as trouble:
        detail = str(trouble)
        try:
            report_error(given.job_dir, ROLE, trouble.code, detail, dataset=given.name)
        except OSError as problem:
            detail += f" ({not_recorded_message(given.job_dir, problem)})"
            module.fail_json(msg=f"{given.name}: {detail}", code=trouble.code)
        return {"changed": True, "ready": False, "code": trouble.code, "msg": f"{given.name}: {detail}"}


def _where(restore: Restore) -> dict[str, str]:
    return {"restore": str(restore.file), "folder": str(restore.folder)}
