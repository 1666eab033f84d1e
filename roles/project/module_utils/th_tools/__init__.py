# SPDX-License-Identifier: Apache-2.0
"""Trees of migrations, read from their scripts: none of the project's code is run.

Imports `th_core` and `th_parse`.
"""
