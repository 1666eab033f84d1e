# SPDX-License-Identifier: Apache-2.0
"""Import the modules that are named, as far as they can be: Python keeps then what it has compiled."""

import importlib
import sys

for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        print(f"{name} is not compiled: {error}")
