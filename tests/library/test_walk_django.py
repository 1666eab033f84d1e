# SPDX-License-Identifier: Apache-2.0
"""Walking with Django: a small project that has every kind of migration, and a real one, both on a real server."""

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.th_measure import meter
from ansible.module_utils.th_server import mariadb, private_server
from ansible.module_utils.th_server.engine import Engine, of_machine
from ansible.module_utils.th_tools.django_trees import may_matter, read_django_tree
from ansible.module_utils.th_walk.walk import DatasetWalk
from ansible.module_utils.th_walk.walkers import WalkLimits

from tests.kit import ROOT, boxes, shared
from tests.kit import toy as alembic_toy
from tests.kit.engines import mysql, mysql_options

PROGRAMS = ROOT / "roles" / "run_migrations" / "files"
PROGRAM = PROGRAMS / "walk_django.py"
OPTIONS = [
    "--character-set-server=utf8mb4",
    "--innodb-log-file-size=32M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=OFF",
    "--sync-frm=OFF",
    "--performance-schema=OFF",
    "--userstat=ON",
]
PASSWORD = 'it\'s "odd" %s\\'


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment of a real project, django-oscar, from the package index."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for words in (
        ["venv", "--quiet", "--python", sys.executable, str(folder)],
        ["pip", "install", "--quiet", "--python", str(folder), "django-oscar[sorl-thumbnail]==4.2.1", "pymysql>=1.1"],
    ):
        subprocess.run([sys.executable, "-m", "uv", *words], check=True, env=environment)
    return folder


@contextmanager
def started(folder: Path, engine: Engine, options: list[str]) -> Iterator[mariadb.Server]:
    folder.mkdir(parents=True)
    shared.create_data(folder, options, boxes.settings(), engine)
    running = private_server.start(
        folder, engine,
        databases={"": "dataset"}, user="dataset", password=PASSWORD, options=options, time_limit=300,
        sandbox=boxes.settings(),
    )
    yield running
    mariadb.stop(running, 0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mariadb.Server]:
    with started(tmp_path_factory.mktemp("job") / "db" / "toy", of_machine(), OPTIONS) as running:
        yield running


@pytest.fixture
def database(server: mariadb.Server) -> mariadb.Server:
    """The server with an empty database."""
    sql(server, "DROP DATABASE dataset", "CREATE DATABASE dataset")
    return server


def sql(server: mariadb.Server, *statements: str) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    with mariadb.connect(server, server.admin_file, database="dataset") as connection:
        for statement in statements:
            rows = mariadb.query(connection, statement)
    return rows


def recorded(server: mariadb.Server) -> list[str]:
    """What django_migrations holds, as the walk's names, in the order in which it was recorded."""
    if not sql(server, "SHOW TABLES LIKE 'django_migrations'"):
        return []  # Django makes it after it has planned
    return [name for (name,) in sql(server, "SELECT CONCAT(app, '.', name) FROM django_migrations ORDER BY id")]


