# SPDX-License-Identifier: Apache-2.0
"""Parsing files of a change, with limits on memory and time, and without running any of them.

Imports `th_core`.
"""
