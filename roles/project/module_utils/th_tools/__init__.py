# SPDX-License-Identifier: Apache-2.0
"""The migration tools, each with all that is particular to it, trees of migrations, and the profile that names a tool.

Imports `th_core` and `th_parse`.
"""
