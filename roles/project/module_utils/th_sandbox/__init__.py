# SPDX-License-Identifier: Apache-2.0
"""The box that untrusted code runs in: what it sees, what it may use, how it ends.

Imports `th_core`.
"""
