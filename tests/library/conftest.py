# SPDX-License-Identifier: Apache-2.0
"""The roles' modules as Ansible would find them: ``ansible.module_utils`` holds the shared helpers as well."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import ansible.module_utils
import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT / "roles").glob("*/module_utils"):
    ansible.module_utils.__path__.append(str(folder))

from .servers import external, running, server  # noqa: E402, F401 - fixtures, which need what is found there


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


@pytest.fixture
def job_dir(tmp_path: Path) -> Path:
    """An empty job's folder, as the worker makes it."""
    path = tmp_path / "job"
    for folder in (path, path / "artifacts", path / "results"):
        folder.mkdir(mode=0o700)
    return path
