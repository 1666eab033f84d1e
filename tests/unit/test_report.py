# SPDX-License-Identifier: Apache-2.0
"""The report: what is in it, that it is well made, and that nothing in it does harm."""

import functools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit import ROOT
from tests.kit import hostile_artifacts as hostile
from tests.kit.recorded_walks import CASES, Case, case
from worker.inputs import brief
from worker.report import formatting, render, summary
from worker.report.render import Header
from worker.verdict import CODES, Message, Outcome, Problem, decide, times
from worker.verdict.judge import MigrationResult
from worker.verdict.problems import FirstTry
from worker.verdict.run_times import RunTimes, TaskTime

DOCS = ROOT / "docs"
VOID = ("meta", "link", "br", "img", "hr", "input")
HEADER = Header(
    {"id": "9a1f", "name": "gate-real-db-upgrade", "project": "library/catalog", "change": "42", "patchset": "3",
     "branch": "master", "ref": "refs/zuul/master/Z5a1", "commit": "c0ffee" * 6, "pipeline": "check"},
    "https://logs.example.org/42/", "2026-11-23T18:16:00.123Z", 75.04,
)  # fmt: skip


class Page(HTMLParser):
    """A page taken apart; fails where an element is closed that is not open."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.title = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "title":
            self.title += data
        elif "style" not in self._open:
            self.text += data

    def values(self, name: str) -> list[str]:
        return [value for _, key, value in self.attributes if key == name]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def page(found: decide.Verdict, header: Header = HEADER, **more: Any) -> Page:
    return Page(render.as_page(found, header, **more))


def step(row: MigrationResult) -> str:
    """How the page names a migration."""
    from_, to = brief(row.migration.from_), brief(row.migration.to)
    return to if row.migration.kind == "data" else f"{from_} → {to}"


def everything() -> decide.Verdict:
    """A verdict with something in every place that can be empty."""
    found = case("two_databases").verdict()
    assert found.artifacts is not None
    (result,) = found.datasets
    rows = [
        replace(row, over=frozenset({"seconds"}), excused={"seconds": "x"}, remarks={"_138_bugs": "x"})
        for row in result.migrations
    ]
    run = RunTimes(9.0, 1.0, (TaskTime("A play", "checkout", "A task", False, 1.0, 1),))
    artifacts = replace(found.artifacts, first_try=FirstTry((Problem("git_unreachable"),), 1.0), times=run)
    result = replace(result, name="user_001@system", migrations=tuple(rows))
    other = replace(result, name="user_001@mysql-9.7", migrations=tuple(replace(row, result="warning") for row in rows))
    return replace(found, datasets=(result, other), artifacts=artifacts)


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else None


def test_result_json_has_exactly_the_documented_keys() -> None:
    block = (DOCS / "artifacts.md").read_text().split("## result.json")[1].split("\n## ")[0]
    text = re.sub(r"([:{\[] ?)…", r"\1null", re.sub(r'("\w+")( \| "\w+")+', r"\1", block))
    documented, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])
    found = render.as_document(everything(), HEADER)
    assert shape(found) == shape(documented)


@pytest.mark.parametrize("walked", CASES, ids=lambda walked: walked.name)
def test_result_json_says_what_the_verdict_says(walked: Case) -> None:
    found = walked.verdict()
    document = json.loads(json.dumps(render.as_document(found, HEADER)))
    assert (document["result"], document["fault"]) == (found.outcome.name, found.fault.value)
    assert [message["code"] for message in document["messages"]] == [message.code for message in found.messages]
    assert [message["fault"] for message in document["messages"]] == [item.fault.value for item in found.messages]
    assert [len(item["migrations"]) for item in document["datasets"]] == [
        len(item.migrations) for item in found.datasets
    ]


def test_the_job_of_a_hand_written_file_is_text() -> None:
    document = render.as_document(decide.of_messages([]), Header({"change": 7, "project": None, "id": "\x1b[0m"}))
    assert (document["job"]["change"], document["job"]["project"], document["job"]["id"]) == ("7", "", "\ufffd[0m")
    assert set(document["job"]) == set(render.JOB_FIELDS)


@pytest.mark.parametrize("walked", CASES, ids=lambda walked: walked.name)
def test_the_page_is_well_formed_and_says_it_all(walked: Case) -> None:
    found = walked.verdict()
    shown = page(found)
    assert shown.title == f"{found.outcome.name} · library/catalog · change 42,3"
    assert summary.headline(found) in shown.words
    for message in found.messages:
        told = (message.explanation, message.look, message.remedy)
        more = () if message.code == "migration_unfinished" else told  # the next message says it
        for text in (message.text, message.detail, message.code, *more):
            assert " ".join(text.split()) in shown.words
    for result in found.datasets:
        assert f"Dataset {result.dataset}{f' on {result.label}' if result.engine else ''}" in shown.words
        for row in result.migrations:
            assert step(row) in shown.words
    identifiers = shown.values("id")
    assert len(identifiers) == len(set(identifiers))
    assert {value.removeprefix("#") for value in shown.values("href") if value.startswith("#")} <= set(identifiers)
    assert set(shown.values("aria-labelledby")) <= set(identifiers)
    assert set(shown.values("scope")) <= {"col", "colgroup", "row"}
    assert len(shown.values("scope")) == shown.tags.count("th")
    assert "en" in shown.values("lang")


@pytest.mark.parametrize("walked", CASES, ids=lambda walked: walked.name)
def test_what_is_fine_is_folded_away_and_what_is_not_comes_first(walked: Case) -> None:
    text = render.as_page(walked.verdict(), HEADER)
    for result in walked.verdict().datasets:
        part = text.split(f'id="dataset-{quote(result.name)}"')[1].split("</section>")[0]
        open_part, _, folded = part.partition("<details>")
        for row in result.migrations:
            assert step(row) in re.sub("<[^>]*>", "", open_part if row.notable else folded)
        assert part.count("by this change</span>") == sum(row.by_change for row in result.migrations)


def test_a_value_over_its_limit_is_marked_with_the_limit() -> None:
    shown = page(case("too_many_rows").verdict())
    assert shown.words.count("over the limit of 250,000 rows") == 1
    assert "over the limit" not in page(case("success").verdict()).words


def test_a_bar_is_as_long_as_its_share_of_the_slowest() -> None:
    found = case("success").verdict()
    bars = [float(style.removeprefix("width:").removesuffix("%")) for style in page(found).values("style")]
    assert len(bars) == len(found.datasets[0].migrations)
    assert max(bars) == 100
    assert all(0 <= bar <= 100 for bar in bars)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], "The test succeeded."),
        (["migration_unfinished", "migration_raised"], "The migrations do not run on real data."),
        (["environment_failed"], CODES["environment_failed"].explanation),
        (["no_migrations_run"], CODES["no_migrations_run"].explanation),
        (["limit_not_measurable"], CODES["limit_not_measurable"].explanation),
        (["git_unreachable"], "The change could not be tested."),
    ],
)
def test_the_headline_does_not_say_what_is_not_so(codes: list[str], expected: str) -> None:
    messages = [Message(code, CODES[code].text) for code in codes]
    assert summary.headline(decide.of_messages(messages)) == expected


@pytest.mark.parametrize("outcome", Outcome)
def test_an_empty_page_works(outcome: Outcome) -> None:
    messages = tuple(Message(code, "x") for code in CODES if CODES[code].outcome is outcome)
    shown = page(decide.Verdict(outcome, messages), Header({}))
    assert shown.title == outcome.name
    assert "None" not in shown.words


def test_a_page_has_an_end() -> None:
    messages = [Message.of("playbook_failed", detail=str(number)) for number in range(render.MAX_MESSAGES + 50)]
    shown = page(decide.of_messages(messages))
    assert shown.tags.count("article") == render.MAX_MESSAGES
    assert "… and 50 more" in shown.words


def test_files_that_are_there_are_linked(tmp_path: Path) -> None:
    walked = case("success")
    (tmp_path / "artifacts").mkdir()
    for name in ("user_001.log", "artifacts/walk-user_001.jsonl", "task_output.log", "reproduce.sh", "other.txt"):
        (tmp_path / name).write_text("x" * 1500)
    (tmp_path / "git_prep.log").symlink_to("/etc/hostname")
    render.write(tmp_path, walked.verdict(), HEADER)
    links = Page((tmp_path / "index.html").read_text()).values("href")
    files = [link for link in links if not link.startswith("#")]
    assert files == [
        "user_001.log",
        "artifacts/walk-user_001.jsonl",
        "task_output.log",
        "result.json",
        "reproduce.sh",
        "other.txt",
    ]
    assert json.loads((tmp_path / "result.json").read_text())["result"] == "SUCCESS"


def test_the_same_verdict_gives_the_same_page(tmp_path: Path) -> None:
    first, second = (render.as_page(case("migration_raised").verdict(), HEADER) for _ in range(2))
    assert first == second


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    found, header = hostile.job(tmp_path, "https://evil.example/x")
    raw = render.as_page(found, header, [render.File("<b>.log", 'it\'s "that"', 1)])
    shown = Page(raw)
    assert not {"script", "img", "svg", "iframe", "b"} & set(shown.tags)
    assert shown.tags.count("style") == shown.tags.count("title") == 1
    assert not [name for _, name, _ in shown.attributes if name.startswith("on")]
    assert not [value for value in shown.values("href") + shown.values("src") if "//" in value]
    assert "default-src 'none'" in raw
    assert not [char for char in raw if not (char.isprintable() or char == "\n")]
    assert "49" not in shown.title


@functools.cache
def harmless_tags() -> set[str]:
    """The tags of the page of a message that says nothing but x."""
    empty = decide.of_messages([Message.of("bad_request", "x", detail="x", dataset="x", file="x", line=3)])
    return set(page(empty, Header(dict.fromkeys(render.JOB_FIELDS, "x"), "x", "x", 1.0)).tags)


@settings(max_examples=50)
@given(st.text(), st.text(), st.floats(min_value=0, allow_infinity=False, allow_nan=False))
def test_any_text_is_shown_and_changes_no_markup(one: str, other: str, seconds: float) -> None:
    found = decide.of_messages([Message.of("bad_request", one, detail=other, dataset=one, file=other, line=3)])
    header = Header(dict.fromkeys(render.JOB_FIELDS, one), other, other, seconds)
    assert set(page(found, header).tags) <= harmless_tags()
    json.dumps(render.as_document(found, header)).encode()


def test_a_terminal_shows_the_verdict_last_and_nothing_else_can_pass_for_it(tmp_path: Path) -> None:
    walked = case("migration_raised").verdict()
    lines = render.render_text(walked, HEADER.url).splitlines()
    assert lines[-1].startswith("FAILURE (change's fault): ")
    assert lines[-2] == f"Report: {HEADER.url}"
    failed = walked.messages[1]
    assert f"    {failed.file}:{failed.line}" in lines
    found, _ = hostile.job(tmp_path, "https://evil.example/x")
    text = render.render_text(found)
    assert not [char for char in text if not (char.isprintable() or char == "\n")]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("bytes", None, "–"), ("bytes", 0, "0 B"), ("bytes", 1500, "1.5 kB"), ("bytes", -2_500_000, "-2.5 MB"),
        ("bytes", 12_000_000_000_000, "12000.0 GB"),
        ("seconds", None, "–"), ("seconds", 0.1234, "0.12 s"), ("seconds", 75.9, "1 min 15 s"),
        ("seconds", 3723, "1 h 2 min"), ("seconds", 1e300, "1e+300 s"),
        ("count", None, "–"), ("count", 1234567, "1,234,567"), ("count", 250000.0, "250,000"), ("count", 0.5, "0.5"),
        ("moment", "2026-11-23T18:16:00.123Z", "2026-11-23 18:16:00 UTC"),
    ],
)  # fmt: skip
def test_numbers_are_written_for_people(name: str, value: Any, shown: str) -> None:
    assert formatting.FILTERS[name](value) == shown


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        digits = colour if len(colour) == 6 else "".join(digit * 2 for digit in colour)
        parts = [int(digits[index : index + 2], 16) / 255 for index in (0, 2, 4)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_colour_can_be_read(theme: int) -> None:
    block = re.findall(r":root \{(.*?)\}", render.as_page(decide.of_messages([]), HEADER), re.DOTALL)[theme]
    colours = dict(re.findall(r"--([\w-]+): #(\w+);", block))
    tones = ("success", "failure", "warning", "ours", "canceled")
    pairs = [(tone, ground) for tone in tones for ground in (f"{tone}-tint", "page")]
    pairs += [(ink, ground) for ink in ("ink", "soft") for ground in ("page", *(f"{tone}-tint" for tone in tones))]
    pairs += [("ink", "panel"), ("link", "page")]
    assert [pair for pair in pairs if contrast(*(colours[name] for name in pair)) < 4.5] == []
    parts = [name for name in colours if name.startswith("part-")]
    assert len(parts) == len(times.PARTS)
    assert [name for name in parts if contrast(colours[name], colours["page"]) < 3] == []
