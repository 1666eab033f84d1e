# SPDX-License-Identifier: Apache-2.0
"""Run a role's module from where it lies: ``python run_module.py MODULE [ARGUMENTS]``.

MODULE is a path, ``roles/<role>/library/<name>.py``. ARGUMENTS, a file or standard input, are JSON:
``{"ANSIBLE_MODULE_ARGS": {…}}``; the answer is JSON on standard output. What modules of several roles share is found as
under Ansible, as `ansible.module_utils`.
"""

import json
import runpy
import sys
import traceback
from pathlib import Path

import ansible.module_utils


def main() -> None:
    """Run it. A defect of its own is answered as Ansible answers one."""
    module = sys.argv.pop(1)
    roles = Path(module).resolve().parents[2]
    ansible.module_utils.__path__.extend(map(str, sorted(roles.glob("*/module_utils"))))
    try:
        runpy.run_path(module, run_name="__main__")
    except Exception as error:  # a module ends by SystemExit
        message = f"{type(error).__name__}: {error}"
        print(json.dumps({"failed": True, "msg": message, "exception": traceback.format_exc()}))
        sys.exit(1)


if __name__ == "__main__":
    main()
