# SPDX-License-Identifier: Apache-2.0
"""Attacks: each test tries one thing, and shows what stopped it."""

import tests.library.conftest  # noqa: F401 - lets the roles' modules be found
