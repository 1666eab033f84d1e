# SPDX-License-Identifier: Apache-2.0
"""The walk of a dataset: its stages, the programs that walk them, and what is written down.

Imports `th_measure` and the shelves of the role `project`.
"""
