# SPDX-License-Identifier: Apache-2.0
"""What a migration made the server do, as read from the server over the worker's own connections.

Imports the shelves of the role `project`.
"""
