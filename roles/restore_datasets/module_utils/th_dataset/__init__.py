# SPDX-License-Identifier: Apache-2.0
"""Restoring a dataset: snapshots of it for private servers, or its part of an external server.

Imports `th_dump` and the shelves of the role `project`.
"""
