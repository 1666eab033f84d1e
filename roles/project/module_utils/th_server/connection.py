# SPDX-License-Identifier: Apache-2.0
"""A connection to a database server, encrypted where the server can do that, as PyMySQL has it when nothing is said."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pymysql.connections

if TYPE_CHECKING:
    _Base = pymysql.connections.Connection[Any]
else:
    _Base = pymysql.connections.Connection


class Connection(_Base):
    """PyMySQL's, with one TLS context for all connections.

    PyMySQL makes a context for each, and reads all of the system's certificates into it: 20 ms of processor time. It
    checks no server's certificate where it is given none to check it by, so nothing of that is ever looked at.
    """

    def _create_ssl_ctx(self, sslp: Mapping[str, Any]) -> ssl.SSLContext:
        if not sslp:
            return _unverified()
        made: ssl.SSLContext = super()._create_ssl_ctx(sslp)  # type: ignore[misc]  # the stubs have nothing private
        return made


@functools.cache
def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
