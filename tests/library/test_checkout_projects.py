# SPDX-License-Identifier: Apache-2.0
"""The migrations of real projects, read from git and compared with what their own tools say of the same files."""

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_checkout.trees import Forest
from ansible.module_utils.th_environment.uv import uv_path
from ansible.module_utils.th_git.client import Git, RetryPolicy
from ansible.module_utils.th_sandbox.capped_log import CappedLog
from ansible.module_utils.th_tools.profile import check_profile
from ansible.module_utils.th_tools.revisions import Tree

from tests.kit.git_server import Repository

ALEMBIC_SAYS = """
import ast, json, sys, types
import alembic.util
from alembic.config import Config
from alembic.script import ScriptDirectory

def load(folder, name):
    # the variables of a script, without what it imports: the project is not installed
    module = types.ModuleType(str(name))
    with open(f"{folder}/{name}", "rb") as stream:
        body = ast.parse(stream.read()).body
    for statement in body:
        try:
            exec(compile(ast.Module([statement], []), str(name), "exec"), module.__dict__)
        except Exception:
            pass
    return module

alembic.util.load_python_file = load
config = Config()
config.set_main_option("script_location", sys.argv[1])
config.set_main_option("recursive_version_locations", sys.argv[2])
scripts = ScriptDirectory.from_config(config)
before = {
    one.revision: sorted({*one._versioned_down_revisions, *one._resolved_dependencies})
    for one in scripts.walk_revisions()
}
print(json.dumps({"heads": sorted(scripts.get_heads(consider_depends_on=True)), "before": before}))
"""


def alembic_says(script_location: Path, recursive: bool) -> dict[str, Any]:
    words = [sys.executable, "-c", ALEMBIC_SAYS, str(script_location), str(recursive).lower()]
    return dict(json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout))


def before(tree: Tree) -> dict[str, list[str]]:
    return {name: sorted(revision.before) for name, revision in tree.revisions.items()}


Fetch = Callable[..., Repository]


@pytest.fixture(scope="module")
def fetch(tmp_path_factory: pytest.TempPathFactory) -> Fetch:
    """Puts a part of a package of the index into a git repository."""
    downloads = tmp_path_factory.mktemp("downloads")

    def download(name: str, version: str, kind: str) -> Path:
        target = downloads / f"{name}-{version}"
        if not target.exists():
            words = ("download", "--quiet", "--no-deps", kind, ":all:", "--dest", str(target), f"{name}=={version}")
            subprocess.run([sys.executable, "-m", "pip", *words], check=True)
        return next(path for path in target.iterdir())

    def files(archive: Path) -> Iterator[tuple[str, bytes]]:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                yield from ((name, wheel.read(name)) for name in wheel.namelist())
        else:
            with tarfile.open(archive) as tar:
                for member in tar:
                    if member.isfile():
                        stream = tar.extractfile(member) or io.BytesIO()
                        yield member.name.partition("/")[2], stream.read()

    def make(name: str, version: str, *prefixes: str, kind: str = "--only-binary") -> Repository:
        repository = Repository(tmp_path_factory.mktemp("served") / name)
        for path, content in files(download(name, version, kind)):
            if path.startswith(prefixes) and not path.endswith("/"):
                (repository.folder / path).parent.mkdir(parents=True, exist_ok=True)
                (repository.folder / path).write_bytes(content)
        repository.commit({})
        return repository

    return make


def forest(repository: Repository, described: Mapping[str, Any]) -> Forest:
    log = CappedLog(repository.folder.parent / "log", 10**6)
    return Forest(Git(log, (), RetryPolicy()), repository.folder, check_profile(dict(described))["databases"])


PROJECTS = {
    "neutron": ("29.0.0", "neutron/db/migration", "neutron/db/migration/alembic.ini", True, 133, 2),
    "keystone": ("30.0.0", "keystone/common/sql", "keystone/common/sql/alembic.ini", True, 10, 2),
    "glance": ("33.0.0", "glance/db/sqlalchemy", "glance/db/sqlalchemy/alembic_migrations/alembic.ini", False, 29, 1),
    "apache-superset": ("4.1.4", "superset/migrations", "superset/migrations/alembic.ini", False, 326, 1),
}


@pytest.mark.parametrize("project", PROJECTS)
def test_alembics_own_heads(fetch: Fetch, project: str) -> None:
    version, folder, config, recursive, count, heads = PROJECTS[project]
    kind = "--no-binary" if project == "apache-superset" else "--only-binary"
    repository = fetch(project, version, folder, kind=kind)
    script_location = {
        "neutron": "neutron/db/migration/alembic_migrations",
        "keystone": "keystone/common/sql/migrations",
        "glance": "glance/db/sqlalchemy/alembic_migrations",
    }.get(project, folder)
    migrations = {"tool": "alembic", "config": config, "recursive_version_locations": recursive, "heads": heads}
    if project != "keystone":  # keystone's file says where they are, from its own folder
        migrations["script_location"] = script_location
    tree = forest(repository, {"migrations": migrations}).read("HEAD")
    said = alembic_says(repository.folder / script_location, recursive)
    assert tree.unreadable == ()
    assert tree.heads() == said["heads"]
    assert before(tree) == said["before"]
    assert (len(tree.revisions), len(tree.heads())) == (count, heads)
    assert tree.orphans() == []


