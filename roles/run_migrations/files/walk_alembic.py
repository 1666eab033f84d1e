# SPDX-License-Identifier: Apache-2.0
"""The walking side of alembic.

Whatever in this process runs migrations through alembic, be it alembic's own upgrade or a program of the project's,
is made to wait before each. alembic takes its steps from an iterator, so its own machinery runs them, in its own
order and its own transactions. Works with alembic 1.0 and later; what it is to the measuring side: th_stepper.py.
"""

from th_stepper import main, run_command


def walk(stepper):
    """Run the stage."""
    from alembic.runtime.migration import MigrationContext

    run_migrations = MigrationContext.run_migrations

    def run(context, **keywords):
        function = context._migrations_fn
        if function is not None:
            context._migrations_fn = lambda heads, of: stepped(stepper, context, function(heads, of))
        try:
            with stepper.watching():
                return run_migrations(context, **keywords)
        finally:
            context._migrations_fn = function

    MigrationContext.run_migrations = run
    request = stepper.request
    if request["command"]:
        run_command(request["command"])
    elif request["direction"] == "down":
        for target in request["target"] or ["base"]:
            commands().downgrade(configuration(request), target)
    else:
        commands().upgrade(configuration(request), "heads")


def commands():
    """alembic's own commands."""
    from alembic import command

    return command


def configuration(request):
    """alembic's configuration, from the project's file and what the profile sets."""
    from alembic.config import Config

    config = Config(request["config"] or None, ini_section=request["section"])
    for name, value in request["options"].items():
        config.set_section_option(request["section"], name, value.replace("%", "%%"))
    return config


def stepped(stepper, context, steps):
    """The same steps, each when it may run. Others than migrations, such as a stamp's, pass."""
    steps = list(steps or ())
    migrations = [step for step in steps if hasattr(step, "is_upgrade") and hasattr(step, "revision")]
    if steps and not migrations:
        yield from steps
        return
    plan = [(label(step.from_revisions), label(step.to_revisions)) for step in migrations]
    number = stepper.plan(plan, heads=heads(context))
    for step in steps:
        if step in migrations:
            with stepper.step(number):
                yield step
            number += 1
        else:
            yield step


def heads(context):
    """The revisions that the version table holds at the end: heads that another one depends on are not in it."""
    environment = context.environment_context
    if environment is None:
        return None
    script = environment.script
    return sorted(getattr(script.revision_map, "_real_heads", None) or script.get_heads())


def label(revisions):
    """Revisions as one word: alembic gives a tuple, several at a branch or a merge."""
    return ",".join(sorted(revisions)) or "base"


if __name__ == "__main__":
    main(walk, "alembic.command", "alembic.config", "alembic.runtime.migration")
