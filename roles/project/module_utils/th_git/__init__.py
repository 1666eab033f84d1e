# SPDX-License-Identifier: Apache-2.0
"""Git, run so that neither a server nor a repository can make it do anything but its own work.

Imports `th_core`, `th_parse` and the capped log of `th_sandbox`.
"""