def test_two_databases_are_one_forest(fetch: Fetch) -> None:
    repository = fetch("nova", "34.0.0", "nova/db/")
    places = {name: f"nova/db/{name}" for name in ("api", "main")}
    databases = {name: {"tool": "alembic", "config": f"{place}/alembic.ini"} for name, place in places.items()}
    read = forest(repository, {"databases": databases})
    tree = read.read("HEAD")
    heads, every = [], {}
    for name, place in places.items():
        said = alembic_says(repository.folder / place / "migrations", False)
        heads += [f"{name}:{head}" for head in said["heads"]]
        every |= {f"{name}:{one}": [f"{name}:{down}" for down in downs] for one, downs in said["before"].items()}
    assert tree.heads() == heads == ["api:cdeec0c85668", "main:ab450ba04102"]
    assert before(tree) == every and len(tree.revisions) == 13
    assert tree.orphans() == []
    assert tree.order()[0] == "api:d67eeaabee36"
    assert read.folders("HEAD") == ["nova/db/api/migrations/versions", "nova/db/main/migrations/versions"]


def test_numbered_versions_of_two_databases(fetch: Fetch) -> None:
    repository = fetch("nova", "23.1.0", "nova/db/sqlalchemy/")
    place = "nova/db/sqlalchemy"
    databases = {
        "main": {
            "tool": "sqlalchemy_migrate",
            "repository": [f"{place}/cell_migrations/migrate_repo", f"{place}/migrate_repo"],
        },
        "api": {"tool": "sqlalchemy_migrate", "repository": [f"{place}/api_migrations/migrate_repo"]},
    }
    read = forest(repository, {"databases": databases})
    assert read.read("HEAD").heads() == ["api:82", "main:417"]
    assert read.folders("HEAD") == [f"{place}/migrate_repo/versions", f"{place}/api_migrations/migrate_repo/versions"]
    (repository.folder / place / "cell_migrations").mkdir()
    repository.git("mv", f"{place}/migrate_repo", f"{place}/cell_migrations/")
    moved = repository.commit({})
    assert read.read(moved).revisions.keys() == read.read("HEAD~1").revisions.keys()
    assert read.folders(moved)[0] == f"{place}/cell_migrations/migrate_repo/versions"


DJANGO_SAYS = """
import json, sys
import django
from django.conf import settings
from oscar import INSTALLED_APPS
from oscar.defaults import *

settings.configure(
    INSTALLED_APPS=INSTALLED_APPS, SECRET_KEY="x", SITE_ID=1, USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    HAYSTACK_CONNECTIONS={"default": {"ENGINE": "haystack.backends.simple_backend.SimpleEngine"}},
    **{name: value for name, value in globals().items() if name.startswith("OSCAR_")},
)
django.setup()
from django.apps import apps
from django.db.migrations.loader import MigrationLoader

graph = MigrationLoader(None).graph
ours = {app.label for app in apps.get_app_configs() if app.name.startswith("oscar.")}
name = ".".join
print(json.dumps({
    "leaves": sorted(name(key) for key in graph.leaf_nodes() if key[0] in ours),
    "before": {
        name(key): sorted(name(one.key) for one in node.parents if one.key[0] in ours)
        for key, node in graph.node_map.items() if key[0] in ours
    },
}))
"""


def test_djangos_own_graph(fetch: Fetch, tmp_path: Path) -> None:
    needed = ["django-oscar[sorl-thumbnail]==4.2.1", "setuptools<81"]
    for words in (["venv", "--no-project", "venv"], ["pip", "install", "--python", "venv", *needed]):
        subprocess.run([uv_path(), "--quiet", *words], cwd=tmp_path, check=True)
    words = [str(tmp_path / "venv/bin/python"), "-W", "ignore", "-c", DJANGO_SAYS]
    said = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
    repository = fetch("django-oscar", "4.2.1", "oscar/")
    described = {"migrations": {"tool": "django", "settings": "shop.settings"}}
    read = forest(repository, described)
    tree = read.read("HEAD")
    assert tree.unreadable == ()
    assert before(tree) == said["before"]
    within = {one for revision in tree.revisions.values() for one in revision.down}
    assert sorted(tree.revisions.keys() - within) == tree.leaves() == said["leaves"]
    assert tree.orphans() == []
    across = {one for ones in said["before"].values() for one in ones}
    assert tree.heads() == sorted(said["before"].keys() - across)
    apps = read.folders("HEAD")
    named = {"tool": "django", "settings": "shop.settings", "apps": apps, "labels": {apps[0]: "somewhere"}}
    assert len(apps) == len(said["leaves"])
    other = forest(repository, {"migrations": named}).read("HEAD")
    assert len(other.revisions) == len(tree.revisions)
    assert {name for name in other.revisions if name.startswith("somewhere.")}
