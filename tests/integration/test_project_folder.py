# SPDX-License-Identifier: Apache-2.0
"""A whole job of a project that is in a folder of its repository, whose requirements install it from there."""

import json
from pathlib import Path

from tests.kit import installation as worlds
from tests.kit import toy
from tests.kit.installation import INDEX, PROFILE, TABLE, TIP, script

from .test_controls import run


def test_a_project_below_the_top_of_its_repository(tmp_path: Path, packages: Path, kept: Path) -> None:
    with worlds.made(tmp_path / "world", packages, kept) as world:
        files = {
            "alembic.ini": "[alembic]\nscript_location = migrations\nsqlalchemy.url =\n",
            "migrations/env.py": f"import toy_settings\n{toy.ENV_PY}",
            "toy_settings.py": "",
            "requirements.txt": "-e .\n",
            "setup.py": "from setuptools import setup\nsetup(name='toy-settings', py_modules=['toy_settings'])\n",
            **script("a1", None, TABLE),
            **script("b2", "a1"),
            **script("c3", "b2", INDEX),
        }
        gone = dict.fromkeys(world.repository.git("ls-files").split())
        moved = {f"backend/{name}": text for name, text in files.items()}
        world.repository.commit({**gone, **moved}, "Move all of it to a folder")
        install = {**PROFILE["install"], "packages": [*PROFILE["install"]["packages"], "setuptools"]}
        world.profile({"folder": "backend", "install": install, "migrations": {"tool": "alembic"}})
        world.dataset("first", dump=TIP.encode())
        body = "op.create_index('uq', 't', ['name'], unique=True)"
        change = {f"backend/{name}": text for name, text in script("d4", "c3", body).items()}
        found = run(world, world.change(change))
        assert (found["result"], found["fault"]) == ("FAILURE", "change")
        message = found["messages"][-1]
        assert (message["file"], message["line"]) == ("backend/migrations/versions/d4_.py", 10)
        assert "1062" in json.dumps(found["messages"])
