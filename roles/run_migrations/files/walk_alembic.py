# SPDX-License-Identifier: Apache-2.0
"""The walking side of alembic: runs in the project's own environment, one stage a process.

It runs env.py once, as ``alembic upgrade`` does, but hands alembic one migration at a time, and before each waits
for the measuring side. The two speak JSON, one object a line, over the socket whose descriptor is the only
argument:

    measuring side                         this side
    {"config": …, "options": …, …}
                                           {"plan": [["from", "to"], …], "heads": "…"}
    {"go": 0}
                                           {"done": 0}
    …
                                           {"end": true}   or   {"error": {…}}

The process runs code of the change under test, so nothing that it says is evidence. It must run with whatever
Python (3.6 or later) and alembic (1.0 or later) the project has.
"""

import json
import os
import socket
import sys
import traceback


def main():
    """Walk one stage; the exit status is 0 when alembic came to its end."""
    channel = socket.socket(fileno=int(sys.argv[1])).makefile("rw", encoding="utf-8")

    def say(**message):
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    request = json.loads(channel.readline())
    sys.path[0] = os.getcwd()
    try:
        walk(request, say, channel.readline)
    except BaseException as error:
        traceback.print_exc()
        say(error=describe(error, request["script_folders"]))
        raise SystemExit(1) from None
    say(end=True)


def walk(request, say, hear):
    """Run alembic's environment with an upgrade function that waits before every migration."""
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config(request["config"] or None, ini_section=request["section"])
    for name, value in request["options"].items():
        config.set_section_option(request["section"], name, value.replace("%", "%%"))
    script = ScriptDirectory.from_config(config)

    def upgrade(revision, context):
        steps = script._upgrade_revs(request["target"], revision)
        plan = [[label(step.from_revisions), label(step.to_revisions)] for step in steps]
        say(plan=plan, heads=label(script.get_heads()))
        for number, step in enumerate(steps):
            if json.loads(hear()) != {"go": number}:
                raise RuntimeError("the measuring side has gone")
            yield step
            say(done=number)

    with EnvironmentContext(
        config, script, fn=upgrade, as_sql=False, destination_rev=request["target"]
    ):
        script.run_env()


def label(revisions):
    """Revisions as one word: alembic gives a tuple, several at a branch or a merge."""
    return ",".join(sorted(revisions)) or "base"


def describe(error, script_folders):
    """What is known of an exception: its message, and the innermost line of a migration that it passed."""
    lines = "".join(traceback.format_exception_only(type(error), error)).strip().split("\n")
    # SQLAlchemy puts the statement on a line of its own behind the message
    text = " ".join([lines[0]] + [line[:500] for line in lines[1:] if line.startswith("[SQL: ")])
    frames = traceback.extract_tb(error.__traceback__)
    place = next(
        (
            frame
            for frame in reversed(frames)
            if any(os.path.realpath(frame[0]).startswith(folder + os.sep) for folder in script_folders)
        ),
        None,
    )
    return {
        "text": text[:4000],
        "import": isinstance(error, ImportError),
        "file": place[0] if place else "",
        "line": place[1] if place else 0,
    }


if __name__ == "__main__":
    main()
