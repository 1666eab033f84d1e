# SPDX-License-Identifier: Apache-2.0
"""Where a job is published: what its request takes can be published at; what cannot is refused at the request."""

import itertools
import random
from pathlib import Path

import pytest
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_publish.place import parts_of

from worker import publish
from worker.errors import RequestError
from worker.request import Request

from .test_upload_logs import Publisher
from .test_upload_logs import publisher as publisher

ZUUL = {"ZUUL_UUID": "0123456789", "ZUUL_PROJECT": "org/p", "ZUUL_URL": "git://localhost"}
SIGNS = [*map(chr, range(0x20, 0x7F)), "é", "\u202e", "\ud800", "\n", "\t", "\0", "\x7f"]


def requested(**arguments: str) -> str | None:
    """The place of a request, or None for one that is refused."""
    try:
        return Request.parse("job", "unique", {**ZUUL, **arguments}).log_path
    except RequestError:
        return None


def published_at(place: str) -> bool:
    try:
        return parts_of(place) == place.split("/")
    except StepError:
        return False


def generated() -> list[str]:
    """Paths of every printable sign at every place of a part, of odd parts and lengths, and at random."""
    odd = ["", ".", "..", "...", "~", "+", "-", "a.", "~root", "+x", "-x", ".x", "x" * 255, "x" * 256, "a b", "{{ x }}"]
    found = [f"7/{before}{sign}{after}/x" for sign in SIGNS for before in ("", "a") for after in ("", "b")]
    found += ["/".join(parts) for parts in itertools.product(odd, repeat=2)] + odd
    found += ["/".join(["x" * 99] * 10), "/".join(["x" * 99] * 10) + "y", "x/" * 499 + "xx", "x/" * 500 + "x"]
    dice = random.Random(7)
    alphabet = "ab1._+~@=,:-/ "
    found += ["".join(dice.choices(alphabet, k=dice.randint(1, 12))) for _ in range(5000)]
    return [path for path in found if path]


def test_a_request_and_the_publisher_have_one_rule() -> None:
    taken = {path for path in generated() if requested(LOG_PATH=path) is not None}
    assert taken == {path for path in generated() if published_at(path)}
    assert {"7/~/x", "7/+/x", "7/a~b/x", "~", "+x", "~root", "x" * 255} <= taken
    assert not {"..", "-x", ".x", "a b", "x" * 256, "7/\n/x"} & taken


def test_a_place_that_is_derived_is_one_too() -> None:
    """A change's number is a name, and its last two characters are a folder."""
    names = ["7", "a..", "a-", "x.y", "1-2", "~", "+1", "..", "a.-", "GH-12", "x" * 255]
    for change, pipeline in itertools.product(names, names):
        place = requested(ZUUL_CHANGE=change, ZUUL_PATCHSET="1", ZUUL_PIPELINE=pipeline)
        assert place is None or published_at(place), (change, pipeline)
    assert requested(ZUUL_CHANGE="12", ZUUL_PATCHSET="1", ZUUL_PIPELINE="+1") == "12/12/1/+1/job/0123456"
    assert requested(ZUUL_CHANGE="a..", ZUUL_PATCHSET="1") is None


@pytest.mark.parametrize(
    "place", ["7/7/1/check/c++/0123456", "~root/+x/~", "7/a~b/1", f"7/{'x' * 255}/{'y' * 255}", "7/a=b,c:d@e/x"]
)
def test_it_is_published_where_the_link_leads(publisher: Publisher, place: str) -> None:
    assert requested(LOG_PATH=place) == place
    publisher.params["log_path"] = place
    result = publisher.run()
    assert result["url"] == publish.url_of(publisher.params["url"], place)
    assert Path(publisher.root, place, "index.html").is_file()
    assert [path.name for path in Path(publisher.root, place).parent.iterdir()] == [Path(place).name]
