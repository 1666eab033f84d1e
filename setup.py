# SPDX-License-Identifier: Apache-2.0
"""What setup.cfg cannot say: the Ansible half, and etc, go into the wheel with their folders as they are."""

from pathlib import Path

from setuptools import setup

TARGET = Path("share/turbo-hipster")


def ansible_files() -> list[tuple[str, list[str]]]:
    """Every file of playbooks, roles, inventory and etc, ansible.cfg and constraints.txt, by target folder."""
    folders: dict[str, list[str]] = {str(TARGET): ["ansible.cfg", "constraints.txt"]}
    for top in ("playbooks", "roles", "inventory", "etc"):
        for path in sorted(Path(top).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                folders.setdefault(str(TARGET / path.parent), []).append(str(path))
    return sorted(folders.items())


setup(data_files=ansible_files())
