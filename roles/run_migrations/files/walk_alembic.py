# SPDX-License-Identifier: Apache-2.0
"""The walking side of alembic.

Whatever in this process runs migrations through alembic, be it alembic's own upgrade or a program of the project's,
is made to wait before each. alembic takes its steps from an iterator, so its own machinery runs them, in its own
order and its own transactions. Works with alembic 1.0 and later; what it is to the measuring side: th_stepper.py.
"""

import os

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
        go_down(configuration(request), request["target"])
    else:
        from alembic import command

        command.upgrade(configuration(request), "heads")


def go_down(config, targets):
    """Undo everything but `targets` and what they need. alembic's own command ignores branches that are not named."""
    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationStep
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(config)

    def needed(names):
        found, queue = {}, [script.get_revision(name) for name in names]
        while queue:
            revision = queue.pop()
            if revision.revision not in found:
                found[revision.revision] = revision
                queue.extend(script.get_revision(name) for name in revision._all_down_revisions)
        return found

    def steps(heads, _):
        kept = needed(targets)
        left = {name: revision for name, revision in needed(heads).items() if name not in kept}
        ordered = []
        while left:
            used = {name for revision in left.values() for name in revision._all_down_revisions}
            # finish one chain before starting the next
            below = ordered[-1]._all_down_revisions if ordered else ()
            chosen = max(sorted(set(left) - used), key=below.__contains__)
            ordered.append(left.pop(chosen))
        return [MigrationStep.downgrade_from_script(script.revision_map, revision) for revision in ordered]

    with EnvironmentContext(config, script, fn=steps, destination_rev=",".join(targets) or "base"):
        script.run_env()


def configuration(request):
    """alembic's configuration, from the project's file and what the profile sets."""
    from alembic.config import Config

    config = files_of(Config, request)
    options = dict(request["options"])
    if not config.file_config.has_section(request["section"]):
        config.file_config.add_section(request["section"])
    if request["version_locations"]:
        named = [config.get_main_option(name) for name in ("path_separator", "version_path_separator")]
        separator = next(filter(None, named), "space")
        separator = {"space": " ", "newline": "\n", "os": os.pathsep}.get(separator, separator)
        options.setdefault("version_locations", separator.join(request["version_locations"]))
    if request["recursive"]:
        options.setdefault("recursive_version_locations", "true")
    for name, value in options.items():
        config.set_section_option(request["section"], name, value.replace("%", "%%"))
    return config


def files_of(config_class, request):
    """alembic's files: an ini, and since alembic 1.16 a pyproject.toml beside it or alone."""
    ini, words = request["config"] or None, {"ini_section": request["section"]}
    if hasattr(config_class, "toml_alembic_config"):
        # an env.py reads the ini again if it is named
        there = ini if ini and os.path.isfile(ini) else None
        for path in request.get("toml", ()):
            config = config_class(there, toml_file=path, **words)
            if config.toml_alembic_config:
                return config
    return config_class(ini, **words)


def stepped(stepper, context, steps):
    """The same steps, each when it may run. Steps that are not migrations, such as those of a stamp, pass through."""
    steps = list(steps or ())
    migrations = [step for step in steps if hasattr(step, "is_upgrade") and hasattr(step, "revision")]
    if steps and not migrations:
        stepper.plan([])
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
    """The revisions in the version table at the end: not the heads that another revision depends on."""
    environment = context.environment_context
    if environment is None:
        return None
    script = environment.script
    return sorted(getattr(script.revision_map, "_real_heads", None) or script.get_heads())


def label(revisions):
    """Revisions as one string: alembic gives a tuple, with several at a branch or a merge."""
    return ",".join(sorted(revisions)) or "base"


if __name__ == "__main__":
    main(walk, "alembic.command", "alembic.config", "alembic.runtime.migration")
