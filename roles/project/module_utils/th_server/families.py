# SPDX-License-Identifier: Apache-2.0
"""The families of database servers that can run privately, by name."""

from __future__ import annotations

from ansible.module_utils.th_server.family_mariadb import MARIADB
from ansible.module_utils.th_server.family_mysql import MYSQL

FAMILIES = {family.name: family for family in (MARIADB, MYSQL)}
