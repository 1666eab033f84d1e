# SPDX-License-Identifier: Apache-2.0
"""Which version of turbo-hipster this is."""

from importlib import metadata


def version() -> str:
    """The version that is installed; "" where none is."""
    try:
        return metadata.version("turbo-hipster")
    except metadata.PackageNotFoundError:
        return ""
