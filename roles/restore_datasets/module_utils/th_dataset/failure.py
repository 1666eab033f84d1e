# SPDX-License-Identifier: Apache-2.0
"""Why a dataset could not be restored, and who has to fix it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pymysql
from ansible.module_utils.th_core.artifacts import disk_full_message
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_dump.seed_errors import SeedError
from ansible.module_utils.th_server import mariadb


class RestoreError(Exception):
    """Why a dataset could not be restored: a code of docs/verdicts.md and a text."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@contextlib.contextmanager
def as_restore_errors(server_code: str) -> Iterator[None]:
    """Turn every error of a restore into a RestoreError, whose code says who has to fix it.

    `server_code` is the code for a failure of the database server.
    """
    try:
        yield
    except (SeedError, StepError) as error:
        raise RestoreError(error.code, str(error)) from error
    except (mariadb.ServerError, pymysql.Error) as error:
        raise RestoreError(server_code, str(error)) from error
    except OSError as error:
        raise RestoreError("disk_full" if disk_full_message(error) else server_code, str(error)) from error
