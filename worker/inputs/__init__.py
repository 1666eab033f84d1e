# SPDX-License-Identifier: Apache-2.0
"""Reading what comes from outside: addresses, JSON and YAML, and values that a hostile change may have written.

Imports nothing of the worker but its errors; every other package may import it.
"""

from worker.inputs.untrusted import brief, text

__all__ = ["brief", "text"]
