# SPDX-License-Identifier: Apache-2.0
"""Secrets: which ones a job has, in which forms they appear, and how they are masked.

Imports `th_core` and `th_server`.
"""
