# SPDX-License-Identifier: Apache-2.0
"""What tests of several folders share: real servers, repositories, packages, projects, and how long to wait for them.

The modules of the roles are found as Ansible would find them: ``ansible.module_utils`` has the shelves of all roles.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import ansible.module_utils

ROOT = Path(__file__).resolve().parents[2]
for _folder in (ROOT / "roles").glob("*/module_utils"):
    ansible.module_utils.__path__.append(str(_folder))


def load_module(role: str, name: str) -> ModuleType:
    """Import ``roles/<role>/library/<name>.py``; a module's code runs only in its ``main``."""
    full = f"th_library_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, ROOT / "roles" / role / "library" / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        spec.loader.exec_module(module)
    return sys.modules[full]
