# SPDX-License-Identifier: Apache-2.0
"""How quickly Hypothesis makes its examples says more about the machine than about the code: no test fails of it.

With CI in the environment, the examples are the same each time.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("any machine")