@dataclass
class Walked:
    """What the walking side said, and what the server counted during each step."""

    plans: list[list[tuple[str, str]]] = field(default_factory=list)
    done: list[dict[str, int | None]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    output: str = ""

    @property
    def steps(self) -> list[str]:
        return [after for plan in self.plans for _, after in plan]


@dataclass
class Project:
    """A Django project in a folder, walked as the measuring side walks it."""

    folder: Path
    venv: Path
    server: mariadb.Server
    settings: str = "settings"
    request: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))

    def walk(self, before: Callable[[str], bool] = lambda _: True, **more: Any) -> Walked:
        """Walk; `before` is called with each step's name, and ends the walk there when it returns False."""
        account = mariadb.read_account(self.server.job_file)
        request = {
            "settings": self.settings,
            "alias": "default",
            "options": {"charset": "utf8mb4"},
            "database": {"name": "dataset", **account, "socket": self.server.socket, "host": "", "port": ""},
            "command": [],
            "target": [],
            "direction": "up",
            "script_folders": [os.path.realpath(path) for path in self.folder.glob("*/migrations")],
            **self.request,
            **more,
        }
        ours, theirs = socket.socketpair()
        output = self.folder.parent / "output"
        with ours, output.open("w") as stream:
            with theirs:
                process = subprocess.Popen(
                    [str(self.venv / "bin" / "python"), str(PROGRAM), str(theirs.fileno())],
                    cwd=self.folder,
                    env={"PATH": f"{self.venv / 'bin'}:/usr/bin:/bin", "LANG": "C.UTF-8", **self.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    pass_fds=[theirs.fileno()],
                )
            try:
                walked = self._talk(ours, request, before)
            finally:
                ours.close()
                status = process.wait(300)
        walked.output = output.read_text()
        assert status == (1 if walked.error else 0), walked.output
        return walked

    def _talk(self, channel: socket.socket, request: Mapping[str, Any], before: Callable[[str], bool]) -> Walked:
        walked, stream = Walked(), channel.makefile("rw")
        told = iter(lambda: json.loads(stream.readline() or '{"error": {"text": "gone"}}'), None)
        print(json.dumps(request), file=stream, flush=True)
        for message in told:
            if "plan" in message:
                walked.plans.append([(below, above) for below, above in message["plan"]])
                for below, above in walked.plans[-1]:
                    if not before(above if request["direction"] == "up" else below):
                        return Walked(walked.plans, walked.done, {"text": "left"})
                    with mariadb.connect(self.server, self.server.admin_file) as connection:
                        reading = meter.read(connection, self.server)
                    print(json.dumps({"go": len(walked.done)}), file=stream, flush=True)
                    answer = next(told)
                    with mariadb.connect(self.server, self.server.admin_file) as connection:
                        counters = meter.read(connection, self.server).since(reading)
                    if "error" in answer:
                        walked.error = answer["error"]
                        return walked
                    assert answer == {"done": len(walked.done)}
                    print(json.dumps({"seen": len(walked.done)}), file=stream, flush=True)
                    walked.done.append(counters)
                continue
            walked.error = message.get("error")
            assert walked.error or message == {"end": True}
            break
        return walked


def measured(project: Project, **profile: Any) -> list[dict[str, Any]]:
    """The events of the real measuring side's walk, with the tree as the checkout reads it."""
    job_dir = Path(project.server.folder).parents[1]
    files = [(str(path.relative_to(project.folder)), path.read_bytes()) for path in project.folder.glob("**/*.py")]
    tree, folders = read_django_tree([(name, content) for name, content in files if may_matter(name)])
    assert not tree.unreadable
    stage = {"name": "change 1,1", "slug": "change", "kind": "change", "commit": "1" * 40}
    revisions = {
        name: {"down": list(one.before), "file": one.file, "replaces": list(one.replaces)}
        for name, one in tree.revisions.items()
    }
    checkout = {"stages": [{**stage, "heads": tree.heads(), "folders": folders}], "revisions": revisions}
    built = {"stage": "change", "src": str(project.folder), "venv": str(project.venv), "prefix": sys.base_prefix}
    artifacts = job_dir / "artifacts"
    artifacts.mkdir(exist_ok=True)
    (artifacts / "checkout.json").write_text(json.dumps(checkout))
    (artifacts / "environment.json").write_text(json.dumps({"environments": [built]}))
    (artifacts / "walk-toy.jsonl").unlink(missing_ok=True)
    database = {"tool": "django", "settings": "settings", "options": {"charset": "utf8mb4"}}
    described = alembic_toy.profile(database, **profile)
    DatasetWalk(job_dir, "toy", described, WalkLimits(300, 300, 100_000), PROGRAMS, boxes.settings()).run()
    return alembic_toy.events(job_dir, "toy")


OSCAR = {
    "settings.py": """
        from oscar.defaults import *

        SECRET_KEY = "none"
        INSTALLED_APPS = [
            "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
            "django.contrib.messages", "django.contrib.staticfiles", "django.contrib.sites",
            "django.contrib.flatpages", "oscar.config.Shop", "oscar.apps.analytics.apps.AnalyticsConfig",
            "oscar.apps.checkout.apps.CheckoutConfig", "oscar.apps.address.apps.AddressConfig",
            "oscar.apps.shipping.apps.ShippingConfig", "oscar.apps.catalogue.apps.CatalogueConfig",
            "oscar.apps.catalogue.reviews.apps.CatalogueReviewsConfig",
            "oscar.apps.communication.apps.CommunicationConfig", "oscar.apps.partner.apps.PartnerConfig",
            "oscar.apps.basket.apps.BasketConfig", "oscar.apps.payment.apps.PaymentConfig",
            "oscar.apps.offer.apps.OfferConfig", "oscar.apps.order.apps.OrderConfig",
            "oscar.apps.customer.apps.CustomerConfig", "oscar.apps.search.apps.SearchConfig",
            "oscar.apps.voucher.apps.VoucherConfig", "oscar.apps.wishlists.apps.WishlistsConfig",
            "oscar.apps.dashboard.apps.DashboardConfig",
            "oscar.apps.dashboard.reports.apps.ReportsDashboardConfig",
            "oscar.apps.dashboard.users.apps.UsersDashboardConfig",
            "oscar.apps.dashboard.orders.apps.OrdersDashboardConfig",
            "oscar.apps.dashboard.catalogue.apps.CatalogueDashboardConfig",
            "oscar.apps.dashboard.offers.apps.OffersDashboardConfig",
            "oscar.apps.dashboard.partners.apps.PartnersDashboardConfig",
            "oscar.apps.dashboard.pages.apps.PagesDashboardConfig",
            "oscar.apps.dashboard.ranges.apps.RangesDashboardConfig",
            "oscar.apps.dashboard.reviews.apps.ReviewsDashboardConfig",
            "oscar.apps.dashboard.vouchers.apps.VouchersDashboardConfig",
            "oscar.apps.dashboard.communications.apps.CommunicationsDashboardConfig",
            "oscar.apps.dashboard.shipping.apps.ShippingDashboardConfig",
            "widget_tweaks", "haystack", "treebeard", "sorl.thumbnail", "django_tables2",
        ]
        SITE_ID = 1
        DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
        AUTHENTICATION_BACKENDS = ("oscar.apps.customer.auth_backends.EmailBackend",)
        TEMPLATES = [{
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {"context_processors": [
                "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]},
        }]
        MIDDLEWARE = [
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ]
        HAYSTACK_CONNECTIONS = {"default": {"ENGINE": "haystack.backends.simple_backend.SimpleEngine"}}
        STATIC_URL = "/static/"
        ROOT_URLCONF = "urls"
        DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3", "ATOMIC_REQUESTS": True}}
    """,
    "urls.py": """
        from django.apps import apps
        from django.urls import include, path

        urlpatterns = [path("", include(apps.get_app_config("oscar").urls[0]))]
    """,
}


RENAMED = ["basket.0010_json_basket_option", "order.0008_surcharge", "order.0012_json_option_value"]


@pytest.fixture
def oscar(tmp_path: Path, venv: Path, database: mariadb.Server) -> Project:
    return oscar_on(database, tmp_path, venv)


def oscar_on(server: mariadb.Server, tmp_path: Path, venv: Path) -> Project:
    """It is in the checkout, as where it is developed; its dependencies are in the environment."""
    project = Project(tmp_path / "src", venv, server)
    project.write(OSCAR)
    (installed,) = (venv / "lib").glob("*/site-packages/oscar")
    shutil.copytree(installed, project.folder / "oscar", ignore=shutil.ignore_patterns("static", "locale"))
    return project


def plan_of_django(project: Project) -> list[str]:
    """What Django itself says that it would do."""
    place = {"NAME": "dataset", "USER": "dataset", "PASSWORD": PASSWORD, "HOST": project.server.socket}
    project.write(
        {
            "here.py": f"""
                import pymysql
                from settings import *

                pymysql.install_as_MySQLdb()
                DATABASES = {{"default": {{"ENGINE": "django.db.backends.mysql", **{place!r}}}}}
            """
        }
    )
    command = [str(project.venv / "bin" / "django-admin"), "migrate", "--plan", "--settings=here", "--pythonpath=."]
    listed = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines()[1:] if not line.startswith(" ")]


