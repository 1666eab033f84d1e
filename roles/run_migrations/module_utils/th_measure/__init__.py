# SPDX-License-Identifier: Apache-2.0
"""What a migration has made the server do, as the server tells it over connections of our own.

Imports the shelves of the role `project`.
"""
