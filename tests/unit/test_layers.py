# SPDX-License-Identifier: Apache-2.0
"""The data goes one way: a package imports only those before it, and so does a module within its package."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import ROOT

WORKER = ROOT / "worker"
ORDER = {
    "errors": "",
    "version": "",
    "inputs": "git_url parsing untrusted documents",
    "logs": "",
    "request": "",
    "counters": "",
    "config": "tls limits engines server_settings zuul_server resources monitoring publish_logs plugin_options "
    "job_entry config dataset_limits dataset_file datasets job_datasets",
    "job_dir": "",
    "verdict": "result_text sql_errors sql_detail advice outcome first_line checkout problems run_times stage_times "
    "artifacts excess judge merged comparison decide times",
    "report": "formatting summary own_files result_json time_table render",
    "history": "text_log log_line log_steps log_walks text_walks",
    "sandbox": "",
    "task_clock": "",
    "runner": "",
    "publish": "",
    "progress": "",
    "job_end": "",
    "status": "",
    "job": "",
    "gearman": "connection worker client server_health slots queue reporter",
    "builds": "",
    "process": "",
    "observe": "metrics sensors status_socket systemd",
    "service": "",
    "cli": "playbooks_copy surroundings arguments display published own_steps engines trial check history init run "
    "status submit verdict main",
}
"""The packages and modules of the worker, each with the order inside of it."""
ONLY_USERS = {"gear": ("gearman",), "ansible_runner": ("runner",), "ansible": ()}
GEAR = {"gearman.connection", "gearman.worker", "gearman.client"}
MOST_LINES = 300
LONG_TABLES = {"outcome.py"}
FILES = sorted(path for path in WORKER.rglob("*.py") if path.name != "__main__.py")


def imports(path: Path) -> Iterator[str]:
    """What a file imports, with the names that it takes, which may be modules."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def place(name: str) -> tuple[int, int] | None:
    """Where a module of the worker stands: of the packages, and in its package (-1: the package itself, or a name of
    it). None for what is no module."""
    package, _, rest = name.partition(".")
    if package not in ORDER:
        return None
    module, inside = rest.partition(".")[0], ORDER[package].split()
    return list(ORDER).index(package), inside.index(module) if module in inside else -1


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(WORKER).with_suffix("").parts)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_imports_only_those_before_it(path: Path) -> None:
    own = name_of(path)
    if own == "__init__":
        assert not list(imports(path))
        return
    package, _, module = own.partition(".")
    assert package in ORDER and module in {"", "__init__", *ORDER[package].split()}, f"{own} has no place in the order"
    here = place(own)
    for name in imports(path):
        top, _, rest = name.partition(".")
        found = place(rest) if top == "worker" else None
        if found and here:
            before = found[0] == here[0] if module == "__init__" else found < here
            assert before or found[0] < here[0], f"{own} imports {name}"
        if top in ONLY_USERS:
            assert package in ONLY_USERS[top] and (top != "gear" or own in GEAR), f"{own} imports {name}"


def test_the_order_names_no_module_that_is_not_there() -> None:
    files = {name_of(path) for path in FILES}
    named = {f"{package}.{module}" for package in ORDER for module in ORDER[package].split()}
    assert named <= files and {name for name in ORDER if not ORDER[name]} <= files


@pytest.mark.parametrize("package", sorted(name for name in ORDER if ORDER[name]))
def test_a_package_says_what_it_is_for(package: str) -> None:
    document = ast.get_docstring(ast.parse((WORKER / package / "__init__.py").read_text()))
    assert document and len(document.splitlines()) >= 3 and "mports" in document


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_stays_readable(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MOST_LINES or path.name in LONG_TABLES, f"{path.name} has {lines} lines"
