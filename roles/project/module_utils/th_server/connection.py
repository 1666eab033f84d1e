# SPDX-License-Identifier: Apache-2.0
"""A connection to a database server, encrypted if the server supports it, which is PyMySQL's default."""

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
    """PyMySQL's connection, with one TLS context for all of them.

    PyMySQL creates a context for each connection and loads all of the system's certificates into it, which takes 20 ms
    of processor time. By default it verifies no certificate, so they are never used.
    """

    def _create_ssl_ctx(self, sslp: Mapping[str, Any]) -> ssl.SSLContext:
        if not sslp:
            return _unverified()
        made: ssl.SSLContext = super()._create_ssl_ctx(sslp)  # type: ignore[misc]  # the stubs omit private methods
        return made


@functools.cache
def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
