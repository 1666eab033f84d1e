# SPDX-License-Identifier: Apache-2.0
"""Report whether a dump is whole: ``python inspect_dump.py DUMP [DATABASE [SECONDS]]``.

DUMP is a dataset's ``seed_data``, DATABASE the database that it is for, SECONDS how long it may be read. The result
is JSON on standard output: the fields of `th_dump.completeness.Finding`, such as ``kind`` (the program that wrote it),
``state`` (``whole``, ``broken`` or ``unknown``), ``reason``, ``tables`` and ``rows``. It contains no data of the rows.
"""

import dataclasses
import json
import sys
from pathlib import Path

import ansible.module_utils

ROLES = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run it."""
    ansible.module_utils.__path__.extend(map(str, sorted(ROLES.glob("*/module_utils"))))
    from ansible.module_utils.th_dump import completeness

    path, database, seconds = [*sys.argv[1:], "", "0"][:3] if len(sys.argv) < 4 else sys.argv[1:4]
    try:
        found = completeness.inspect(Path(path), database, float(seconds or 0))
    except OSError as error:
        found = completeness.Finding("", completeness.BROKEN, f"it cannot be read: {error.strerror}")
    print(json.dumps(dataclasses.asdict(found)))


if __name__ == "__main__":
    main()
