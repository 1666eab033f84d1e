# SPDX-License-Identifier: Apache-2.0
"""The configuration and the dataset files that operators write: read once, checked completely, then immutable.

Imports `inputs`, `logs` and `request`; all later packages may import it.
"""

from worker.config.config import GATE_PLUGIN, UNCONFINED, Config, JobEntry, default_ansible_dir, load

__all__ = ["GATE_PLUGIN", "UNCONFINED", "Config", "JobEntry", "default_ansible_dir", "load"]
