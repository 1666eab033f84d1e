# SPDX-License-Identifier: Apache-2.0
"""What `th history` reads: text logs of earlier walks, as the events that today's walks write.

Imports `inputs`; only the command imports it.
"""

from worker.history.log_walks import MAX_WALKS
from worker.history.text_walks import LogReader

__all__ = ["MAX_WALKS", "LogReader"]
