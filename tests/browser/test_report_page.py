# SPDX-License-Identifier: Apache-2.0
"""The report as a person has it before them: in a real browser, on a desk and on a phone, in light and dark."""

import json
import shutil
from pathlib import Path

import pytest

from tests.browser.chromium import Chromium
from tests.kit.recorded_walks import CASES, Case, case
from worker.report import render

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
    "five_datasets_fail_in_five_ways",
    "success_with_waivers",
    "success_with_a_long_version",
    "two_databases",
    "disk_full",
    "canceled",
    "hostile_text",
    "three_engines",
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
    shutil.copytree(walked.artifacts, folder / "artifacts")
    for file in ("task_output.log", "user_001.log", "job.yaml", "reproduce.sh"):
        (folder / file).write_text(f"{file}\n")
    header = render.Header(
        job=JOB, url="https://logs.example.org/42/", started="2026-11-23T18:16:00.000Z", seconds=41.25
    )
    render.write(folder, walked.verdict(), header)
    return folder / "index.html"


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_a_failure_tells_its_author_what_to_do(chromium: Chromium, tmp_path: Path, width: int) -> None:
    chromium.open(page(tmp_path, "migration_raised"), width)
    shown = chromium.visible_text()
    for needed in (
        "FAILURE",
        "its author can fix it",
        "library/catalog",
        "change 42,3",
        "Did not find the end of a migration after a start",
        "Migration 5d17f4c9e6b5->6e20a5d8f3c6 failed to complete",
        "Duplicate entry '978-0' for key 'isbn'",
        "catalog/db/migrations/versions/6e20a5d8f3c6_unique_isbn.py:17",
        "Merge or remove the duplicates",
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


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "migration_raised",
            ["the change's fault", "failed to complete", "user_001", "unique_isbn.py:17", "Duplicate entry 978-0"],
        ),
        ("data_migration_raised", ["the change's fault", "data->fill-isbn", "fill.py:40", "no ISBN in row 17"]),
        ("server_died", ["not the change's fault", "The private database server died"]),
        ("downgrade_of_the_branch_raised", ["not the change's fault", "5d17f4c9e6b5->4c83e2b5d0a4", "no way back"]),
        ("environment_failed", ["the change's fault", "Could not build the virtual environment"]),
    ],
)
def test_the_head_says_what_is_wrong_where_and_whose_it_is(
    chromium: Chromium, tmp_path: Path, name: str, words: list[str]
) -> None:
    chromium.open(page(tmp_path, name), DESK)
    head = chromium.value("document.querySelector('header').innerText")
    assert [word for word in words if word not in head] == []
    assert chromium.value("document.querySelector('header').getBoundingClientRect().bottom") < 450


def test_every_dataset_is_named_in_the_head_with_what_became_of_it(chromium: Chromium, tmp_path: Path) -> None:
    chromium.open(page(tmp_path, "five_datasets_fail_in_five_ways"), DESK)
    head = chromium.value("[...document.querySelectorAll('header li')].map((item) => item.innerText)")
    assert [" ".join(item.split()) for item in head] == [
        "user_001 ✗ FAILURE", "user_002 ✗ FAILURE", "user_003 ✗ FAILURE", "user_004 ! WARNING",
        "user_005 ⚙ INFRASTRUCTURE",
    ]  # fmt: skip
    shown = chromium.visible_text()
    for words in ("Duplicate entry", "ALTER TABLE books", "left the version unchanged", "limit is 60 s", "signal 11"):
        assert words in shown


def test_a_waived_excess_is_shown_beside_its_migration_and_looks_like_no_failure(
    chromium: Chromium, tmp_path: Path
) -> None:
    chromium.open(page(tmp_path, "success_with_waivers"), DESK)
    row = chromium.value("document.querySelector('.migrations tbody tr').innerText")
    for words in ("over the limit of 2,000,000 rows", "waived: the index has to be built once", "bugs.example.org/138"):
        assert words in row
    assert "_6e20a5d8f3c6_bugs" in row, "the remark is beside its migration"
    assert chromium.value("document.querySelectorAll('.message.warning, .message.failure').length") == 0
    assert "does not count" in chromium.visible_text()


def test_a_version_of_many_heads_is_there_on_demand(chromium: Chromium, tmp_path: Path) -> None:
    chromium.open(page(tmp_path, "success_with_a_long_version"), DESK)
    assert "30 heads" in chromium.visible_text()
    assert "voucher.0021" not in chromium.visible_text()
    chromium.value("document.querySelectorAll('.heads').forEach((each) => { each.open = true })")
    assert "voucher.0021" in chromium.visible_text()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("success_without_a_migration", "The change touches no migration. Models and helpers matter as well"),
        ("success_without_the_tip", "The branch's tip was left out: the change alters the migration 5d17f4c9e6b5"),
        ("success_at_the_second_try", "This is the second try. An infrastructure failure ended the first after 12.5"),
        ("success_with_a_data_migration", "Data migrations were run after the schema's: fill-isbn."),
        ("success_down_and_up_again", "Walked down as well: 6e20a5d8f3c6, 5d17f4c9e6b5, 4c83e2b5d0a4."),
        ("two_databases", "stable/victoria was left out: it has a migration that the change alters."),
    ],
)
def test_how_it_was_done_is_said_in_plain_words(
    chromium: Chromium, tmp_path: Path, name: str, words: str
) -> None:
    chromium.open(page(tmp_path, name), DESK)
    assert words in chromium.value("document.querySelector('.notes').innerText")


def test_downgrades_and_data_migrations_are_marked_and_the_start_is_apart(chromium: Chromium, tmp_path: Path) -> None:
    chromium.open(page(tmp_path, "success_with_a_data_migration"), DESK)
    rows = chromium.value("[...document.querySelectorAll('.migrations tbody tr')].map((row) => row.innerText)")
    (data,) = [row for row in rows if "data migration" in row]
    assert "31.50 s" in data and "in 14 rounds and 1.90 s to start" in data
    shutil.rmtree(tmp_path / "artifacts")
    chromium.open(page(tmp_path, "success_down_and_up_again"), DESK)
    assert chromium.value("document.querySelectorAll('.sort').length") == 3


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


def test_engines_are_compared_side_by_side_with_what_differs_marked(chromium: Chromium, tmp_path: Path) -> None:
    chromium.open(page(tmp_path, "engines_agree"), DESK)
    row, own, *_ = chromium.value("[...document.querySelectorAll('.comparison tbody tr')].map((e) => e.innerText)")
    assert "4c83e2b5d0a4" in row and "×8" in row and "96.0 MB" in row
    assert "by this change" in own and "×" not in own
    engines = chromium.value("[...document.querySelectorAll('.comparison thead a')].map((e) => e.innerText)")
    assert engines[:2] == ["system (MariaDB 10.11.19)", "mysql-9.7 (MySQL 9.7.4)"]
    shutil.rmtree(tmp_path / "artifacts")
    chromium.open(page(tmp_path, "three_engines"), PHONE)
    told = chromium.value("document.querySelector('.comparison tbody tr').innerText")
    for words in ("≠ another result", "✓ ok", "✗ failure", "not run", "42,000"):
        assert words in told
    links = chromium.value("[...document.querySelectorAll('.comparison a')].map((e) => e.hash.slice(1))")
    assert all(chromium.value(f"!!document.getElementById({link!r})") for link in links) and len(links) == 6
    assert chromium.value("!!document.getElementById('dataset-user_001')"), "the message is about the dataset"


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
