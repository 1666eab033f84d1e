# SPDX-License-Identifier: Apache-2.0
"""Dumps: which program has written one, whether it is whole, and loading it.

Imports the shelves of the role `project`.
"""
