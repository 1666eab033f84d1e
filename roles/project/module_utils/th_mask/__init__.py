# SPDX-License-Identifier: Apache-2.0
"""The secrets of a job: finding them, recognizing the forms in which they appear, and masking them.

Imports `th_core` and `th_server`.
"""
