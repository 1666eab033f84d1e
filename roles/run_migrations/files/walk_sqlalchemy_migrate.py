# SPDX-License-Identifier: Apache-2.0
"""The walking side of sqlalchemy-migrate: anything in this process that runs a migration has to wait before it.

Works with sqlalchemy-migrate 0.9 and later; for the protocol with the measuring side see th_stepper.py.
"""

from th_stepper import main, run_command


def walk(stepper):
    """Run the stage."""
    from migrate.versioning import schema

    changeset, runchange = schema.ControlledSchema.changeset, schema.ControlledSchema.runchange
    to_come, numbers = [], {}

    def look(controlled, version=None):
        found = changeset(controlled, version)
        to_come[:] = [(before, before + found.step) for before, _ in found]
        return found

    def run(controlled, before, change, step):
        this = (before, before + step)
        if this not in numbers:  # a changeset that was computed need not be run
            steps = list(to_come) if this in to_come else [this]
            number = stepper.plan([(label(controlled, start), label(controlled, end)) for start, end in steps])
            numbers.update((one, number + index) for index, one in enumerate(steps))
        with stepper.watching(), stepper.step(numbers.pop(this)):
            return runchange(controlled, before, change, step)

    schema.ControlledSchema.changeset, schema.ControlledSchema.runchange = look, run
    request = stepper.request
    if request["command"]:
        run_command(request["command"])
    else:
        migrate(request, schema)


def label(controlled, number):
    """A version's name: below the first script it is the empty database."""
    return str(number) if number >= min(controlled.repository.versions.versions) else "base"


def migrate(request, schema):
    """Migrate to the target with sqlalchemy-migrate's own code; a database without a version is taken to be before the
    repository's first script."""
    from migrate import exceptions
    from migrate.versioning.repository import Repository
    from sqlalchemy import create_engine

    engine = create_engine(request["url"])
    repository = Repository(request["repository"])
    versions = sorted(int(version) for version in repository.versions.versions)
    try:
        controlled = schema.ControlledSchema(engine, repository)
    except exceptions.DatabaseNotControlledError:
        controlled = schema.ControlledSchema.create(engine, repository, versions[0] - 1)
    if request["direction"] == "down":
        target = int(request["target"][0]) if request["target"] else versions[0] - 1
    else:
        target = versions[-1]
    changeset = controlled.changeset(target)
    for version, change in changeset:
        controlled.runchange(version, change, changeset.step)


if __name__ == "__main__":
    main(walk, "migrate.versioning.schema", "migrate.versioning.repository")
