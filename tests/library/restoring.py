# SPDX-License-Identifier: Apache-2.0
"""Restoring a dataset in this process, step by step, as the role's tasks do."""

from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.th_dataset.external_dataset import load_seed, prove_seed, take_locks
from ansible.module_utils.th_dataset.private_dataset import clone_snapshot, import_dump, start_server
from ansible.module_utils.th_dataset.restore import Restore, RestoreOptions
from ansible.module_utils.th_dataset.restore_step import Step, begin, carry_on

PRIVATE: tuple[Step, ...] = (import_dump, clone_snapshot, start_server)
EXTERNAL: tuple[Step, ...] = (take_locks, load_seed, prove_seed)
"""The steps of roles/restore_datasets/tasks/private.yaml and external.yaml."""


def restore(options: Mapping[str, Any]) -> dict[str, Any]:
    """Take all steps; what the artifact holds. Raises RestoreError."""
    *_, last = steps(options)
    facts: dict[str, Any] = last["facts"]
    return facts


def steps(options: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Take one step after the other, each from what the one before has left; what it answers. Raises RestoreError."""
    begun = begin(RestoreOptions.of(options))
    for step in EXTERNAL if begun.external else PRIVATE:
        yield again(begun, step)


def again(begun: Restore, step: Step) -> Mapping[str, Any]:
    """Take one step of a restore that has begun. Raises RestoreError."""
    return carry_on(Restore.read(begun.file), step)
