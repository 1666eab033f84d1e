# SPDX-License-Identifier: Apache-2.0
"""`th history import`: convert old text logs into the artifacts that a verdict and a report are computed from."""

import argparse
import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.cli.display import Display, display
from worker.config import engines
from worker.config.limits import of_engine, plain
from worker.counters import MEASURED
from worker.errors import ConfigError, UsageError
from worker.history import MAX_WALKS, LogReader, text_log
from worker.history.log_steps import Walk
from worker.inputs import documents

_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9._-]{{0,99}}(@{engines.NAME.pattern})?")
_ENDINGS = (".gz", ".xz", ".zst", ".bz2", ".log", ".txt")
_SHOW_EACH = 20_000  # lines


@dataclass
class _Dataset:
    """One walk, imported as a dataset. `parts` are the pieces of it found in the log, in order."""

    name: str
    parts: list[Walk]

    @property
    def final(self) -> str:
        return self.parts[-1].final

    def total(self, key: str) -> Any:
        return sum(getattr(part, key) for part in self.parts)

    def first(self) -> str:
        return next((part.first for part in self.parts if part.first), "")


@dataclass
class _Log:
    """A log that has been read."""

    path: str
    name: str
    reader: LogReader
    condition: text_log.Condition
    datasets: list[_Dataset] = field(default_factory=list)


def add_parser(subparsers: Any) -> None:
    """Add the command to `th`."""
    parser = subparsers.add_parser("history", help="read old text logs")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    action = actions.add_parser("import", help="make artifacts of text logs, so that they can be judged again")
    action.add_argument("logs", nargs="+", metavar="LOG", help="a text log, packed or not; - for stdin")
    action.add_argument("--out", type=Path, default=Path("history"), metavar="DIR", help="where to (default: history)")
    action.add_argument("--dataset", metavar="NAME", help="the dataset's name (default: from the log's name)")
    action.add_argument("--limits", type=Path, metavar="FILE", help="a dataset's JSON file, to judge by its limits")
    action.add_argument("--json", action="store_true", help="print what was found as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns 0 if all logs could be read, whatever their content."""
    names = _names(args.logs, args.dataset)
    limits = _limits(args.limits)
    folder: Path = args.out
    if os.path.exists(folder / "job.yaml") or os.path.exists(folder / "artifacts"):
        raise UsageError(f"{folder} has a job's files already, which are not overwritten; name another with --out")
    try:
        with _temporary(folder) as artifacts, display() as shown:
            found = [_read(path, name, artifacts, shown) for path, name in zip(args.logs, names, strict=True)]
            _write(artifacts, found, limits)
            (folder / "job.yaml").write_text(_job(found), "utf-8")
            os.rename(artifacts, folder / "artifacts")
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: {error.strerror}") from error
    if args.json:
        print(json.dumps({"schema": 1, "folder": str(folder), "logs": [_document(log) for log in found]}, indent=1))
    else:
        for log in found:
            print(_text(log))
        print(f"written to {folder}; the verdict: th verdict {folder}")
    return 0


def _names(logs: list[str], wanted: str | None) -> list[str]:
    """The dataset name for each log. Raises UsageError for an invalid name, or if two logs would get the same one."""
    if wanted is not None:
        if len(logs) > 1:
            raise UsageError("--dataset: names the dataset of one log; give the others a call of their own")
        if not _NAME.fullmatch(wanted):
            raise UsageError(f"--dataset: {wanted!r} cannot be a dataset's name; use letters, digits, . _ and -")
        return [wanted]
    names: dict[str, str] = {}
    for log in logs:
        name = "stdin" if log == "-" else Path(log).name
        while name.endswith(_ENDINGS):
            name = name.rpartition(".")[0]
        if "@" not in name or not _NAME.fullmatch(name):  # with an engine it is the log of another job
            name = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".-")[:90] or "log"
        if name in names:
            raise UsageError(f"{names[name]} and {log} would both be {name}; import one alone, with --dataset")
        names[name] = log
    return list(names)


