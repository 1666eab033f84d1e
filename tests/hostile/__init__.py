# SPDX-License-Identifier: Apache-2.0
"""Attacks: each test tries one thing, and shows what stopped it."""
