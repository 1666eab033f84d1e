# SPDX-License-Identifier: Apache-2.0
"""The checkout of one job: the change under test, the stages of the walk, and what the change touches.

Imports the shelves of the role `project`.
"""
