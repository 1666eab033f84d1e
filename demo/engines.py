# SPDX-License-Identifier: Apache-2.0
"""The database server that the demo's dataset is made and walked on: the machine's own, or another engine beside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import ansible.module_utils
import yaml

from demo.tools import DemoError, Say, run

ROOT = Path(__file__).resolve().parent.parent
for _folder in (ROOT / "roles").glob("*/module_utils"):  # as Ansible finds them
    ansible.module_utils.__path__.append(str(_folder))

from ansible.module_utils.th_core.step import StepError  # noqa: E402
from ansible.module_utils.th_server import engine as engines  # noqa: E402
from ansible.module_utils.th_server.mariadb import ServerError  # noqa: E402

if TYPE_CHECKING:
    from ansible.module_utils.th_server.engine import Engine

SYSTEM = engines.SYSTEM
FOLDER = Path.home() / ".cache" / "turbo-hipster" / "engines"
"""Where playbooks that are run by hand have them."""
_LIST = ROOT / "inventory" / "group_vars" / "all" / "engines.yaml"
_DEFAULTS = ROOT / "roles" / "restore_datasets" / "defaults" / "main.yaml"
_SECONDS = 3600


def get(name: str, say: Say = lambda line: None) -> Engine:
    """The engine of this name in engines.yaml, made by playbooks/prepare-engine.yaml if it is not there. DemoError."""
    entries = yaml.safe_load(_LIST.read_text())["engines"]
    if name not in entries:
        raise DemoError(f"--engine {name}: engines.yaml has {', '.join(entries)}")
    try:
        if name != SYSTEM:
            say(f"getting the engine {name}")
            playbook = [Path(sys.executable).parent / "ansible-playbook", ROOT / "playbooks" / "prepare-engine.yaml"]
            settings = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
            words = ["-e", f"engine={name}", "-e", f"th_engines_dir={FOLDER}"]
            run([*playbook, *words], environment=settings, cwd=ROOT, timeout=_SECONDS)
        return engines.find(name, entries[name], FOLDER)
    except (ServerError, StepError) as error:
        raise DemoError(str(error)) from None


def version(engine: Engine) -> str:
    """The version that an engine's server prints."""
    return engines.version(engine)


def server_options(engine: Engine) -> list[str]:
    """The options with which the worker's private servers run on an engine."""
    defaults = yaml.safe_load(_DEFAULTS.read_text())
    key = "restore_datasets_mysql_options" if engine.family.name == "mysql" else "restore_datasets_server_options"
    return [*engine.options, *map(str, defaults[key])]
