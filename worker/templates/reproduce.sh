#!/bin/sh
# Does this job again, by hand: no worker and no Gearman are needed. See all options:
#
#     sh reproduce.sh --help
#
# It needs a checkout of turbo-hipster with its environment (make .venv/installed), and the folder of the datasets.
# Everything of the run lies in the folder that it names, by default ~/turbo-hipster/<id of the job>.
set -eu
here=$(cd -- "$(dirname -- "$0")" && pwd)
exec python3 - "$here" "$@" <<'PROGRAM'
import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile

JOB = json.loads(@JOB@)
PLUGIN = json.loads(@PLUGIN@)
ORIGIN = json.loads(@ORIGIN@)
DATASETS = json.loads(@DATASETS@)
READERS = {".gz": "gzip", ".zst": "zstd", ".xz": "xz"}


def options(here):
    text = "Do a job of turbo-hipster again, by hand. What follows -- goes to ansible-playbook."
    parser = argparse.ArgumentParser("reproduce.sh", description=text)
    parser.add_argument("job", nargs="?", default=os.path.join(here, "job.yaml"), help="what the job was given")
    parser.add_argument("--datasets", metavar="DIR", default=os.environ.get("TH_DATASETS_DIR", ""),
                        help="the folder of the datasets (or TH_DATASETS_DIR)")
    parser.add_argument("--clone", metavar="DIR", default=os.environ.get("TH_CLONE", "."),
                        help="a checkout of turbo-hipster, or a copy made by th init (or TH_CLONE; default: this folder)")
    parser.add_argument("--profile", metavar="FILE", default="",
                        help="the project's profile (default: the one that was published, else the checkout's)")
    parser.add_argument("--url", metavar="URL", default="", help=f"where the repository is: URL/{JOB['project']}")
    parser.add_argument("--folder", metavar="DIR", default="", help="where to do it (default: ~/turbo-hipster/<id>)")
    parser.add_argument("--check", action="store_true", help="say what is missing, and do nothing")
    words, more = sys.argv[2:], []
    if "--" in words:
        words, more = words[: words.index("--")], words[words.index("--") + 1 :]
    return parser.parse_args(words), more


def readable(path):
    """Why a file cannot be read; "" when it can."""
    try:
        with open(path, "rb"):
            return ""
    except OSError as error:
        return error.strerror


def datasets(folder, missing):
    """The variable th_datasets, with the files of this machine."""
    found = []
    if DATASETS and not folder:
        missing("datasets", f"the job tests {', '.join(item['name'] for item in DATASETS)}", "name their folder: --datasets DIR")
        return found
    if DATASETS and not os.path.isdir(folder):
        missing("--datasets", f"there is no folder {folder} that can be entered", "correct it")
        return found
    files = {}
    for item in DATASETS:
        name = item["dataset"]
        if name not in files:  # on several engines, a dataset has one file
            files[name] = file_of(folder, name, missing)
        engine = {"engine": item["engine"]} if "engine" in item else {}
        found.append({"name": item["name"], "config": files[name], **engine})
    return found


def file_of(folder, name, missing):
    """The file of a dataset."""
    places = [os.path.join(folder, f"{name}.json"), os.path.join(folder, name, "config.json")]
    file = next((place for place in places if os.path.isfile(place)), places[0])
    if why := readable(file):
        missing("datasets", f"{name}: neither {places[0]} nor {places[1]} can be read ({why})", "get it from its keeper")
    else:
        seeds(name, file, missing)
    return file


def seeds(name, file, missing):
    """Whether what the file of a dataset names is there."""
    try:
        with open(file, encoding="utf-8") as stream:
            document = json.load(stream)
        parts = document.get("databases") or {"": document}
        named = [part["seed_data"] for part in parts.values() if part.get("seed_data")]
        server = document.get("server") or {}
        named += [server["password_file"]] if server.get("password_file") else []
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        missing("datasets", f"{file} is not the file of a dataset ({error})", "see docs/datasets.md")
        return
    for word in named:
        path = os.path.join(os.path.dirname(file), str(word))
        why = "" if os.path.isdir(path) else readable(path)
        if why:
            missing("datasets", f"{name}: {path} cannot be read ({why})", f"put it there; {file} names it")
        program = READERS.get(os.path.splitext(path)[1])
        if program and not shutil.which(program):
            missing("datasets", f"{name}: {path} is packed, and {program} is not installed", f"install {program}")


