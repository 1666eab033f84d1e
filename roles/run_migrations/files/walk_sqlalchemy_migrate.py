# SPDX-License-Identifier: Apache-2.0
"""The walking side of sqlalchemy-migrate: whatever in this process runs a change of its is made to wait before it.

Works with sqlalchemy-migrate 0.9 and later; what it is to the measuring side: th_stepper.py.
"""

from th_stepper import main, run_command


def walk(stepper):
    """Run the stage."""
    from migrate.versioning import schema

    changeset, runchange = schema.ControlledSchema.changeset, schema.ControlledSchema.runchange
    numbers = {}

    def plan(controlled, version=None):
        found = changeset(controlled, version)
        steps = [(ver, ver + found.step) for ver, _ in found]
        number = stepper.plan([(str(before), str(after)) for before, after in steps])
        numbers.update((step, number + index) for index, step in enumerate(steps))
        return found

    def run(controlled, ver, change, step):
        with stepper.watching(), stepper.step(numbers[(ver, ver + step)]):
            return runchange(controlled, ver, change, step)

    schema.ControlledSchema.changeset, schema.ControlledSchema.runchange = plan, run
    request = stepper.request
    if request["command"]:
        run_command(request["command"])
    else:
        migrate(request, schema)


def migrate(request, schema):
    """Go to the target with sqlalchemy-migrate's own machinery; a database without a version is taken as older than
    the first of the repository's."""
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
    main(walk)