def test_a_real_project_from_empty_stopped_on_its_way_failing_on_its_data_and_finished(oscar: Project) -> None:
    stop = "voucher.0010_auto_20210224_0712"
    planned = plan_of_django(oscar)
    first = oscar.walk(before=lambda name: name != stop)
    everything = first.plans[0]
    names = [after for _, after in everything]
    assert names == planned and len(names) == len(set(names)) == 156
    assert len(first.done) == names.index(stop) > 100
    assert all(value is not None for counters in first.done for value in counters.values())
    assert all(counters["rows_changed"] for counters in first.done)  # at least the row of django_migrations
    assert [name for name in recorded(oscar.server) if name in names] == names[: len(first.done)]

    # what its unique constraint of 2021 refuses: the names of vouchers were made unique, those of sets were not
    values = "('Spring', 1, 8, '', NOW(), NOW(), NOW())"
    columns = "(name, count, code_length, description, date_created, start_datetime, end_datetime)"
    sql(oscar.server, f"INSERT INTO voucher_voucherset {columns} VALUES {values}, {values}")
    stage, *_, end, error = measured(oscar)
    assert stage["target"].split(",")[0].startswith("address.") and stage["steps"] == len(names) - len(first.done)
    assert (error["code"], error["from"], error["to"]) == (
        "migration_raised",
        "voucher.0009_make_voucher_names_unique",
        stop,
    )
    assert "IntegrityError: (1062, \"Duplicate entry 'Spring' for key" in error["detail"]
    assert "[SQL: ALTER TABLE `voucher_voucherset` ADD CONSTRAINT" in error["detail"]
    assert (error["file"], error["line"]) == ("oscar/apps/voucher/migrations/0010_auto_20210224_0712.py", 18)
    assert (end["event"], end["exit"]) == ("end", 1)

    # the server takes no DDL back: the migration's first operation has been done
    unique = "table_name = 'voucher_voucher' AND column_name = 'name' AND non_unique = 0"
    ((index,),) = sql(oscar.server, f"SELECT index_name FROM information_schema.statistics WHERE {unique}")
    sql(oscar.server, "DELETE FROM voucher_voucherset", f"ALTER TABLE voucher_voucher DROP INDEX {index}")
    events = measured(oscar)
    ends = [(one["from"], one["to"]) for one in events if one["event"] == "end"]
    # Django writes content types and permissions when all is migrated
    assert ends == [*everything[len(first.done) :], ("around", "change")]
    assert events[-1]["event"] == "final" and events[-1]["version"] == events[-1]["expected"]
    assert [name for name in recorded(oscar.server) if name in names] == names
    # three have got other names since, by which Django records them, too
    assert sorted(set(recorded(oscar.server)) - set(names)) == RENAMED
    assert len(recorded(oscar.server)) == 159


