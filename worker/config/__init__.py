# SPDX-License-Identifier: Apache-2.0
"""The configuration and the dataset files that operators write: read once, checked completely, frozen.

Imports `inputs`, `logs` and `request`; whatever comes after it may import it.
"""

from worker.config.config import GATE_PLUGIN, UNCONFINED, Config, JobEntry, default_ansible_dir, load

__all__ = ["GATE_PLUGIN", "UNCONFINED", "Config", "JobEntry", "default_ansible_dir", "load"]
