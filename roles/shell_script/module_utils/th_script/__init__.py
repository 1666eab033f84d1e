# SPDX-License-Identifier: Apache-2.0
"""Running a script of the checkout, or of the operator, in a box.

Imports the shelves of the role `project`.
"""