def test_a_real_project_from_empty_on_mysql(tmp_path: Path, venv: Path) -> None:
    with started(tmp_path / "mysql" / "db" / "toy", mysql(), mysql_options()) as server:
        project = oscar_on(server, tmp_path, venv)
        events = measured(project)
        assert events[-1]["event"] == "final" and events[-1]["version"] == events[-1]["expected"]
        ends = [event for event in events if event["event"] == "end" and event["from"] != "around"]
        assert len(ends) == 156 and len(recorded(server)) == 159
        assert all(end["counters"]["rows_changed"] for end in ends)  # at least the row of django_migrations


TOY = {
    "settings.py": """
        SECRET_KEY = "none"
        INSTALLED_APPS = ["people", "shop.apps.Shop"]
        AUTH_USER_MODEL = "people.Person"
        DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
        DATABASES = {
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "x", "OPTIONS": {"timeout": 5}},
            "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
            "copy": {"ENGINE": "django.db.backends.postgresql", "NAME": "x", "TEST": {"MIRROR": "default"}},
        }
        DATABASE_ROUTERS = ["settings.Router"]

        class Router:
            def db_for_read(self, model, **hints):
                return "copy"
    """,
    "manage.py": """
        import sys

        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
    """,
    "people/__init__.py": "",
    "people/models.py": """
        from django.db import models

        class Person(models.Model):
            name = models.CharField(max_length=50)
            email = models.CharField(max_length=50, null=True)
    """,
    "people/migrations/__init__.py": "",
    "people/migrations/0001_initial.py": """
        from django.db import migrations, models

        class Migration(migrations.Migration):
            initial = True
            operations = [migrations.CreateModel("Person", [
                ("id", models.AutoField(primary_key=True)), ("name", models.CharField(max_length=50)),
            ])]
    """,
    "people/migrations/0002_email.py": """
        from django.db import migrations, models

        class Migration(migrations.Migration):
            dependencies = [("people", "0001_initial")]
            operations = [migrations.AddField("Person", "email", models.CharField(max_length=50, null=True))]
    """,
    "people/migrations/0003_fill.py": """
        from django.db import migrations

        def fill(apps, schema_editor):
            Person = apps.get_model("people", "Person")
            for person in Person.objects.all():
                person.email = person.name + "@example.org"
                person.save(using=schema_editor.connection.alias)

        class Migration(migrations.Migration):
            dependencies = [("people", "0002_email"), ("shop", "0002_index")]
            operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
    """,
    "shop/__init__.py": "",
    "shop/apps.py": """
        from django.apps import AppConfig

        class Shop(AppConfig):
            name = "shop"
    """,
    "shop/models.py": """
        from django.conf import settings
        from django.db import models

        class Order(models.Model):
            owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
            number = models.IntegerField()
            total = models.IntegerField(null=True)
    """,
    "shop/migrations/__init__.py": "",
    "shop/migrations/0001_initial.py": """
        from django.conf import settings
        from django.db import migrations, models

        class Migration(migrations.Migration):
            initial = True
            dependencies = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]
            operations = [migrations.CreateModel("Order", [
                ("id", models.AutoField(primary_key=True)), ("number", models.IntegerField()),
                ("owner", models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)),
            ])]
    """,
    "shop/migrations/0002_index.py": """
        from django.db import migrations

        class Migration(migrations.Migration):
            atomic = False
            dependencies = [("shop", "0001_initial")]
            operations = [migrations.RunSQL(
                "CREATE INDEX numbers ON shop_order (number)", "DROP INDEX numbers ON shop_order"
            )]
    """,
    "shop/migrations/0003_total.py": """
        from django.db import migrations, models

        class Migration(migrations.Migration):
            dependencies = [("shop", "0002_index")]
            operations = [migrations.SeparateDatabaseAndState(
                [migrations.RunSQL("ALTER TABLE shop_order ADD total int", "ALTER TABLE shop_order DROP total")],
                [migrations.AddField("Order", "total", models.IntegerField(null=True))],
            )]
    """,
}
TOY_PLAN = [
    ("base", "people.0001_initial"),
    ("base", "shop.0001_initial"),
    ("shop.0001_initial", "shop.0002_index"),
    ("people.0001_initial", "people.0002_email"),
    ("people.0002_email", "people.0003_fill"),
    ("shop.0002_index", "shop.0003_total"),
]
TOY_STEPS = [after for _, after in TOY_PLAN]
PEOPLE = "INSERT INTO people_person (name) SELECT CONCAT('n', seq MOD 900) FROM seq_1_to_1000"
SQUASHED = """
    from django.db import migrations, models

    class Migration(migrations.Migration):
        replaces = [("people", "0001_initial"), ("people", "0002_email")]
        initial = True
        operations = [migrations.CreateModel("Person", [
            ("id", models.AutoField(primary_key=True)), ("name", models.CharField(max_length=50)),
            ("email", models.CharField(max_length=50, null=True)),
        ])]
"""


