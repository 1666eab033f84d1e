# SPDX-License-Identifier: Apache-2.0
"""From the files that the playbooks left to a verdict: pure functions, so the same files always give the same one.

Imports `inputs` and the limits of `config`; the report, the job and the commands import it.
"""

from worker.verdict.decide import Verdict
from worker.verdict.judge import DatasetResult
from worker.verdict.outcome import AFTERWARDS, CODES, Fault, Message, Outcome
from worker.verdict.problems import Problem

__all__ = ["AFTERWARDS", "CODES", "DatasetResult", "Fault", "Message", "Outcome", "Problem", "Verdict"]
