# SPDX-License-Identifier: Apache-2.0
"""Publishing a job's results: regular files with harmless names, within limits, and with secrets masked.

Imports the shelves of the role `project`.
"""
