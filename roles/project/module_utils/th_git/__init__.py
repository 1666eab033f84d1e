# SPDX-License-Identifier: Apache-2.0
"""Running git safely: neither a server nor a repository can make it do anything else.

Imports `th_core`, `th_parse` and the capped log of `th_sandbox`.
"""
