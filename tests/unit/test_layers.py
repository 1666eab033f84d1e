# SPDX-License-Identifier: Apache-2.0
"""The data goes one way: each module imports only those before it, and some libraries have few users."""

import ast
from pathlib import Path

import pytest

WORKER = Path(__file__).resolve().parents[2] / "worker"
ORDER = (
    "errors giturl strict documents jobentry tls zuulserver capacity untrusted answer logs monitoring config request "
    "sqlerrors sqldetail advice outcome firstline limits serversettings expect datasetfile datasets jobdatasets jobdir "
    "sandbox runner checkout problems artifacts textlog logline logsteps logwalks classic excess judge merged verdict "
    "human summary ownfiles report publish progress ending status sensors job gearlink gearworker gearman account "
    "builds waiting metrics process presence slots statussocket systemd service cli"
).split()
ONLY_USERS = {"gear": ("gearlink", "gearworker", "gearman"), "ansible_runner": ("runner",), "ansible": ()}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def layer(name: str) -> str:
    return name.removeprefix("worker.").split(".")[0]


FILES = sorted(path for path in WORKER.rglob("*.py") if not path.name.startswith("__"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(WORKER)))
def test_a_module_imports_only_those_before_it(path: Path) -> None:
    own = path.relative_to(WORKER).parts[0].removesuffix(".py")
    assert own in ORDER, f"{own} has no place in the order"
    for name in imports(path):
        top = name.split(".")[0]
        if top == "worker" and name != "worker" and layer(name) in ORDER and own != "cli":
            assert ORDER.index(layer(name)) < ORDER.index(own), f"{own} imports {name}"
        if top in ONLY_USERS:
            assert own in ONLY_USERS[top], f"{own} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(WORKER)))
def test_a_module_stays_readable(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= 300 or path.name in ("outcome.py",), f"{path.name} has {lines} lines"