def migration(app: str, below: str, *operations: str, head: str = "") -> str:
    """A migration's source; its operations begin in line 8, one a line."""
    listed = "\n".join(f"        {operation}," for operation in operations)
    return (
        "from django.db import connections, migrations, models\n\n\n"
        + (head or "pass").replace("\n", "; ")
        + f"\nclass Migration(migrations.Migration):\n    dependencies = [({app!r}, {below!r})]\n"
        + f"    operations = [\n{listed}\n    ]\n"
    )


@pytest.fixture
def toy(tmp_path: Path, venv: Path, database: mariadb.Server) -> Project:
    project = Project(tmp_path / "src", venv, database)
    project.write(TOY)
    return project


def fill(server: mariadb.Server) -> Callable[[str], bool]:
    """People come into being before the migration that fills in what they do not have yet."""

    def before(name: str) -> bool:
        if name == "people.0003_fill":
            sql(server, PEOPLE)
        return True

    return before


def test_each_migration_of_all_apps_is_a_step(toy: Project) -> None:
    walked = toy.walk(before=fill(toy.server))
    assert walked.error is None, walked.output
    assert walked.plans == [TOY_PLAN]
    assert recorded(toy.server) == TOY_STEPS
    by_name = dict(zip(walked.steps, walked.done, strict=True))
    assert by_name["people.0003_fill"]["rows_changed"] == 1001  # and the row of django_migrations
    assert by_name["people.0003_fill"]["rows_read"] >= 1000  # type: ignore[operator]
    assert all((by_name[name]["rows_changed"] or 0) < 10 for name in TOY_STEPS if name != "people.0003_fill")
    again = toy.walk()
    assert (again.error, again.plans) == (None, [[]])


