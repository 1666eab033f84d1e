# SPDX-License-Identifier: Apache-2.0
"""A verdict as people and scripts read it: the page, `result.json`, the summary, and text for a terminal.

Imports `verdict` and `inputs`; the job and the commands import it.
"""
