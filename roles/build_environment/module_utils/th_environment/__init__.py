# SPDX-License-Identifier: Apache-2.0
"""Virtual environments: what they are made of, how uv builds them, and which are kept.

Imports `th_egress` and the shelves of the role `project`.
"""
