# SPDX-License-Identifier: Apache-2.0
"""Record which of a project's own steps has failed, and fail."""

from __future__ import annotations

DOCUMENTATION = r"""
module: report_step
short_description: Record which of a project's own steps has failed, and fail
description:
  - For the C(rescue) of tasks that an operator has written. Only the operator can fix their failures, so they are
    recorded as such in C(artifacts/errors.jsonl), with the file and the name of the task.
  - Always fails, with the same message.
options:
  job_dir:
    description: The job's folder.
    type: path
    required: true
  file:
    description: The file that contains the task.
    type: path
    required: true
  task:
    description: The name of the task that has failed; empty where the file itself cannot be used.
    type: str
    default: ""
  result:
    description: The result of the task. Nothing of it is recorded if the task must not be logged.
    type: dict
    default: {}
  role:
    description: The role that the error is recorded for; it removes the error when it runs again.
    type: str
    default: project
  code:
    description: The code of the error.
    type: str
    default: playbook_failed
author: turbo-hipster
"""

EXAMPLES = r"""
- name: Record which step has failed
  report_step:
    job_dir: /var/lib/turbo-hipster/jobs/1
    file: /etc/turbo-hipster/projects/mlflow/mlflow/before-checkout.yaml
    task: "{{ ansible_failed_task.name }}"
    result: "{{ ansible_failed_result }}"
"""

RETURN = r"""
code:
  description: The code of the error.
  type: str
  returned: always
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.th_core.step import StepError, run_step
from ansible.module_utils.th_core.text import printable

PRINTED = ("stderr", "module_stderr", "stdout", "module_stdout")
LOOP_FAILED = "One or more items failed"
LAST, TAIL = 300, 1500
"""Maximum characters of the last line that a program has printed, and of the end of its output."""


def of_loop(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """The result of the first item that has failed, where the task is a loop."""
    items: Iterable[Any] = result.get("results") or ()
    failed = (item for item in items if isinstance(item, Mapping) and item.get("failed"))
    return next(failed, result) if str(result.get("msg", "")).startswith(LOOP_FAILED) else result


def output_of(result: Mapping[str, Any]) -> str:
    """The output of a failed task: its message and, for a program, the end of its output."""
    one = of_loop(result)
    message = str(one.get("msg") or "").strip()
    printed = next((text for name in PRINTED if (text := str(one.get(name) or "").strip())), "")
    if not printed or printed in message:
        return message
    last = printed.splitlines()[-1].strip()[:LAST]
    first = f"{message}: {last}" if message else last
    return first if last == printed else f"{first}\n{printed if len(printed) <= TAIL else '... ' + printed[-TAIL:]}"


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "job_dir": {"type": "path", "required": True},
            "file": {"type": "path", "required": True},
            "task": {"type": "str", "default": ""},
            "result": {"type": "dict", "default": {}},
            "role": {"type": "str", "default": "project"},
            "code": {"type": "str", "default": "playbook_failed"},
        }
    )
    params = module.params

    def step() -> dict[str, Any]:
        words = ": ".join(filter(None, (params["file"], params["task"], output_of(params["result"]))))
        raise StepError(params["code"], "\n".join(map(printable, words.split("\n"))))

    run_step(module, params["role"], params["job_dir"], step)


if __name__ == "__main__":
    main()