@pytest.mark.parametrize(
    ("operation", "head", "words", "statement", "line"),
    [
        # an operation of Django's own, which leaves no line of the migration in the traceback
        (
            'migrations.AlterField("Person", "name", models.CharField(max_length=50, unique=True))',
            "",
            "django.db.utils.IntegrityError: (1062, \"Duplicate entry 'n",
            "[SQL: ALTER TABLE `people_person` ADD CONSTRAINT",
            9,
        ),
        (
            "migrations.RunPython(run)",
            "run = lambda apps, schema_editor: apps.get_model('people', 'Person')(pk=1).save(force_insert=True)",
            "django.db.utils.IntegrityError: (1062, \"Duplicate entry '1'",
            "[SQL: INSERT INTO `people_person`",
            4,
        ),
        # what Django does after the last operation: the pet's owner is checked when the table has rows
        (
            'migrations.CreateModel("Pet", [("id", models.AutoField(primary_key=True)), ("owner", '
            'models.ForeignKey("Person", models.CASCADE))]), migrations.RunSQL("INSERT INTO people_pet VALUES (1, 0)")',
            "",
            "django.db.utils.IntegrityError: (1452, 'Cannot add or update a child row",
            "[SQL: ALTER TABLE `people_pet` ADD CONSTRAINT",
            7,
        ),
        ("migrations.RunPython(run)", "run = lambda apps, schema_editor: exit(0)", "SystemExit: 0", "", 4),
        ("migrations.RunPython(lambda apps, schema_editor: 1 / 0)", "", "ZeroDivisionError: division by zero", "", 9),
    ],
)
def test_a_migration_that_fails(toy: Project, operation: str, head: str, words: str, statement: str, line: int) -> None:
    fine = 'migrations.RunSQL("SELECT 1")'
    toy.write({"people/migrations/0004_fails.py": migration("people", "0003_fill", fine, operation, head=head)})
    walked = toy.walk(before=fill(toy.server))
    assert walked.error is not None
    assert words in walked.error["text"] and statement in walked.error["text"]
    assert walked.error["file"] == str(toy.folder / "people" / "migrations" / "0004_fails.py")
    assert walked.error["line"] == line
    assert len(walked.done) == walked.steps.index("people.0004_fails")
    assert not walked.error["import"]


def test_squashed_migrations(toy: Project) -> None:
    squash = {"people/migrations/0001_squashed_0002_email.py": SQUASHED}
    # some of the replaced are there already: the others are run
    toy.walk(before=lambda name: name != "people.0002_email")
    toy.write(squash)
    walked = toy.walk()
    assert walked.error is None, walked.output
    assert walked.plans == [TOY_PLAN[3:]]
    assert "people.0001_squashed_0002_email" in recorded(toy.server)
    # all of them: it is only recorded
    sql(toy.server, "DELETE FROM django_migrations WHERE name LIKE '%squashed%'")
    assert toy.walk().plans == [[]]
    assert recorded(toy.server)[-1] == "people.0001_squashed_0002_email"
    # none of them, and it is recorded by its own name before the next one begins
    sql(toy.server, "DROP DATABASE dataset", "CREATE DATABASE dataset")
    seen = {}

    def look(name: str) -> bool:
        seen[name] = recorded(toy.server)
        return True

    walked = toy.walk(before=look)
    assert walked.error is None, walked.output
    assert walked.plans[0][0] == ("base", "people.0001_squashed_0002_email")
    assert "people.0002_email" not in walked.steps
    assert "people.0001_squashed_0002_email" in seen["shop.0001_initial"]


def test_the_way_down_and_up_again(toy: Project) -> None:
    toy.write(
        {
            "shop/migrations/0003_other.py": migration("shop", "0002_index", "migrations.RunSQL('', '')"),
            "shop/migrations/0004_merge.py": migration("shop", "0003_other").replace(
                "= [('shop'", "= [('shop', '0003_total'), ('shop'"
            ),
        }
    )
    up = toy.walk(before=fill(toy.server))
    assert up.error is None, up.output
    assert up.steps[-1] == "shop.0004_merge"
    down = toy.walk(direction="down", target=["shop.0003_total", "people.0002_email"])
    assert down.error is None, down.output
    assert down.plans == [
        [
            ("shop.0004_merge", "shop.0003_other,shop.0003_total"),
            ("shop.0003_other", "shop.0002_index"),
            ("people.0003_fill", "people.0002_email"),
        ]
    ]
    assert set(recorded(toy.server)) == set(TOY_STEPS) - {"people.0003_fill"}
    assert toy.walk().steps == ["people.0003_fill", "shop.0003_other", "shop.0004_merge"]
    everything = toy.walk(direction="down", target=[])
    assert len(everything.steps) == 8 and everything.plans[0][-1] == ("people.0001_initial", "base")
    assert recorded(toy.server) == []