def profile(given, here, clone, folder, missing):
    """The folder of profiles, as th_projects_dir has it."""
    published, own = os.path.join(here, "profile.yaml"), os.path.join(clone, "inventory", "projects", JOB["project"] + ".yaml")
    chosen = given or (published if os.path.isfile(published) else own)
    why = readable(chosen)
    if why:
        missing("profile", f"{chosen} cannot be read ({why})", "write it (docs/profiles.md), or name one: --profile FILE")
        return ""
    place = os.path.join(folder, JOB["project"] + ".yaml")
    os.makedirs(os.path.dirname(place))
    shutil.copyfile(chosen, place)
    return folder


def repository(url, ref, missing):
    """Whether git can fetch a ref of the job's project."""
    if not shutil.which("git"):
        missing("git", "it is not installed", "install git")
        return
    whole = f"{url.rstrip('/')}/{JOB['project']}"
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=15"}
    words = ["git", "ls-remote", "--exit-code", "--", whole, ref]
    try:
        with tempfile.NamedTemporaryFile("w", prefix="th-gitconfig-") as settings:
            if whole.startswith(("/", "file://")):
                # as in a job: a repository of this machine may belong to another user
                settings.write("[safe]\n\tdirectory = *\n")
                settings.flush()
                environment["GIT_CONFIG_GLOBAL"] = settings.name
            done = subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    except subprocess.TimeoutExpired:
        missing("git", f"{whole} does not answer within 60 s", "check the network, or name another place: --url URL")
        return
    if done.returncode == 2:
        missing("git", f"{whole} has no {ref} (any more): Zuul's merger forgets old changes",
                "fetch the change from where it is: --url URL -- -e @FILE with its th_job.ref")
    elif done.returncode:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[-500:]
        hidden = "; the password of the worker's address is not published" if "***" in url else ""
        missing("git", f"{whole}: {said}{hidden}", "give git access to it, or name another place: --url URL")


def main():
    here = sys.argv[1]
    given, more = options(here)
    problems = []

    def missing(subject, fact, remedy):
        problems.append(f"reproduce.sh: {subject}: {fact}; {remedy}")

    clone = os.path.abspath(given.clone)
    playbook = os.path.join("playbooks", PLUGIN, "run.yaml")
    if not os.path.isfile(os.path.join(clone, playbook)):
        missing("playbooks", f"there is no {playbook} in {clone}",
                "run this in a checkout of turbo-hipster, or name one: --clone DIR")
    if why := readable(given.job):
        missing("job.yaml", f"{given.job} cannot be read ({why})", "it is published beside this script")
    path = os.pathsep.join([os.path.join(clone, ".venv", "bin"), os.environ.get("PATH", os.defpath)])
    ansible = shutil.which("ansible-playbook", path=path)
    if not ansible:
        missing("ansible-playbook", f"it is neither in {clone}/.venv/bin nor on the PATH", "make .venv/installed there")
    for tool, package in (("bwrap", "bubblewrap"), ("mariadbd", "mariadb-server-core")):
        if DATASETS and not shutil.which(tool, path=path + ":/usr/sbin:/usr/bin:/sbin:/bin"):
            missing(tool, "it is not installed", f"install {package}")
    with tempfile.TemporaryDirectory(prefix="th-reproduce-") as folder:
        variables = {"th_job": {**JOB, "url": given.url} if given.url else JOB}
        if given.url:
            variables["th_git_origin"] = given.url
        if DATASETS is not None:
            variables["th_datasets"] = datasets(os.path.abspath(given.datasets) if given.datasets else "", missing)
            variables["th_projects_dir"] = profile(given.profile, here, clone, os.path.join(folder, "projects"), missing)
            repository(given.url or JOB["url"], JOB.get("ref") or "HEAD", missing)
            if JOB["url"] != ORIGIN and not given.url:
                repository(ORIGIN, "HEAD", missing)
        if given.folder:
            variables["th_job_dir"] = os.path.abspath(given.folder)
        for problem in problems:
            print(problem, file=sys.stderr)
        if problems or given.check:
            return 2 if problems else 0
        names = os.path.join(folder, "variables.yaml")
        with open(names, "w", encoding="utf-8") as stream:
            stream.write(yaml(variables))
        words = [ansible, playbook, "-e", f"@{os.path.abspath(given.job)}", "-e", f"@{names}", *more]
        print("reproduce.sh: in", clone + ":", shlex.join(words), flush=True)
        environment = {**os.environ, "PATH": path, "ANSIBLE_CONFIG": os.path.join(clone, "ansible.cfg")}
        return subprocess.call(words, cwd=clone, env=environment, stdin=subprocess.DEVNULL)


def yaml(value):
    """A value as YAML, on one line; a text that could be a template of Ansible's is marked as one that is none."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(yaml, value)) + "]"
    return ("!unsafe " if isinstance(value, str) and "{" in value else "") + json.dumps(value)


sys.exit(main())
PROGRAM
