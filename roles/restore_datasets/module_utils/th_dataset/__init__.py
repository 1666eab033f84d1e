# SPDX-License-Identifier: Apache-2.0
"""Restoring a dataset: from a snapshot into a private server, or on an external server.

Imports `th_dump` and the shelves of the role `project`.
"""
