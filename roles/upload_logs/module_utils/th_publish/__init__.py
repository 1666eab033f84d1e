# SPDX-License-Identifier: Apache-2.0
"""What is published of a job: regular files with harmless names, within limits, masked.

Imports the shelves of the role `project`.
"""
