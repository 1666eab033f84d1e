# SPDX-License-Identifier: Apache-2.0
"""The walking side of Django: anything in this process that runs a migration has to wait before it.

The settings module is the project's own, except for the database, which is the dataset's. Works with Django 1.11 and
later; for the protocol with the measuring side see th_stepper.py.
"""

import inspect
import os
import sys

from th_django_place import blame, remembered_statements
from th_stepper import Failure, main, run_command

MYSQL_ENGINE = "django.db.backends.mysql"
GIS_ENGINE = "django.contrib.gis.db.backends.mysql"
# keys of OPTIONS in which MySQL drivers have the address of the database
ADDRESS_OPTIONS = frozenset(
    "db database user passwd password host port unix_socket read_default_file read_default_group ssl ssl_mode".split()
)


def walk(stepper):
    """Run the stage."""
    request = stepper.request
    set_up(request)
    from django.core.management import call_command
    from django.db import connections

    alias = request["alias"]
    if request["direction"] == "ask":
        send_plan(stepper, connections[alias])
        return
    executor = Steps(stepper, alias).hook()
    with remembered_statements(connections[alias]):
        if request["command"]:
            run_command(request["command"])
            return
        if request["direction"] == "down":
            go_down(executor, request["target"], request["script_folders"])
        call_command("migrate", database=alias, interactive=False, skip_checks=False)


def set_up(request):
    """Load the settings, put the dataset's database into them, and set Django up."""
    os.environ["DJANGO_SETTINGS_MODULE"] = request["settings"]
    stands_in = provide_driver()
    if os.environ.get("DJANGO_CONFIGURATION"):  # django-configurations hooks into the settings' import
        from configurations import importer

        importer.install()
    import django
    from django.conf import settings

    alias, databases = request["alias"], settings.DATABASES
    if alias not in databases and alias != "default":
        raise Failure("walk_failed", f"DATABASES of {request['settings']} has no {alias!r}")
    replicas = [name for name, its in databases.items() if (its.get("TEST") or {}).get("MIRROR") == alias]
    databases[alias] = pointed(databases.get(alias, {}), request["database"], request["options"])
    for name in replicas:
        databases[name] = dict(databases[alias])
    if stands_in and django.VERSION < (3, 2):
        from django.db.backends.mysql.operations import DatabaseOperations

        # it expects the bytes of mysqlclient here, when DEBUG is on
        DatabaseOperations.last_executed_query = lambda self, cursor, sql, params: str(cursor._executed)
    django.setup()


def provide_driver():
    """Use PyMySQL where mysqlclient cannot be imported; whether it is used."""
    try:
        import MySQLdb  # noqa: F401 - whether it can be
    except ImportError:
        try:
            import pymysql
        except ImportError:
            raise ImportError("neither mysqlclient nor PyMySQL is in the environment") from None
        pymysql.version_info = (99, 0, 0, "final", 0)  # each Django requires a different minimum version of mysqlclient
        pymysql.install_as_MySQLdb()
        return True
    return False


def pointed(before, database, options):
    """The project's settings of a database, with the dataset's address in place of its own."""
    engine = before.get("ENGINE", "")
    kept = before.get("OPTIONS") or {} if engine.endswith(".mysql") else {}
    return {
        **{key: value for key, value in before.items() if key != "TEST"},
        "ENGINE": GIS_ENGINE if engine.startswith("django.contrib.gis.") else MYSQL_ENGINE,
        "NAME": database["name"],
        "USER": database["user"],
        "PASSWORD": database["password"],
        "HOST": database.get("socket") or database.get("host") or "",
        "PORT": "" if database.get("socket") else str(database.get("port") or ""),
        "OPTIONS": {**{key: value for key, value in kept.items() if key not in ADDRESS_OPTIONS}, **options},
    }


