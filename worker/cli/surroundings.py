# SPDX-License-Identifier: Apache-2.0
"""The part of `th check` about the worker's environment: its user, slots and sensors, the sandbox and its limits, the
Gearman server and the metrics; and a helper to run a playbook."""

from __future__ import annotations

import datetime
import http.client
import json
import os
import pwd
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker import sandbox
from worker.config import Config, monitoring, tls
from worker.config.resources import default_slots
from worker.errors import ConfigError
from worker.inputs import documents
from worker.observe import sensors

EXPIRY_DAYS = 30
"""A certificate that expires in fewer days than this causes a warning."""

# Programs of this environment come first, as in jobs. The sbin folders come last: they hold the database servers, and
# Debian does not put them in a user's PATH.
PATH = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"]
)
"""The search path for programs."""

_GEARMAN_SECONDS = 3.0
_METRICS_SECONDS = 3.0
_PLAY_SECONDS = 60.0
_SANDBOX_PLAYBOOK = Path("playbooks") / "check-sandbox.yaml"
_DELEGATE = "give the worker a control group of its own (docs/security.md, 'Limits')"


@dataclass(frozen=True)
class Check:
    """The result of one check: whether it is `ok`, what was checked, what was found, and how to fix it.

    `ok` with `warning` means that it works, but should be changed.
    """

    ok: bool
    name: str
    text: str
    remedy: str = ""
    warning: bool = False

    @property
    def level(self) -> str:
        """ok, warn or fail."""
        return "fail" if not self.ok else "warn" if self.warning else "ok"


def user() -> Check:
    """Check which user runs this command; it should be the user that runs the worker."""
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = "a user without a name"
    if uid:
        return Check(True, "user", f"{name} (uid {uid})")
    remedy = "run the worker as an unprivileged user: playbooks/prepare-host.yaml -e prepare_host_service_user=NAME"
    return Check(True, "user", "root, whose rights nothing here needs", remedy, warning=True)


def capacity(settings: Config) -> Iterator[Check]:
    """Check how many jobs run at once, and whether a sensor keeps the worker from taking a job now."""
    fitting = default_slots()
    text = f"{settings.slots} jobs at once" if settings.slots > 1 else "one job at once"
    if settings.slots <= fitting:
        yield Check(True, "slots", text)
    else:
        remedy = "what is measured may suffer, and memory run out: fewer slots"
        yield Check(True, "slots", f"{text}; this machine is good for {fitting}", remedy, warning=True)
    for sensor in sensors.of(settings):
        reported = isinstance(sensor, sensors.Sandbox)  # reported by `isolation`
        will_be_made = isinstance(sensor, sensors.DiskFree) and sensor.missing
        if not reported and not will_be_made:
            state = sensors.ask(sensor)
            text = state.name if state.ok else f"no job would be taken now: {state.reason}"
            yield Check(True, "sensor", text, warning=not state.ok)


def sandboxed(settings: Config) -> Iterator[Check]:
    """Check the sandbox and its limits, with a box set up as for a job."""
    isolated, made = isolation(settings), list(limits(settings))
    if all(one.ok for one in made):
        yield isolated
    yield from made


def isolation(settings: Config) -> Check:
    """Check how the code of a change is isolated."""
    if not settings.confined:
        text = f"none: the code of every change under test runs unconfined, as uid {os.geteuid()}"
        return Check(True, "sandbox", text, "set sandbox: bubblewrap", warning=True)
    if why := sandbox.problem():
        text, _, remedy = why.partition("; ")
        return Check(False, "sandbox", text, remedy)
    *most, last = sandbox.NAMESPACES
    parts = [f"bubblewrap {sandbox.version()}: own {', '.join(most)} and {last} namespaces", f"as uid {os.geteuid()}"]
    return Check(True, "sandbox", "; ".join(parts))


def limits(settings: Config) -> Iterator[Check]:
    """Check which limits apply to the code of a change, as a playbook reports them from inside a box."""
    playbook = settings.ansible_dir / _SANDBOX_PLAYBOOK
    if not os.path.isfile(playbook):
        text = f"{playbook} is not there: these playbooks are of an older version"
        yield Check(True, "limits", text, "'th init DIR' makes a whole copy", warning=True)
        return
    if settings.confined and sandbox.problem():
        return  # reported by `isolation`
    with tempfile.TemporaryDirectory(prefix="th-check-") as made:
        file = Path(made) / "sandbox.json"
        jobs_dir = nearest(settings.jobs_working_dir)
        program = settings.ansible_dir / "roles" / "run_migrations" / "files"
        variables = {
            "th_sandbox_report": str(file),
            # a folder that cannot be written to is reported by the check of that folder
            "th_jobs_dir": str(jobs_dir) if os.access(jobs_dir, os.W_OK | os.X_OK) else "",
            "th_read_only": [str(settings.environments_dir), str(program)],
            **({} if settings.confined else {"sandbox": "none"}),
        }
        try:
            done = play(settings, playbook, variables, Path(made))
            report = json.loads(file.read_text("utf-8"))
        except FileNotFoundError:
            yield Check(False, "limits", f"{playbook} has failed: {' '.join(done.stdout.split())[-500:]}")
            return
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            yield Check(False, "limits", f"{playbook} could not be run: {error}")
            return
    if "error" in report:
        remedy = "run this as the user that runs the worker, and see whether that user may enter the folder named here"
        yield Check(False, "sandbox", str(report["error"]).rstrip("."), remedy)
        return
    if report["kind"] != "none":
        yield _inside(report)
    yield _limits(report)


