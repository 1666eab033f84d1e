# SPDX-License-Identifier: Apache-2.0
"""A connection to a database server, encrypted if the server supports it, which is PyMySQL's default.

With a CA (`ssl_ca`, a PEM file) it must be encrypted, and the server's certificate must be valid, issued by that CA and
for the host's name; where the host is an IP address, the certificate must have that as an alternative name.

This module imports nothing of Ansible, because the program that holds a job's locks on an external server loads it.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pymysql.connections
from pymysql.constants import CR

if TYPE_CHECKING:
    _Base = pymysql.connections.Connection[Any]
else:
    _Base = pymysql.connections.Connection


class Connection(_Base):
    """PyMySQL's connection, with one TLS context for all of them that verify alike.

    PyMySQL creates a context for each connection and loads all of the system's certificates into it, which takes 20 ms
    of processor time. By default it verifies no certificate, so they are never used.
    """

    def _create_ssl_ctx(self, sslp: Mapping[str, Any]) -> ssl.SSLContext:
        return tls_context(str(sslp.get("ca") or ""))

    def connect(self, sock: Any = None) -> None:
        """Connect and log in. Raises pymysql.err.OperationalError."""
        try:
            super().connect(sock)
        except RuntimeError as error:  # a way to log in that needs another package
            instead = ""
            if "cryptography" in str(error):
                instead = (
                    ": without TLS, passwords of caching_sha2_password and sha256_password are sent encrypted by that"
                    " package. Let the server offer TLS (docs/datasets.md, Encryption), or install the package into"
                    " the worker's environment"
                )
            raise pymysql.err.OperationalError(CR.CR_AUTH_PLUGIN_CANNOT_LOAD, f"{error}{instead}") from error


@functools.cache
def tls_context(ca: str) -> ssl.SSLContext:
    """The TLS context that verifies servers by a CA's file; "" verifies none. Raises pymysql.err.OperationalError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not ca:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
    # a CA that MySQL or openssl(1) has made need not have all the extensions that Python 3.13 asks for
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(ca)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        problem = "holds no certificate in PEM form" if isinstance(error, ssl.SSLError) else f"cannot be read: {error}"
        raise pymysql.err.OperationalError(CR.CR_SSL_CONNECTION_ERROR, f"ssl_ca: {ca} {problem}") from error
    return context


def tls_arguments(ca: str) -> dict[str, Any]:
    """How a connection by network verifies the server, as arguments of PyMySQL."""
    return {"ssl_ca": ca, "ssl_verify_identity": True} if ca else {}


def tls_options(ca: str) -> dict[str, str]:
    """The same as options of the client program, which verifies by default in newer versions only."""
    return {"ssl-ca": ca, "ssl-verify-server-cert": "1"} if ca else {"ssl-verify-server-cert": "0"}