def test_a_way_down_that_there_is_not(toy: Project) -> None:
    toy.write({"shop/migrations/0004_one_way.py": migration("shop", "0003_total", "migrations.RunSQL('SELECT 1')")})
    toy.walk()
    failed = toy.walk(direction="down", target=["shop.0003_total", "people.0003_fill"])
    assert failed.error is not None and "IrreversibleError" in failed.error["text"]
    assert failed.plans == [[("shop.0004_one_way", "shop.0003_total")]]
    assert (failed.error["file"][-16:], failed.error["line"]) == ("/0004_one_way.py", 8)
    failed = toy.walk(direction="down", target=["shop.0003_gone"])
    assert failed.error is not None and "no way back to shop.0003_gone" in failed.error["text"]


def test_the_projects_own_command(toy: Project) -> None:
    fake = toy.walk(command=["python", "manage.py", "migrate", "--fake", "shop", "zero"])
    assert (fake.error, fake.plans) == (None, [[]])
    one = toy.walk(command=["python", "manage.py", "migrate", "shop", "0001"])
    assert (one.error, one.plans) == (None, [TOY_PLAN[:2]])
    # an initial migration whose tables are there is only recorded, which is known when its turn has come
    sql(toy.server, "DELETE FROM django_migrations WHERE app = 'shop'")
    initial = toy.walk(command=["python", "manage.py", "migrate", "--fake-initial"])
    assert initial.error is None, initial.output
    assert initial.steps == TOY_STEPS[2:]
    fake = toy.walk(command=["python", "manage.py", "migrate", "--fake", "shop", "zero"])
    assert (fake.error, fake.plans, len(recorded(toy.server))) == (None, [[]], 2)
    wrong = toy.walk(command=["python", "manage.py", "migrate", "nonsense"])
    assert wrong.error is not None and "No installed app with label 'nonsense'" in wrong.error["text"]
    none = toy.walk(command=["python", "manage.py", "check"])
    assert (none.error, none.plans) == (None, [])


def test_a_program_that_migrates_several_times_and_keeps_a_failure_to_itself(toy: Project) -> None:
    toy.write(
        {
            "set_up.py": """
                from django.core.management import call_command

                call_command("migrate", "shop", "0001")
                call_command("migrate", "shop")
                try:
                    call_command("migrate")
                except Exception as error:
                    raise SystemExit(0)
            """,
            "people/migrations/0004_fails.py": migration(
                "people", "0003_fill", "migrations.RunPython(lambda *_: 1 / 0)"
            ),
        }
    )
    walked = toy.walk(command=["python", "set_up.py"])
    assert [[after for _, after in plan] for plan in walked.plans] == [
        ["people.0001_initial", "shop.0001_initial"],
        ["shop.0002_index", "shop.0003_total"],
        ["people.0002_email", "people.0003_fill", "people.0004_fails"],
    ]
    assert len(walked.done) == 6
    assert walked.error is not None and walked.error["text"] == "ZeroDivisionError: division by zero"


def test_history_and_trees_that_cannot_be_walked(toy: Project) -> None:
    toy.walk()
    sql(toy.server, "DELETE FROM django_migrations WHERE name = '0002_email'")
    walked = toy.walk()
    assert walked.error is not None
    assert "InconsistentMigrationHistory: Migration people.0003_fill is applied before" in walked.error["text"]
    toy.write({"people/migrations/0004_lost.py": migration("people", "0003_lost")})
    walked = toy.walk()
    assert walked.error is not None and "people.0004_lost dependencies reference nonexistent" in walked.error["text"]
    toy.write({"people/migrations/0004_lost.py": migration("people", "0003_fill", head="import no_such_module")})
    walked = toy.walk()
    assert walked.error is not None and walked.error["import"] is True
    assert walked.error["file"].endswith("people/migrations/0004_lost.py") and walked.error["line"] == 4
    toy.write({"people/migrations/0004_lost.py": migration("people", "0003_fill", "no comma", "between")})
    walked = toy.walk()
    assert walked.error is not None and walked.error["text"].startswith("SyntaxError: invalid syntax")
    assert walked.error["file"].endswith("people/migrations/0004_lost.py") and walked.error["line"] == 8
    toy.write({"people/migrations/0004_lost.py": migration("people", "0002_email")})
    sql(toy.server, "DELETE FROM django_migrations")
    for command in ([], ["python", "manage.py", "migrate"]):
        walked = toy.walk(command=command)
        assert walked.error is not None and walked.error["code"] == "several_heads"
        assert walked.error["text"] == "people has the heads 0003_fill, 0004_lost"


