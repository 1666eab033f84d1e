# SPDX-License-Identifier: Apache-2.0
"""`th check`: check the installation; prints one line for each check, with a remedy if it failed."""

import argparse
import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from worker.cli import playbooks_copy, surroundings, trial
from worker.cli.engines import engines
from worker.cli.own_steps import own_steps
from worker.cli.published import published
from worker.cli.surroundings import Check
from worker.cli.trial import Trial
from worker.config import Config, config, datasets, default_ansible_dir
from worker.errors import ConfigError, DatasetError, UsageError
from worker.inputs import documents, git_url

FREE_BYTES = 2 * 1024**3
"""The minimum free disk space, in bytes, for a job's checkout, environment and server."""

READY = "ready"
"""The name of the final check, which is emitted only if all the others passed."""

_NAMED = 3
_SERVER_SECONDS = 3.0
_TOOLS = {
    "git": "git",
    "uv": "uv (pip install uv)",
    "mariadbd": "mariadb-server-core",
    "mariadb-install-db": "mariadb-server-core",
    "mariadb": "mariadb-client-core",
    "mariadb-tzinfo-to-sql": "mariadb-client",
    "zstd": "zstd",
    "xz": "xz-utils",
    "ansible-playbook": "ansible-core (pip install ansible-core)",
}


