# SPDX-License-Identifier: Apache-2.0
"""The checkout of a job that tests no migrations: what is under test, without reading any of the project's files."""

from __future__ import annotations

import posixpath
import time
from typing import Any

from ansible.module_utils.th_checkout.fetch import ChangeUnderTest, Fetch
from ansible.module_utils.th_git.files import file


class PlainCheckout(Fetch):
    """One job's checkout, without stages to walk through."""

    def read(self, point: ChangeUnderTest, begun: float) -> dict[str, Any]:
        """The document of checkout.json: the change is the only stage. `begun` is when the first step began."""
        stage = {"name": self._name(point.commit), "slug": "change", "kind": "change", "commit": point.commit}
        return {
            **self._described(point),
            "stages": [{**stage, "heads": [], "folders": []}],
            "seconds": round(time.monotonic() - begun, 3),
        }

    def merged(self, point: ChangeUnderTest, path: str) -> bool:
        """Whether the code that the change is based on has a file, by its path in the checkout."""
        path = posixpath.normpath(path)
        outside = path == "." or path.startswith(("/", "../"))
        return bool(point.base and not outside and file(self._git, self._src, point.base, path) is not None)
