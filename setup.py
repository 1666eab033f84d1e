# SPDX-License-Identifier: Apache-2.0
"""What setup.cfg cannot say: the Ansible half goes into the wheel with its folders as they are."""

from pathlib import Path

from setuptools import setup

TARGET = Path("share/turbo-hipster")


def ansible_files() -> list[tuple[str, list[str]]]:
    """Every file of playbooks, roles and inventory, and ansible.cfg, by target folder."""
    folders: dict[str, list[str]] = {str(TARGET): ["ansible.cfg"]}
    for top in ("playbooks", "roles", "inventory"):
        for path in sorted(Path(top).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                folders.setdefault(str(TARGET / path.parent), []).append(str(path))
    return sorted(folders.items())


setup(data_files=ansible_files())
