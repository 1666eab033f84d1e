# SPDX-License-Identifier: Apache-2.0
"""The box that an environment is built in: its files, its variables, and its access to the network."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.th_egress.rules import Rules, index_values, local_folders
from ansible.module_utils.th_egress.upstream import Upstreams, without_proxies
from ansible.module_utils.th_environment.recipe import Recipe
from ansible.module_utils.th_environment.uv import PIP_NAMES, Uv, WayOut, uv_path
from ansible.module_utils.th_sandbox.box import SYSTEM_FILES, Box, Settings
from ansible.module_utils.th_sandbox.capped_log import CappedLog
from ansible.module_utils.th_sandbox.contain import base_environment, run_contained
from ansible.module_utils.th_tools.tools import TOOLS

PROGRAM = "with_way_out.py"
IMPORTER = "import_modules.py"
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True)
class Workplace:
    """What all builds of a job share. `programs` is the folder of the role's files."""

    sandbox: Settings
    passed: Sequence[str]
    programs: Path
    log: CappedLog
    time_limit: float

    @contextmanager
    def uv(
        self,
        recipe: Recipe,
        venv: Path,
        home: Path,
        urls: Iterable[str],
        deadline: float | None = None,
        network: bool = True,
    ) -> Iterator[Uv]:
        """uv, which may write to the environment and to `home`. `urls` are those that the profile names; `deadline`
        (monotonic) defaults to the time limit from now. Without `network`, no command may use one."""
        for folder in (venv, home, home / "tmp", home / "cache"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        environment = self._environment(recipe, home)
        indexes = index_values(environment)
        read_only = [Path(recipe.python.prefix), Path(recipe.python.own), Path(uv_path())]
        read_only += [self.programs / PROGRAM, *local_folders(indexes), *_certificates(environment)]
        box = Box(self.sandbox, read_only, [venv, home])
        if self.sandbox.kind == "none":
            yield Uv(self.log, environment, box, self.time_limit, None, deadline)
        elif not network:
            yield Uv(self.log, without_proxies(environment), box, self.time_limit, None, deadline)
        elif not self.sandbox.build_network:
            offline = {**without_proxies(environment), "UV_OFFLINE": "1"}
            yield Uv(self.log, offline, box, self.time_limit, None, deadline)
        else:
            # most jobs build nothing, and asyncio takes a while to be imported
            from ansible.module_utils.th_egress.proxy import Proxy

            rules = Rules.of(self.sandbox.build_hosts, [*indexes, *urls])
            with Proxy(rules, Upstreams.of(environment), self.log.line) as proxy:
                way_out = WayOut(proxy, recipe.python.path, self.programs / PROGRAM)
                yield Uv(self.log, without_proxies(environment), box, self.time_limit, way_out, deadline)

    def compile(self, recipe: Recipe, venv: Path, bytecode: Path, tools: Iterable[tuple[str, str]]) -> None:
        """Compile the migration tools, with what they import, to bytecode; compiling everything would take minutes.

        Import errors are ignored: the module is not installed, or the walk will report the error.
        """
        modules = sorted({name for tool, scheme in tools for name in (*TOOLS[tool].modules, *_driver(scheme))})
        if not modules:
            return
        bytecode.mkdir(mode=0o700)
        program = self.programs / IMPORTER
        box = Box(self.sandbox, [venv, Path(recipe.python.prefix), Path(recipe.python.own), program], [bytecode])
        environment = base_environment(bytecode, {"PYTHONPYCACHEPREFIX": str(bytecode)})
        argv = [str(venv / "bin" / "python"), str(program), *modules]
        run_contained(argv, cwd=bytecode, env=environment, box=box, log=self.log, time_limit=self.time_limit)

    def _environment(self, recipe: Recipe, home: Path) -> dict[str, str]:
        passed = [*self.passed, *self.sandbox.environment]
        extra = {
            "TMPDIR": str(home / "tmp"),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_CONFIG": "1",
            "UV_NO_PROGRESS": "1",
            "NO_COLOR": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for name, for_uv in PIP_NAMES.items():
            if name in passed and for_uv not in os.environ and os.environ.get(name):
                extra[for_uv] = os.environ[name]
        return base_environment(home, {**recipe.install["environment"], **extra}, passed)


def _driver(scheme: str) -> tuple[str, ...]:
    """The module of the driver that a URL scheme names in the form of SQLAlchemy: ``mysql+pymysql``."""
    name = scheme.partition("+")[2]
    return {"": (), "mysqldb": ("MySQLdb",)}.get(name, (name,))


def _certificates(environment: Mapping[str, str]) -> list[Path]:
    """The certificates that the operator has configured, unless every box has them anyway."""
    named = [Path(environment[name]) for name in CERTIFICATES if environment.get(name, "").startswith("/")]
    there = tuple(map(Path, ("/usr", *SYSTEM_FILES)))
    return [path for path in named if not any(path.is_relative_to(folder) for folder in there)]
