# SPDX-License-Identifier: Apache-2.0
"""Readers for `th history`: convert text logs of earlier walks into the events that current walks write.

Imports `inputs`; only the command imports it.
"""

from worker.history.log_walks import MAX_WALKS
from worker.history.text_walks import LogReader

__all__ = ["MAX_WALKS", "LogReader"]
