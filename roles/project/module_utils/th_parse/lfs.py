# SPDX-License-Identifier: Apache-2.0
"""What Git LFS keeps in a repository in place of a file: a pointer to it.

Its specification: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
"""

from __future__ import annotations

POINTER_LIMIT = 1024
"""Bytes that a pointer has at most."""

_VERSION = (b"version https://git-lfs.github.com/spec/", b"version http://git-media.io/")


def is_pointer(content: bytes) -> bool:
    """Whether a file's content is a pointer."""
    return len(content) <= POINTER_LIMIT and content.startswith(_VERSION)
