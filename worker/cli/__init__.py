# SPDX-License-Identifier: Apache-2.0
"""The command line: `th-worker` and `th`, with one module for each command of `th`.

Imports everything; nothing imports it.
"""
