# SPDX-License-Identifier: Apache-2.0
"""Database servers: a private one, or a share of an external one; their accounts, running statements, and what is
counted.

Imports `th_core` and `th_sandbox`.
"""