class Steps:
    """Hooks in Django's executor for one database: a migration is a step if it runs, not if it is just recorded."""

    def __init__(self, stepper, alias):
        from django.db.migrations.executor import MigrationExecutor

        self._stepper, self._alias, self._class = stepper, alias, MigrationExecutor
        self._numbers = {}
        self._inside = False

    def hook(self):
        """Replace the methods that run migrations, permanently; returns the executor's class."""
        from django.db.migrations.loader import MigrationLoader

        executor, steps = self._class, self
        migrate, apply, unapply = executor.migrate, executor.apply_migration, executor.unapply_migration
        detect_conflicts = MigrationLoader.detect_conflicts

        def migrate_announced(self, targets, plan=None, state=None, fake=False, fake_initial=False):
            if steps._counts(self):
                plan = self.migration_plan(targets) if plan is None else plan
                # which initial migrations are applied already is only known when they come up
                steps._announce(self, [] if fake or fake_initial else plan)
            return migrate(self, targets, plan=plan, state=state, fake=fake, fake_initial=fake_initial)

        def apply_migration(self, state, migration, fake=False, fake_initial=False):
            recorded = fake
            if not fake and fake_initial and steps._counts(self):
                recorded = self.detect_soft_applied(state, migration)[0]

            def run():
                after = apply(self, state, migration, fake=fake, fake_initial=fake_initial)
                if migration.replaces:
                    self.check_replacements()  # records it under its own name, as Django does after the last one
                return after

            return steps._step(self, migration, run, recorded)

        def unapply_migration(self, state, migration, fake=False):
            def run():
                return unapply(self, state, migration, fake=fake)

            return steps._step(self, migration, run, fake, backwards=True)

        def conflicts(self):
            found = detect_conflicts(self)
            if found:
                names = "; ".join(f"{app} has the heads {', '.join(sorted(found[app]))}" for app in sorted(found))
                with steps._stepper.watching():
                    raise Failure("several_heads", names)
            return found

        executor.migrate, executor.apply_migration = migrate_announced, apply_migration
        executor.unapply_migration = unapply_migration
        MigrationLoader.detect_conflicts = conflicts
        return executor

    def _counts(self, executor):
        # migrations that a migration runs itself are part of it
        return executor.connection.alias == self._alias and not self._inside

    def _announce(self, executor, plan):
        backwards = any(down for _, down in plan)
        steps = [migration for migration, _ in plan]
        if steps and not backwards:  # Django runs them in this order, not in that of the plan
            wanted = set(steps)
            everything = executor.migration_plan(executor.loader.graph.leaf_nodes(), clean_start=True)
            steps = [migration for migration, _ in everything if migration in wanted]
        plan = [step_of(executor, migration, backwards) for migration in steps]
        first = self._stepper.plan(plan, apps=apps_of(executor.loader))
        self._numbers = {label(migration): first + index for index, migration in enumerate(steps)}

    def _step(self, executor, migration, run, recorded, backwards=False):
        if recorded or not self._counts(executor):
            return run()
        if label(migration) not in self._numbers:
            self._announce(executor, [(migration, backwards)])
        with self._stepper.watching(), self._stepper.step(self._numbers.pop(label(migration))):
            self._inside = True
            try:
                return run()
            except Exception as error:
                blame(error, migration, executor.connection)
                raise
            finally:
                self._inside = False


def send_plan(stepper, connection):
    """Announce what there is to migrate, without migrating anything."""
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    stepper.plan([step_of(executor, migration, False) for migration, _ in plan], apps=apps_of(executor.loader))


def apps_of(loader):
    """The folders of the apps' migrations by label."""
    found = {}
    for app in loader.migrated_apps:
        module = sys.modules.get(loader.migrations_module(app)[0])
        folders = list(getattr(module, "__path__", []))
        if folders:
            found[app] = folders[0]
    return found


def label(migration):
    """A migration's name, such as ``blog.0002_author``."""
    return f"{migration.app_label}.{migration.name}"


def step_of(executor, migration, backwards):
    """A migration as (from, to): the names of what it builds on in its app, and its own."""
    node = executor.loader.graph.node_map[(migration.app_label, migration.name)]
    below = sorted(f"{app}.{name}" for app, name in (parent.key for parent in node.parents) if app == node.key[0])
    pair = (",".join(below) or "base", label(migration))
    return pair[::-1] if backwards else pair


def go_down(executor, targets, script_folders):
    """Make Django's next plan a downgrade to where only `targets`, and what they need, are left.

    In apps outside of the script folders only migrations that build on removed ones are removed.
    """
    migration_plan = executor.migration_plan

    def downward(self, wanted, clean_start=False):
        graph = self.loader.graph
        everything = migration_plan(self, graph.leaf_nodes(), clean_start=True)
        if clean_start:
            return everything
        kept = set()
        for target in targets:
            kept.update(graph.forwards_plan(key_of(self.loader, target)))
        names = [(migration.app_label, migration.name) for migration, _ in reversed(everything)]
        left = {key for key in names if key in self.loader.applied_migrations}
        plan = []
        for key in names:
            if key in left - kept and in_folders(graph.nodes[key], script_folders):
                gone = [one for one in graph.backwards_plan(key) if one in left]
                plan.extend((graph.nodes[one], True) for one in gone)
                left.difference_update(gone)
        return plan

    executor.migration_plan = downward


def key_of(loader, target):
    """A migration's key in the graph: its own, or that of the one it was squashed into."""
    app, _, name = target.partition(".")
    keys = [(app, name)] + [key for key, squashed in loader.replacements.items() if (app, name) in squashed.replaces]
    found = next((key for key in keys if key in loader.graph.nodes), None)
    if found is None:
        raise Failure("walk_failed", f"there is no way back to {target}, which is no migration of this checkout")
    return found


def in_folders(migration, folders):
    """Whether a migration's file is in one of the folders."""
    return os.path.dirname(os.path.realpath(inspect.getfile(type(migration)))) in folders


if __name__ == "__main__":
    main(walk, "django")
