# SPDX-License-Identifier: Apache-2.0
"""Network access for a build's box: a proxy that connects only to allowed destinations.

Imports `th_core`.
"""
