# SPDX-License-Identifier: Apache-2.0
"""Texts that a change has brought, parsed with limits on memory and time: none of it is run.

Imports `th_core`.
"""
