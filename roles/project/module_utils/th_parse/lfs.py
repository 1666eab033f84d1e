# SPDX-License-Identifier: Apache-2.0
"""Git LFS pointers, which a repository holds in place of files.

Its specification: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
"""

from __future__ import annotations

POINTER_LIMIT = 1024
"""Maximum bytes of a pointer."""

_VERSION = (b"version https://git-lfs.github.com/spec/", b"version http://git-media.io/")


def is_pointer(content: bytes) -> bool:
    """Whether a file's content is a pointer."""
    return len(content) <= POINTER_LIMIT and content.startswith(_VERSION)
