# SPDX-License-Identifier: Apache-2.0
"""The result text against what becomes of it: Gerrit's command line first."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.verdict import result_text

ATTACK = "x\" --label Verified=2 --submit 108,1 --message '"
DUPLICATE = "(pymysql.err.IntegrityError) (1062, \"Duplicate entry 'a' for key 'b'\")"
HOSTILE = st.text(st.characters() | st.sampled_from("\"'\\`$|\n\r\t\0 …—é"), max_size=600)


def split(line: str) -> list[str]:
    """A command line as Gerrit takes it apart: both kinds of quotes hide blanks and each other, a backslash escapes
    outside of single quotes, and an argument without characters is none."""
    words, word, quoted = [], "", ""
    chars = iter(line)
    for char in chars:
        if char in " \t" and not quoted:
            words += [word] if word else []
            word = ""
        elif char in "'\"" and quoted in ("", char):
            quoted = "" if quoted else char
        elif char == "\\" and quoted != "'":
            word += next(chars, char)
        else:
            word += char
    return words + ([word] if word else [])


def review(message: str) -> list[str]:
    return split(f'gerrit review --project org/project --message "{message}" --label Verified=-1 108,1')


def test_the_model_splits_as_gerrit_does() -> None:
    assert split("""a 'b c' "d 'e'" 'f "g"' h\\ i "\\"j" '\\k' "" l""") == [
        "a", "b c", "d 'e'", 'f "g"', "h i", '"j', "\\k", "l",
    ]  # fmt: skip
    assert split("ends with \\") == ["ends", "with", "\\"]
    assert "--submit" in review(ATTACK), "sent as it is, it would be a vote and a submit"
    assert len(review(DUPLICATE)) > 8


@given(HOSTILE)
@example(ATTACK)
@example(DUPLICATE)
@example("\uff02 --submit \uff3c")
def test_a_result_is_one_argument_of_gerrits_and_nothing_else_changes(text: str) -> None:
    sent = result_text.result(text) or "no result"
    report = f"Build failed.\n\n- job http://logs/7/ : {sent} in 1m 23s"
    words = ["gerrit", "review", "--project", "org/project", "--message", report, "--label", "Verified=-1", "108,1"]
    assert review(report) == words


@given(HOSTILE)
@example("\ud800")
def test_a_result_is_one_bounded_line_of_harmless_ascii(text: str) -> None:
    sent = result_text.result(text)
    assert (sent is None) == (text == "")
    if sent is not None:
        assert 0 < len(sent) <= result_text.LENGTH
        assert re.fullmatch(r"[ -~]+", sent) and not set(sent) & set('"\\`$|')
        assert sent.startswith(result_text.WORDS) and sent == sent.strip()
        assert sent != "SUCCESS" or text == "SUCCESS"
        assert result_text.result(sent) == sent
    sent_url = result_text.url(text)
    assert re.fullmatch(r"[!-~]*", sent_url) and not set(sent_url) & set('"\\`$|')


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        (None, None),
        ("", None),
        ("SUCCESS", "SUCCESS"),
        (" SUCCESS", "FAILURE - SUCCESS"),
        ("SUCCESS\N{ZERO WIDTH SPACE}", "FAILURE - SUCCESS"),
        ("CANCELED", "CANCELED"),
        ("No migrations run", "FAILURE - No migrations run"),
        ("FAILURES of all kinds", "FAILURE - FAILURES of all kinds"),
        ("WARNING - a->b took\ntoo\tlong", "WARNING - a->b took too long"),
        ("FAILURE - “naïve” — Ærø…", "FAILURE - 'naive' - AEro..."),
        ("FAILURE - Größe ≥ 3 €", "FAILURE - Grosse >= 3 EUR"),
        ("FAILURE - 書名 \x1b[2J\u202e", "FAILURE - ?? ?[2J"),
        ("FAILURE - cost $HOME `id` a|b C:\\x", "FAILURE - cost HOME 'id' a/b C:/x"),
        ("FAILURE - ½ of C∕D", "FAILURE - 1/2 of C/D"),
        ("\x00", "FAILURE - ?"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}", "FAILURE"),
    ],
)
def test_what_is_sent(text: str | None, sent: str | None) -> None:
    assert result_text.result(text) == sent


def test_a_long_result_ends_after_a_word() -> None:
    sent = result_text.result("FAILURE - " + "word " * 100)
    assert sent is not None and sent.endswith("word...") and 240 < len(sent) <= 250
    assert result_text.result("FAILURE - " + "x" * 300) == "FAILURE - " + "x" * 237 + "..."
    assert result_text.cut("one two three", 13) == "one two three"
    assert result_text.cut("one two three", 10) == "one two..."
    assert result_text.cut("one two, three", 12) == "one two..."


def test_an_address_stays_what_it_was_unless_it_could_break_out() -> None:
    plain = "https://logs.example.org/~u/7/7/1/check/job/1%2B2?a=b&c=%20#x"
    assert result_text.url(plain) == plain
    assert result_text.url('http://x/"a b\\$`é') == "http://x/%22a%20b%5C%24%60%C3%A9"
    assert result_text.url("") == ""
