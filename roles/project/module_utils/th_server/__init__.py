# SPDX-License-Identifier: Apache-2.0
"""Database servers: a private one, or a part of an external one; accounts, how statements are sent, and what is
counted.

Imports `th_core` and `th_sandbox`.
"""
