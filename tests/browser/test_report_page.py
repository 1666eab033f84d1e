# SPDX-License-Identifier: Apache-2.0
"""The report as a person has it before them: in a real browser, on a desk and on a phone, in light and dark."""

import json
import shutil
from pathlib import Path

import pytest

from tests.browser.chromium import Chromium
from tests.unit.walks import CASES, Case, case
from worker import report

JOB = {
    "id": "8d1b0f6a", "name": "gate-real-db-upgrade_catalog", "project": "library/catalog", "branch": "master",
    "change": "42", "patchset": "3", "ref": "refs/zuul/master/Z5a1", "commit": "c0ffee00" * 5, "pipeline": "check",
}  # fmt: skip
PHONE = 390
DESK = 1280
INTERESTING = [
    "success",
    "migration_raised",
    "too_many_rows",
    "three_datasets",
    "disk_full",
    "canceled",
    "hostile_text",
]

# Every text that is drawn, with the contrast of its colour to what lies behind it (WCAG 2.2, 1.4.3).
CONTRASTS = """
(() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, index) => sum + c * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = channels(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    found.push([walker.currentNode.data.trim().slice(0, 60), (a + 0.05) / (b + 0.05)]);
  }
  return found;
})()
"""


def page(folder: Path, name: str) -> Path:
    walked = case(name)
    shutil.copytree(walked.folder / "artifacts", folder / "artifacts")
    for file in ("task_output.log", "user_001.log", "job.yaml", "reproduce.sh"):
        (folder / file).write_text(f"{file}\n")
    header = report.Header(
        job=JOB, url="https://logs.example.org/42/", started="2026-11-23T18:16:00.000Z", seconds=41.25
    )
    report.write(folder, walked.verdict(), header)
    return folder / "index.html"


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_a_failure_tells_its_author_what_to_do(chromium: Chromium, tmp_path: Path, width: int) -> None:
    chromium.open(page(tmp_path, "migration_raised"), width)
    shown = chromium.visible_text()
    for needed in (
        "FAILURE",
        "its author can mend it",
        "library/catalog",
        "change 42,3",
        "Did not find the end of a migration after a start",
        "Migration 5d17f4c9e6b5->6e20a5d8f3c6 failed to complete",
        "Duplicate entry '978-0' for key 'isbn'",
        "catalog/db/migrations/versions/6e20a5d8f3c6_unique_isbn.py:17",
        "Make the migration cope with the rows that are there",
        "user_001",
        "10.11.19-MariaDB",
        "task_output.log",
        "reproduce.sh",
    ):
        assert needed in shown
    assert chromium.value("document.title") == "FAILURE · library/catalog · change 42,3"
    assert chromium.value("document.documentElement.lang") == "en"


def test_the_verdict_is_seen_without_scrolling(chromium: Chromium, tmp_path: Path) -> None:
    chromium.open(page(tmp_path, "migration_raised"), PHONE, 800)
    for selector in ("h1", ".message h3"):
        assert chromium.value(f"document.querySelector({selector!r}).getBoundingClientRect().bottom") < 800


def test_the_migrations_that_matter_come_first_and_the_others_on_demand(chromium: Chromium, tmp_path: Path) -> None:
    chromium.open(page(tmp_path, "migration_raised"), DESK)
    shown = chromium.visible_text()
    assert "6e20a5d8f3c6_unique_isbn.py" in shown
    assert "2a94d7e3c8f2_add_isbn.py" not in shown
    chromium.value("document.querySelector('.migrations summary').click()")
    assert "2a94d7e3c8f2_add_isbn.py" in chromium.visible_text()


def test_what_is_over_a_limit_is_shown_with_the_limit(chromium: Chromium, tmp_path: Path) -> None:
    chromium.open(page(tmp_path, "too_many_rows"), DESK)
    over = chromium.value("[...document.querySelectorAll('td.over')].map((cell) => cell.innerText)")
    assert len(over) == 2
    assert "250,001" in over[0] and "250,000" in over[0]
    assert "3,456,789" in over[1] and "2,000,000" in over[1]


def test_every_dataset_has_its_place(chromium: Chromium, tmp_path: Path) -> None:
    chromium.open(page(tmp_path, "three_datasets"), DESK)
    headings = chromium.value("[...document.querySelectorAll('h2')].map((heading) => heading.innerText)")
    for name, outcome in (("user_001", "INFRASTRUCTURE"), ("user_002", "FAILURE"), ("user_003", "WARNING")):
        assert any(name in heading and outcome in heading for heading in headings)


