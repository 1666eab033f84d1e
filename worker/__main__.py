# SPDX-License-Identifier: Apache-2.0
"""``python -m worker`` is `th`."""

import sys

from worker.cli.main import th

sys.exit(th())
