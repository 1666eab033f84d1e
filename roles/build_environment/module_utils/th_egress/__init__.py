# SPDX-License-Identifier: Apache-2.0
"""The way out of a build's box: a proxy that connects only to where a build may.

Imports `th_core`.
"""
