# SPDX-License-Identifier: Apache-2.0
"""What people type: `th-worker` and `th`, one module a command of `th`.

Imports everything; nothing imports it.
"""
