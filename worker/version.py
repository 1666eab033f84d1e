# SPDX-License-Identifier: Apache-2.0
"""The version of turbo-hipster."""

from importlib import metadata


def version() -> str:
    """The installed version; "" if none is installed."""
    try:
        return metadata.version("turbo-hipster")
    except metadata.PackageNotFoundError:
        return ""
