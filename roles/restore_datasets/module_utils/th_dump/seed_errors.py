# SPDX-License-Identifier: Apache-2.0
"""The client's error for a dump that does not load, without the rows. What to do about it: `th_dump.cures`.

The client prints the statement that failed, which may be thousands of rows, and the server quotes values. Datasets are
private: only the line with the error's number is kept, with its values masked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible.module_utils.th_core.text import printable

MOST = 300
SHORT = 3
"""Values of up to this many characters are not treated as secret."""

_ERROR = re.compile(
    r"^ERROR(?: (?P<number>\d{1,5}) \((?P<state>\w{1,10})\))?(?: at line (?P<line>\d{1,12}))?[^:\n]{0,80}: "
    r"(?P<text>.*)",
    re.M,
)
_DASHES = "\n--------------\n\nERROR"
_LONGEST_TEXT = 4096
# errors that quote names of tables, columns, settings and the like, not values
_ABOUT_NAMES = frozenset((
    1005, 1007, 1008, 1044, 1045, 1046, 1048, 1049, 1050, 1051, 1059, 1060, 1061, 1065, 1067, 1068, 1069, 1071,
    1072, 1074, 1075, 1089, 1091, 1101, 1102, 1103, 1109, 1110, 1113, 1115, 1118, 1125, 1128, 1142, 1143, 1146,
    1153, 1166, 1170, 1171, 1176, 1193, 1215, 1216, 1217, 1227, 1235, 1239, 1243, 1248, 1249, 1253, 1264, 1265,
    1267, 1273, 1283, 1286, 1289, 1298, 1303, 1304, 1305, 1347, 1348, 1349, 1350, 1356, 1359, 1360, 1364, 1370,
    1406, 1418, 1419, 1442, 1451, 1452, 1477, 1478, 1524, 1553, 1558, 1698, 1702, 1709, 1728, 1822, 1824, 1901, 1906,
    3105, 3109, 3161, 3510, 3546, 3723, 3750, 3780, 3819, 4025, 4161, 6125,
))  # fmt: skip
_DUPLICATE = re.compile(r"Duplicate entry .* for key '(?P<key>[^']{1,200})'", re.DOTALL)
_VALUE = re.compile(
    r"(?P<what>(?:Incorrect|Truncated incorrect|Invalid|Illegal) [\w ]{1,40}:) .*(?P<where> for column .{1,300}"
    r" at row \d+)",
    re.DOTALL,
)
_SIGNALED, _OWN_STATES = frozenset((1642, 1643, 1644)), "45"
_OPENS = re.compile(r"(?<!\w)'")
_LONG_NUMBER = re.compile(rf"\d{{{SHORT + 1},}}")
_VARIABLE = re.compile(r"Variable '(\w{1,64})' can't be set to the value of '([\w, \-]{0,200})'")


class SeedError(Exception):
    """A dump that cannot be used: `code` is ``seed_missing`` or ``seed_broken``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True)
class ClientError:
    """An error as the client reports it: the server's `number` (0: an error of the client itself), the `line` of the
    dump, and a `text` without values."""

    number: int
    line: int
    text: str

    @property
    def said(self) -> str:
        """The error in one line."""
        return f"ERROR {self.number}: {self.text}" if self.number else f"ERROR: {self.text}"


def read_error(said: str) -> ClientError:
    """The error in a client's output, which may contain rows of the dump."""
    # the statement precedes it, between two lines of dashes; rows in it may look like an error
    found = _ERROR.search(said, said.rfind(_DASHES) + 1) or _ERROR.search(said)
    if found is None:
        return ClientError(0, 0, "the client has ended without an error of the server's")
    number, line = int(found["number"] or 0), int(found["line"] or 0)
    if number in _SIGNALED or (found["state"] or "").startswith(_OWN_STATES):
        return ClientError(number, line, "a trigger or routine of the dump refuses it (SIGNAL)")  # in its own words
    return ClientError(number, line, masked(number, said[found.start("text") :].strip()[:_LONGEST_TEXT]))


def masked(number: int, text: str) -> str:
    """The server's text of an error, shortened, and without values of more than SHORT characters."""
    text = text.partition(" Query: '")[0]
    if number == 1064 or " near '" in text:
        text = text.partition(" near '")[0].partition("; check the manual")[0]
    if duplicate := _DUPLICATE.fullmatch(text):
        text = f"Duplicate entry '…' for key '{duplicate['key']}'"
    elif variable := _VARIABLE.match(text):
        text = variable[0]
    elif value := _VALUE.fullmatch(text):
        text = f"{value['what']} '…'{value['where']}"
    elif number not in _ABOUT_NAMES:
        # a value may itself contain quotes: drop everything between the first and the last one
        opens, ends = _OPENS.search(text), text.rfind("'")
        begins = opens.start() if opens else -1
        if begins >= 0 and not 0 < ends - begins <= SHORT + 1:
            text = f"{text[:begins]}'…'{text[ends + 1 :] if ends > begins else ''}"
        text = _LONG_NUMBER.sub("…", text)
    text = printable(" ".join(text.split()))
    return text if len(text) <= MOST else text[: MOST - 1].rsplit(" ", 1)[0] + "…"
