# SPDX-License-Identifier: Apache-2.0
"""A report in which every text is hostile, in a real browser, with a server that must never be called."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.browser.chromium import Chromium
from tests.kit import hostile_artifacts as hostile
from tests.kit.recorded_walks import case
from tests.kit.waiting import wait_until
from worker.report import render


class Trap:
    """`called` are the paths that were asked for."""

    def __init__(self) -> None:
        called: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                called.append(self.path)
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.called = called
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/called"

    def wait(self, chromium: Chromium) -> list[str]:
        chromium.value("document.body.offsetHeight")
        time.sleep(0.7)
        return self.called


@pytest.fixture
def trap() -> Iterator[Trap]:
    found = Trap()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


def markup(trap: Trap) -> str:
    # without what leads away from the page, so that there is a page left to look at
    return hostile.text(trap.url).replace("http-equiv=refresh", "name=refresh").split("<meta")[0]


def test_the_trap_springs_where_nothing_is_escaped(chromium: Chromium, tmp_path: Path, trap: Trap) -> None:
    page = tmp_path / "index.html"
    page.write_text(f"<!DOCTYPE html><title>x</title><p>{markup(trap)}")
    chromium.open(page)
    wait_until(lambda: trap.called and chromium.value("document.title") == "owned")


@pytest.mark.parametrize("width", [1280, 390])
def test_hostile_text_does_nothing(chromium: Chromium, tmp_path: Path, trap: Trap, width: int) -> None:
    found, header = hostile.job(tmp_path, trap.url)
    page = tmp_path / "index.html"
    page.write_text(render.as_page(found, header))
    chromium.open(page, width, 844)
    assert trap.wait(chromium) == []
    assert chromium.requests == [page.as_uri()]
    assert chromium.value("document.title").startswith("FAILURE · </title></style>")
    assert chromium.value("document.querySelectorAll('script, img, svg, iframe').length") == 0
    assert chromium.value("document.documentElement.scrollWidth") <= width
    assert chromium.value("document.querySelector('h1').getBoundingClientRect().bottom") < 400


def test_the_policy_holds_where_the_escaping_would_not(chromium: Chromium, tmp_path: Path, trap: Trap) -> None:
    page = tmp_path / "index.html"
    text = render.as_page(case("migration_raised").verdict(), render.Header({"project": "library/catalog"}))
    page.write_text(text.replace("<main>", f"<main>{markup(trap)}"))
    chromium.open(page)
    assert chromium.value("document.querySelectorAll('img').length") == 1
    assert trap.wait(chromium) == []
    assert chromium.value("document.title") == "FAILURE · library/catalog"