def nearest(folder: Path) -> Path:
    """The folder itself, or its nearest parent that exists, as far as this user can see."""
    while not os.path.exists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _inside(report: Mapping[str, Any]) -> Check:
    """Check what the kernel reports about a process in a box."""
    facts = {
        "no new privileges": report["no_new_privileges"],
        "no capability": not int(report["capabilities"], 16),
        "a filter of system calls (seccomp)": report["seccomp"],
        "no network but a loopback": report["network"] == ["lo"],
    }
    missing = [words for words, holds in facts.items() if not holds]
    text = f"in a box: {', '.join(words for words, holds in facts.items() if holds)}"
    if not missing:
        return Check(True, "sandbox", text)
    text += f"; missing: {', '.join(missing)}"
    return Check(True, "sandbox", text, "see sandbox_* in sandbox.yaml", warning=True)


def _limits(report: Mapping[str, Any]) -> Check:
    names = {"memory": "memory", "processes": "processes", "cpu_seconds": "processor time", "disk": "disk"}
    by: dict[str, list[str]] = {}
    for name, words in names.items():
        if report["limits"][name]:
            by.setdefault(report["held"][name], []).append(words)
    parts = [f"{', '.join(held)}: {'looked at' if how == 'looking' else how}" for how, held in by.items()]
    off = [words for name, words in names.items() if not report["limits"][name]]
    if off:
        parts.append(f"{', '.join(off)}: no limit")
    text = "; ".join([*parts, f"one process: {report['rlimits']['open_files']} open files"])
    seen = set(by.get("looking", ())) - {names["disk"]}
    return Check(True, "limits", text, _DELEGATE if seen else "", warning=bool(seen or off))


def play(
    settings: Config, playbook: Path, variables: Mapping[str, Any], folder: Path, seconds: float = _PLAY_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run a playbook with variables, which are written to `folder`. Raises OSError, subprocess.SubprocessError."""
    job = folder / "job.yaml"
    job.write_text(documents.ansible_variables(variables), "utf-8")
    inventory = settings.ansible_dir / "inventory" / "hosts.yaml"
    return subprocess.run(
        ["ansible-playbook", "-i", str(inventory), str(playbook), "-e", f"@{job}"],
        env={**os.environ, "PATH": PATH, "ANSIBLE_CONFIG": str(settings.ansible_dir / "ansible.cfg")},
        cwd=settings.ansible_dir,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds,
    )


def gearman(settings: Config) -> Iterator[Check]:
    """Check that the Gearman server can be reached and accepts this worker."""
    server = settings.zuul_server
    if server.embedded:
        yield Check(True, "gearman", "embedded: the worker is its own server, reachable from this machine only")
        return
    host, port, files = server.gearman_host, server.gearman_port, server.ssl
    try:
        if files is None:
            socket.create_connection((host, port), _GEARMAN_SECONDS).close()
            yield Check(True, "gearman", f"a server listens at {host}:{port}; without TLS")
            return
        theirs = tls.certificate(host, port, files, _GEARMAN_SECONDS)
    except tls.RefusedError as error:
        text = f"the server at {host}:{port} cannot be used with TLS: {error}"
        yield Check(False, "gearman", text, "check zuul_server.gearman_ssl_ca, _cert, _key and _name")
    except OSError as error:
        text = f"no server at {host}:{port} ({error})"
        yield Check(False, "gearman", text, "start it, or change zuul_server.gearman_host and gearman_port")
    else:
        text = f"a server listens at {host}:{port}; TLS, certificate of {theirs.name} until {theirs.until:%Y-%m-%d}"
        yield _lasting(text, theirs.until, "have the server's certificate renewed")
    if files:
        until = _until(files.cert)
        text = f"our own certificate, {files.cert}, until {until:%Y-%m-%d}"
        yield _lasting(text, until, f"renew {files.cert}")


def metrics(settings: Config) -> Iterator[Check]:
    """Check that Prometheus can fetch metrics at their port, or could if a worker were running."""
    host, port = settings.monitoring.metrics_host, settings.monitoring.metrics_port
    if not port:
        return
    url = monitoring.url(host, port)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        monitoring.demand(settings.path, settings.monitoring)
        yield Check(True, "metrics", f"{url}: the port is free for a worker")
    except ConfigError as error:
        try:
            with direct.open(url, timeout=_METRICS_SECONDS) as answer:
                served = b"turbo_hipster_worker_info" in answer.read()
        except (OSError, ValueError, http.client.HTTPException):
            served = False
        yield Check(True, "metrics", f"a worker serves {url}") if served else Check(False, "metrics", str(error))


def _lasting(text: str, until: datetime.datetime, remedy: str) -> Check:
    left = until - datetime.datetime.now(datetime.UTC)
    if left > datetime.timedelta(days=EXPIRY_DAYS):
        return Check(True, "gearman", text)
    lasts = left.total_seconds() > 0
    return Check(lasts, "gearman", f"{text}: {max(left.days, 0)} days are left", remedy, warning=True)


def _until(path: Path) -> datetime.datetime:
    from cryptography import x509

    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