def add_parser(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser("check", help="check the configuration and everything it names")
    parser.add_argument("-c", metavar="PATH", default=str(config.DEFAULT_PATH), help="the configuration")
    parser.add_argument("--configuration", action="store_true", help="check only that the configuration can be used")
    parser.add_argument("--quick", action="store_true", help="fetch no repository, and read no dump to its end")
    parser.add_argument("--url", metavar="URL", help="where the projects' repositories are (default: git_url)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns 0 if all checks passed, 2 otherwise."""
    if args.url and (problem := git_url.problem(args.url)):
        raise UsageError(f"--url: {git_url.mask(args.url)!r} {problem}")
    checks = []
    for one in check(Path(args.c), args.configuration, args.quick, args.url or ""):
        checks.append(one)
        if not args.json:
            remedy = f"; {one.remedy}" if one.remedy else ""
            label = "" if one.name == READY else f"[{one.level}] {one.name}: "
            print(f"{label}{one.text}{remedy}", flush=True)
    if args.json:
        print(json.dumps([asdict(one) for one in checks], indent=2))
    return 0 if all(one.ok for one in checks) else 2


def check(path: Path, alone: bool = False, quick: bool = False, url: str = "") -> Iterator[Check]:
    """Check the installation that the configuration at `path` describes; with `alone`, only that file.

    `quick` skips slow checks; `url` is the base URL of the repositories, by default the configured one.
    If all checks passed, the last one suggests a command to try.
    """
    settings = None
    try:
        settings = config.load(path)
    except ConfigError as error:
        yield Check(False, "configuration", str(error))
    else:
        yield Check(True, "configuration", f"{path}: {len(settings.jobs)} job{'s' if len(settings.jobs) != 1 else ''}")
    if alone:
        return
    well = settings is not None
    for one in _whole(settings, Trial(settings, url or settings.zuul_server.origin, quick)) if settings else ():
        well = well and one.ok
        yield one
    yield surroundings.user()
    for one in _tools():
        well = well and one.ok
        yield one
    if settings and well:
        yield Check(True, READY, f"Ready. Try a job: {_command(settings, url)}")


def _whole(settings: Config, trials: Trial) -> Iterator[Check]:
    yield from _folders(settings)
    yield from _playbooks(settings)
    yield from _datasets(settings, trials)
    yield from surroundings.capacity(settings)
    yield from surroundings.sandboxed(settings)
    yield from surroundings.gearman(settings)
    yield from surroundings.metrics(settings)
    yield from published(settings)


def _command(settings: Config, url: str) -> str:
    """The command that tries a job, for the first project with a dataset."""
    for job in settings.jobs:
        for path in datasets.find(job.datasets_dir) if job.datasets_dir else ():
            with contextlib.suppress(DatasetError):
                return trial.command(settings, job.name, datasets.load(path).project, url)
    return trial.command(settings, settings.jobs[0].name, "PROJECT", url)


def _folders(settings: Config) -> Iterator[Check]:
    for key, (folder, _) in settings.writable_dirs().items():
        there = surroundings.nearest(folder)
        if os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK):
            yield Check(True, key, f"{folder}{'' if there == folder else ' (will be made)'}")
        else:
            remedy = "change the key, or the permissions"
            where = f" ({there} cannot)" if there != folder else ""
            yield Check(False, key, f"{folder} cannot be made or written to by this user{where}", remedy)
        if key == "jobs_working_dir":
            yield _free(there)


def _free(folder: Path) -> Check:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Check(False, "disk space", f"{folder}: {error.strerror}", "change jobs_working_dir")
    remedy = "" if free >= FREE_BYTES else f"at least {FREE_BYTES // 1024**3} GiB are needed"
    return Check(free >= FREE_BYTES, "disk space", f"{free / 1024**3:.1f} GiB free in {folder}", remedy)


def _playbooks(settings: Config) -> Iterator[Check]:
    playbooks = settings.ansible_dir / "playbooks"
    plugins = dict.fromkeys(job.plugin for job in settings.jobs)
    for needed in (*(f"{plugin}/run.yaml" for plugin in plugins), "upload-logs.yaml"):
        found = os.path.isfile(playbooks / needed)
        text = f"{playbooks / needed}{'' if found else ' is not there'}"
        yield Check(found, "playbook", text, "" if found else "'th init DIR' makes a whole copy")
    yield from _copy(settings.ansible_dir)


def _copy(folder: Path) -> Iterator[Check]:
    """Check whether an operator's own copy of the playbooks is up to date with this version."""
    ours = default_ansible_dir()
    if folder.resolve() == ours.resolve():
        return
    remedy = f"'th init --diff {folder}' shows it; the box and the masks are a part of it"
    try:
        differences = playbooks_copy.compare(ours, folder)
    except OSError as error:
        yield Check(True, "copy", f"{folder} cannot be compared with {ours} ({error})", warning=True)
        return
    made = playbooks_copy.Stamp.read(folder).version
    behind = [difference.path for difference in differences if difference.state in playbooks_copy.BEHIND]
    text = f"{folder}, made from {f'turbo-hipster {made}' if made else 'a version that is not known'}"
    edited = len(differences) - len(behind)
    if behind:
        most = f"{', '.join(behind[:_NAMED])}{', …' if len(behind) > _NAMED else ''}"
        many = f"{len(behind)} files are" if len(behind) > 1 else "a file is"
        yield Check(True, "copy", f"{text}: {many} older than this worker's: {most}", remedy, warning=True)
    else:
        yield Check(True, "copy", f"{text}: up to date{f', {edited} edited' if edited else ''}")


def _datasets(settings: Config, trials: Trial) -> Iterator[Check]:
    projects: dict[str, list[datasets.Dataset]] = {}
    for folder in dict.fromkeys(job.datasets_dir for job in settings.jobs if job.datasets_dir):
        try:
            found = datasets.find(folder)
        except DatasetError as error:
            yield Check(False, "datasets", str(error))
            continue
        if not found:
            yield Check(False, "datasets", f"there is no dataset in {folder}", "put one there, or change datasets_dir")
        for path in found:
            try:
                dataset = datasets.load(path)
            except DatasetError as error:
                yield Check(False, "dataset", str(error))
                continue
            projects.setdefault(dataset.project, []).append(dataset)
            yield _dataset(settings, dataset)
    yield from _chosen(settings)
    yield from engines(settings, [dataset for tested in projects.values() for dataset in tested])
    for project, tested in projects.items():
        yield from trials.project(project, tested)
        yield from own_steps(settings, project)


def _dataset(settings: Config, dataset: datasets.Dataset) -> Check:
    for part in dataset.parts:
        if part.seed and not os.access(part.seed, os.R_OK):
            text = f"{dataset.config_path}: seed_data: {part.seed} cannot be read"
            return Check(False, "dataset", text, "put the dump there")
    names = _profile_names(settings, dataset.project)
    parts = [part.name for part in dataset.parts]
    if names is not None and sorted(names) != sorted(parts):
        has, needs = (", ".join(sorted(some)) if any(some) else "only one" for some in (parts, names))
        text = f"{dataset.config_path}: databases: there are {has}, the profile has {needs}"
        return Check(False, "dataset", text, "give the dataset a part for each database of the profile")
    if dataset.server and (problem := _password_problem(dataset.server.password_file)):
        return Check(False, "dataset", f"{dataset.config_path}: server.password_file: {problem}", "fix it")
    if dataset.server and dataset.server.ssl_ca and (problem := _ca_problem(dataset.server.ssl_ca)):
        return Check(False, "dataset", f"{dataset.config_path}: server.ssl_ca: {problem}", "fix it")
    if dataset.server and (problem := _unreachable(dataset.server)):
        text = f"{dataset.config_path}: server: {dataset.server.place} does not answer: {problem}"
        return Check(False, "dataset", text, "start it, or correct host, port or socket")
    seeds = [str(part.seed) for part in dataset.parts if part.seed]
    place = [f"on {dataset.server.place}{' (preloaded)' if dataset.preloaded else ''}"] if dataset.server else []
    place += [f"on {engine}" for engine in dataset.engines]
    return Check(True, "dataset", f"{dataset.name} for {dataset.project}: {', '.join(seeds + place)}")


def _profile_names(settings: Config, project: str) -> list[str] | None:
    """The database names in a profile, which the dataset's parts must match; None if the profile cannot be read."""
    try:
        profile = documents.read_mapping(settings.projects_dir / f"{project}.yaml")
    except ConfigError:
        return None  # reported by `Trial.project`
    several = profile.get("databases", {"": None})
    return [str(name) for name in several] if isinstance(several, dict) else None


def _password_problem(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    if not os.access(path, os.R_OK):
        return f"{path} cannot be read by this user"
    return f"{path} can be read by others: chmod 600 {path}" if mode & 0o077 else ""


def _ca_problem(path: Path) -> str:
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return f"{path} holds no certificate in PEM form"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    return ""


def _unreachable(server: datasets.ExternalServer) -> str:
    try:
        if server.socket:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(_SERVER_SECONDS)
                client.connect(server.socket)
        else:
            socket.create_connection((server.host, server.port), _SERVER_SECONDS).close()
    except OSError as error:
        return str(error)
    return ""


def _chosen(settings: Config) -> Iterator[Check]:
    """Check that the dataset names and tags that jobs select exist."""
    for job in settings.jobs:
        if not job.datasets_dir:
            continue
        pipelines = {f"pipelines.{name}": wanted for name, wanted in job.pipelines.items()}
        for key, wanted in {"datasets": job.datasets, **pipelines}.items():
            try:
                unknown = datasets.unknown(job.datasets_dir, wanted)
            except DatasetError:
                return  # reported already
            for word in unknown:
                text = f"{job.name}: {key}: {word!r} is neither a name nor a tag of a dataset in {job.datasets_dir}"
                yield Check(False, "datasets", text, "correct it, or give a dataset this tag")


def _tools() -> Iterator[Check]:
    for tool, package in _TOOLS.items():
        found = shutil.which(tool, path=surroundings.PATH)
        yield Check(bool(found), "tool", f"{tool}: {found or 'is not there'}", "" if found else f"install {package}")
