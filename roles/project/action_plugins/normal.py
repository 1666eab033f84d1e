# SPDX-License-Identifier: Apache-2.0
"""How a task runs a module: in place if it belongs to these roles and runs on this machine, otherwise like Ansible.

For each task, Ansible packs a module with all that it imports into an archive, which the module compiles before it
runs, because it may run on a remote machine without Ansible. This machine has all of it, already compiled, and the
packing took a third of a job's processor time. The module's arguments and result are the same
(https://docs.ansible.com/ansible/latest/dev_guide/developing_program_flow_modules.html).
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import ansible.plugins.action
from ansible.module_utils.common.json import Direction, get_module_decoder, get_module_encoder
from ansible.plugins.action import ActionBase

ROLES = Path(__file__).resolve().parents[2]
PROFILE = "legacy"
"""The profile by which values are encoded as JSON on the way to a module and back."""
RUN_MODULE = ROLES / "project" / "files" / "run_module.py"


def _imported(name: str, path: Path) -> ModuleType:
    """Import a module from its file, because it is not in a package or its name is taken."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


packing = _imported("th_action_packing", Path(ansible.plugins.action.__file__).with_name("normal.py"))
run_module = _imported("th_run_module", RUN_MODULE)


class ActionModule(packing.ActionModule):  # type: ignore[misc, name-defined]
    """Run a task's module."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result. Without one the task has failed, and its output is the reason."""
        module = self._in_place(task_vars or {})
        result: dict[str, Any]
        if module is None:
            result = super().run(tmp, task_vars)
            return result
        result = ActionBase.run(self, tmp, task_vars)
        environment: dict[str, str] = {}
        self._compute_environment_string(environment)
        self._display.vvv(f"RUN {sys.executable} -P {RUN_MODULE} {module}, in a copy of this process")
        finished = run_module.fork(str(module), self._arguments(task_vars), environment)
        stdout, stderr = (text.decode(errors="replace") for text in (finished.stdout, finished.stderr))
        try:
            result.update(json.loads(stdout, cls=get_module_decoder(PROFILE, Direction.MODULE_TO_CONTROLLER)))
        except ValueError:
            output = (stderr or stdout).strip().splitlines() or ["it printed nothing"]
            message = f"{self._task.action} ended with status {finished.status} and without a result: {output[-1]}"
            result.update(failed=True, msg=message, module_stderr=stderr, module_stdout=stdout)
        return result

    def _arguments(self, task_vars: dict[str, Any] | None) -> bytes:
        """The module's arguments, including those that Ansible adds for each module."""
        arguments = dict(self._task.args)
        self._update_module_args(self._task.action, arguments, task_vars or {})
        encoder = get_module_encoder(PROFILE, Direction.CONTROLLER_TO_MODULE)
        return json.dumps({"ANSIBLE_MODULE_ARGS": arguments}, cls=encoder).encode()

    def _in_place(self, task_vars: dict[str, Any]) -> Path | None:
        """The module's file, if it belongs to these roles and its task runs on this machine as this user."""
        task, here = self._task, self._connection.transport == "local" and not self._connection.become
        python = self._templar.template(task_vars.get("ansible_python_interpreter"))
        if not here or task.async_val or task.delegate_to or python != sys.executable:
            return None
        found = self._shared_loader_obj.module_loader.find_plugin(task.action, mod_type=".py")
        path = Path(found or "/").resolve()
        return path if path.parent.name == "library" and path.is_relative_to(ROLES) else None