def test_trouble_of_ours_is_not_put_down_to_the_change(chromium: Chromium, tmp_path: Path) -> None:
    chromium.open(page(tmp_path, "disk_full"), DESK)
    shown = chromium.visible_text()
    assert "not the change's fault" in shown
    assert "No space is left on the worker's disk" in shown


@pytest.mark.parametrize("name", INTERESTING)
@pytest.mark.parametrize("width", [DESK, PHONE, 320])
def test_nothing_has_to_be_scrolled_sideways(chromium: Chromium, tmp_path: Path, name: str, width: int) -> None:
    chromium.open(page(tmp_path, name), width)
    chromium.value("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    assert chromium.value("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", INTERESTING)
def test_every_text_stands_out(chromium: Chromium, tmp_path: Path, name: str, dark: bool) -> None:
    chromium.open(page(tmp_path, name), DESK, dark=dark)
    chromium.value("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    contrasts = chromium.value(CONTRASTS)
    assert len(contrasts) > 20
    assert [each for each in contrasts if each[1] < 4.5] == []


def test_dark_is_dark(chromium: Chromium, tmp_path: Path) -> None:
    path = page(tmp_path, "success")
    colors = []
    for dark in (False, True):
        chromium.open(path, DESK, dark=dark)
        colors.append(chromium.value("getComputedStyle(document.body).backgroundColor"))
    assert colors[0] == "rgb(255, 255, 255)"
    assert sum(map(int, colors[1].removeprefix("rgb(").removesuffix(")").split(","))) < 150


@pytest.mark.parametrize("walked", CASES, ids=lambda walked: walked.name)
def test_every_case_has_a_whole_page(chromium: Chromium, tmp_path: Path, walked: Case) -> None:
    path = page(tmp_path, walked.name)
    chromium.open(path)
    shown = chromium.visible_text()
    assert walked.expected["result"] in shown
    for message in walked.expected["messages"]:
        assert message["text"].rpartition(" - ")[2] in shown
    assert chromium.value(
        "[...document.querySelectorAll('table')].every((each) => each.querySelector('thead th[scope=col]'))"
    )
    assert chromium.requests == [path.as_uri()], "the page needs nothing but itself"


def test_nothing_hostile_runs(chromium: Chromium, tmp_path: Path) -> None:
    path = page(tmp_path, "hostile_text")
    chromium.open(path)
    assert chromium.dialogs == []
    assert chromium.requests == [path.as_uri()]
    assert "owned" not in chromium.value("document.title")
    assert chromium.value("document.querySelectorAll('script, img, iframe, object, [onerror]').length") == 0
    shown = chromium.visible_text()
    assert "<script>document.title='owned'</script>" in shown
    assert "<img src=x onerror=alert(1)>.py:3" in shown
    assert "{{7*7}}" in shown and "49" not in shown.replace("2049", "")
    assert not set("\x1b\u202e\x00") & set(shown)


def test_a_script_that_got_in_would_not_run(chromium: Chromium, tmp_path: Path) -> None:
    path = page(tmp_path, "success")
    path.write_text(path.read_text().replace("</main>", "<script>document.title = 'owned'</script></main>"))
    chromium.open(path)
    assert chromium.value("document.querySelectorAll('script').length") == 1
    assert "owned" not in chromium.value("document.title")


def test_the_links_lead_to_files_that_are_there(chromium: Chromium, tmp_path: Path) -> None:
    path = page(tmp_path, "migration_raised")
    chromium.open(path)
    links = chromium.value("[...document.querySelectorAll('a')].map((link) => link.getAttribute('href'))")
    files = [link for link in links if not link.startswith("#")]
    assert {"user_001.log", "task_output.log", "job.yaml", "reproduce.sh", "result.json"} <= set(files)
    assert {"artifacts/environment.json", "artifacts/walk-user_001.jsonl"} <= set(files)
    for link in files:
        assert (tmp_path / link).exists()
    for link in set(links) - set(files):
        assert chromium.value(f"!!document.getElementById({link[1:]!r})")


def test_a_picture_of_it_is_not_empty(chromium: Chromium, tmp_path: Path) -> None:
    chromium.open(page(tmp_path, "migration_raised"))
    picture = tmp_path / "page.png"
    chromium.screenshot(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000


def test_the_page_and_the_document_agree(chromium: Chromium, tmp_path: Path) -> None:
    path = page(tmp_path, "three_datasets")
    document = json.loads((tmp_path / "result.json").read_text())
    chromium.open(path)
    assert chromium.value("document.querySelectorAll('article.message').length") == len(document["messages"])