def test_what_comes_after_the_last_migration_is_not_a_step(toy: Project) -> None:
    toy.write(
        {
            "shop/apps.py": """
                import time

                from django.apps import AppConfig
                from django.db.models.signals import post_migrate

                def afterwards(**_):
                    raise RuntimeError("no permissions today")

                class Shop(AppConfig):
                    name = "shop"

                    def ready(self):
                        post_migrate.connect(afterwards, sender=self)
            """
        }
    )
    walked = toy.walk()
    assert len(walked.done) == 6
    assert walked.error is not None and walked.error["text"] == "RuntimeError: no permissions today"


def test_settings_that_do_not_fit(toy: Project) -> None:
    walked = toy.walk(alias="nonsense")
    assert walked.error is not None and "DATABASES of settings has no 'nonsense'" in walked.error["text"]
    walked = toy.walk(settings="nonsense")
    assert walked.error is not None and walked.error["import"] is True
    walked = toy.walk(database={"name": "dataset", "user": "dataset", "password": "wrong", "socket": toy.server.socket})
    assert walked.error is not None and '(1045, "Access denied' in walked.error["text"]


def test_the_walk_of_a_dataset(toy: Project) -> None:
    # migrations of other packages are walked, too
    toy.write({"settings.py": TOY["settings.py"].replace('["people"', '["django.contrib.contenttypes", "people"')})
    events = measured(toy)
    *ends, around = [event for event in events if event["event"] == "end"]
    assert [(end["from"], end["to"]) for end in ends if not end["to"].startswith("contenttypes")] == TOY_PLAN, events
    # the content types are written when all is migrated
    assert around["kind"] == "around" and 0 < around["counters"]["rows_changed"] < 50
    assert len(ends) == 8
    assert all(end["to"] in end["version"].split(",") for end in ends)
    assert events[-1]["event"] == "final"
    every = "contenttypes.0002_remove_content_type_name,people.0003_fill,shop.0003_total"
    assert events[-1]["version"] == events[-1]["expected"] == every


def test_the_walk_of_a_dataset_down_and_up(toy: Project) -> None:
    toy.walk(before=lambda name: name != "people.0003_fill")
    events = measured(toy, downgrade=True)
    ends = [(event["from"], event["to"], event.get("kind")) for event in events if event["event"] == "end"]
    last = [("people.0002_email", "people.0003_fill"), ("shop.0002_index", "shop.0003_total")]
    down = [(above, below, "downgrade") for below, above in reversed(last)]
    assert ends == [*((*step, None) for step in last), *down, *((*step, None) for step in last)], events
    assert events[-1]["event"] == "final"


def test_what_a_dataset_is_told_of_its_failures(toy: Project) -> None:
    # one that is recorded by nobody, for a reason of the project's own
    toy.write(
        {
            "people/migrations/0004_fails.py": migration(
                "people", "0003_fill", "migrations.RunPython(lambda *_: 1 / 0)"
            ),
            "shop/apps.py": """
                from django.apps import AppConfig
                from django.db.migrations.recorder import MigrationRecorder

                class Shop(AppConfig):
                    name = "shop"

                    def ready(self):
                        record = MigrationRecorder.record_applied
                        MigrationRecorder.record_applied = lambda self, app, name: name == "0003_total" or record(
                            self, app, name
                        )
            """,
        }
    )
    found = measured(toy)[-1]
    assert (found["code"], found["to"]) == ("migration_raised", "people.0004_fails")
    assert found["detail"] == "ZeroDivisionError: division by zero"
    assert (found["file"], found["line"]) == ("people/migrations/0004_fails.py", 8)
    (toy.folder / "people" / "migrations" / "0004_fails.py").unlink()
    found = measured(toy)[-1]
    assert (found["code"], found["from"], found["to"]) == ("version_unchanged", "shop.0002_index", "shop.0003_total")
    toy.write({"shop/apps.py": TOY["shop/apps.py"], "shop/migrations/0003_other.py": migration("shop", "0002_index")})
    found = measured(toy)[-1]
    assert (found["code"], found["detail"]) == ("several_heads", "shop has the heads 0003_other, 0003_total")
