# SPDX-License-Identifier: Apache-2.0
"""Reads input from outside: addresses, JSON and YAML, and values that a hostile change may have written.

Imports only the worker's errors; every other package may import it.
"""

from worker.inputs.untrusted import brief, text

__all__ = ["brief", "text"]