def _limits(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {"limits": {}}
    try:
        document = documents.read_mapping(path)
    except ConfigError as error:
        raise UsageError(f"--limits: {error}") from error
    keys = [counter.limit for counter in MEASURED if counter.limit in document]
    found: dict[str, Any] = {"limits": {key: document[key] for key in keys}}
    return found | ({"waivers": document["waivers"]} if "waivers" in document else {})


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """A temporary folder next to the future `artifacts`; it is removed with its files unless it was renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".artifacts-{os.getpid()}"
    temporary.mkdir()
    try:
        yield temporary
    finally:
        if os.path.isdir(temporary):
            for path in temporary.iterdir():
                path.unlink()
            temporary.rmdir()


def _read(path: str, name: str, artifacts: Path, shown: Display) -> _Log:
    reader, condition = LogReader(), text_log.Condition()
    with text_log.opened(path) as stream, contextlib.ExitStack() as stack:
        parts = [
            stack.enter_context(open(_part(artifacts, name, number), "w", encoding="utf-8", errors="replace"))
            for number in range(MAX_WALKS)
        ]
        size = os.fstat(stream.fileno()).st_size
        for line in text_log.lines(stream, condition):
            for number, event in reader.take(line):
                parts[number].write(json.dumps(event, ensure_ascii=False) + "\n")
            if reader.lines % _SHOW_EACH == 0:
                shown.show(min(100, 100 * stream.tell() // size) if size else 0, path)
        for number, event in reader.close():
            parts[number].write(json.dumps(event, ensure_ascii=False) + "\n")
    if not reader.understood:
        raise UsageError(f"{path}: holds no line of a log of turbo-hipster: 2013-11-22 21:42:45,908 [output] …")
    log = _Log(path, name, reader, condition)
    for walk in reader.walks:
        if walk.follows is None:
            dataset, engine = engines.split(name)
            dataset += f"-{len(log.datasets) + 1}" if log.datasets else ""
            log.datasets.append(_Dataset(engines.on(dataset, engine) if engine else dataset, [walk]))
        else:
            owner = next(one for one in log.datasets if any(part.number == walk.follows for part in one.parts))
            owner.parts.append(walk)
    return log


def _part(artifacts: Path, name: str, number: int) -> Path:
    return artifacts / f".{name}.{number}"


def _write(artifacts: Path, logs: list[_Log], limits: dict[str, Any]) -> None:
    stages: dict[str, tuple[str, str]] = {}
    for log in logs:
        for dataset in log.datasets:
            with open(artifacts / f"walk-{dataset.name}.jsonl", "x", encoding="utf-8") as stream:
                for part in dataset.parts:
                    with open(_part(artifacts, log.name, part.number), encoding="utf-8") as events:
                        shutil.copyfileobj(events, stream)
                    stages.update({name: (kind, commit) for name, kind, commit in part.stages})
            version, flavour = log.reader.server
            facts = {
                "name": dataset.name,
                "database": "",
                "server": {"flavour": flavour, "version": version},
                "version": dataset.first().split(",") if dataset.first() not in ("", "base") else [],
                "method": "log",
                **({"engine": engine} if (engine := engines.split(dataset.name)[1]) else {}),
                **limits,
                "limits": of_engine(limits["limits"], engine),
                "remarks": {"_imported_from": Path(log.path).name},
            }
            _dump(artifacts / f"dataset-{dataset.name}.json", facts)
        for number in range(MAX_WALKS):
            _part(artifacts, log.name, number).unlink()
    if stages and not any(kind == "change" for kind, _ in stages.values()):
        last = next(reversed(stages))
        stages[last] = ("change", stages[last][1])  # the log does not say which stage was the change's
    entries = [
        {"name": name, "slug": "change" if kind == "change" else name, "kind": kind, "commit": commit, "heads": []}
        for name, (kind, commit) in stages.items()
    ]
    _dump(artifacts / "checkout.json", {"stages": entries, "revisions": {}})


def _dump(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps({"schema": 1, **document}, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _job(logs: list[_Log]) -> str:
    job = {"id": "history", "name": "history", "plugin": "history", "project": "", "zuul": {}}
    datasets = [{"name": dataset.name} for log in logs for dataset in log.datasets]
    return documents.ansible_variables({"th_job": job, "th_datasets": datasets})


def _document(log: _Log) -> dict[str, Any]:
    return {
        "log": log.path,
        "lines": log.reader.lines,
        "not_understood": log.reader.unknown,
        "notes": _notes(log),
        "datasets": [
            {
                "name": dataset.name,
                "migrations": dataset.total("migrations"),
                "unfinished": dataset.total("unfinished"),
                "untimed": dataset.total("untimed"),
                "version": dataset.first(),
                "final": dataset.final,
                "seconds": round(dataset.total("seconds"), 3),
            }
            for dataset in log.datasets
        ],
    }


def _notes(log: _Log) -> list[str]:
    reader = log.reader
    notes = [
        (log.condition.cut, log.condition.cut),
        (reader.cuts, "the log says that something is left out in it"),
        (reader.full, "the log has more than can be taken of one; its end is left out"),
        (reader.clock.changes, "its clock was set by an hour, which was reckoned with"),
        (any(len(one.parts) > 1 for one in log.datasets), "lines are missing in it"),
        (len(log.datasets) > 1, "it holds several walks at once; a time that cannot be told apart is left out"),
    ]
    return [text for there, text in notes if there]


def _text(log: _Log) -> str:
    lines = [f"{log.path}: {log.reader.lines:,} lines, {log.reader.unknown:,} not understood"]
    for dataset in log.datasets:
        steps = dataset.total("migrations")
        unfinished = f" ({dataset.total('unfinished'):,} unfinished)" if dataset.total("unfinished") else ""
        untimed = f" and {dataset.total('untimed'):,} without a time" if dataset.total("untimed") else ""
        lines.append(
            f"  {dataset.name}: {steps:,} migration{'' if steps == 1 else 's'}{unfinished},"
            f" {plain(round(dataset.total('seconds'), 3))} s{untimed},"
            f" {f'final version {dataset.final}' if dataset.final else 'no final version'}"
        )
    return "\n".join(lines + [f"  note: {note}" for note in _notes(log)])
