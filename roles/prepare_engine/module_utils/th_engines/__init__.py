# SPDX-License-Identifier: Apache-2.0
"""The shelf of `prepare_engine`: getting the files of a database server, and keeping them whole or not at all.

Imports the shelves of `project` before it.
"""
