# SPDX-License-Identifier: Apache-2.0
"""Masking: whatever way of the list a secret is printed in, wherever in a file, it is not in what is published."""

import base64
import codecs
import html
import json
import string
import textwrap
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from ansible.module_utils.th_mask.mask import REACH, Masker, Stream
from ansible.module_utils.th_publish.copy import BLOCK
from hypothesis import given, settings
from hypothesis import strategies as st

SECRET = "s3cr/t-P@ss'w&rd0"
LETTERS = string.ascii_letters + string.digits

Encode = Callable[[str, st.DataObject], bytes]


def pieces(text: str, data: st.DataObject) -> str:
    separator = data.draw(st.sampled_from([" ", "\n", ", ", "','", "' + '", '", "', "\r\n  ", "\0", "‧", " \t;\t "]))
    return separator.join(text)


def mixed(text: str, data: st.DataObject) -> bytes:
    """Each character escaped in a way of its own, or not."""
    ways: list[Callable[[str], str]] = [
        lambda char: char,
        lambda char: "".join(f"%{byte:02x}" for byte in char.encode()),
        lambda char: "".join(f"%25{byte:02X}" for byte in char.encode()),
        lambda char: f"\\x{ord(char):02x}" if ord(char) < 128 else char,
        lambda char: f"\\{ord(char):03o}" if ord(char) < 128 else char,
        lambda char: f"\\u{ord(char):04x}",
        lambda char: f"\\\\u{{{ord(char):x}}}",
        lambda char: f"\\U{ord(char):08X}",
        lambda char: f"&#{ord(char)};",
        lambda char: f"&amp;#x{ord(char):X};",
        html.escape,
    ]
    return "".join(data.draw(st.sampled_from(ways))(char) for char in text).encode()


WAYS: dict[str, Encode] = {
    "plain": lambda text, data: text.encode(),
    "other case": lambda text, data: text.swapcase().encode(),
    "percent": lambda text, data: data.draw(st.sampled_from([quote, quote_plus]))(text, safe="").encode(),
    "json": lambda text, data: json.dumps(text)[1:-1].encode(),
    "json in json": lambda text, data: json.dumps(json.dumps([text]))[4:-4].encode(),
    "repr": lambda text, data: repr(text)[1:-1].encode(),
    "ascii": lambda text, data: ascii(text)[1:-1].encode(),
    "html": lambda text, data: html.escape(text).encode(),
    "mixed": mixed,
    "reversed": lambda text, data: text[::-1].encode(),
    "rot13": lambda text, data: codecs.encode(text, "rot13").encode(),
    "utf-16": lambda text, data: text.encode(data.draw(st.sampled_from(["utf-16-le", "utf-16-be"]))),
    "hex": lambda text, data: text.encode().hex(data.draw(st.sampled_from(":- \n"))).encode(),
    "hex, capital": lambda text, data: text.encode().hex().upper().encode(),
    "hex list": lambda text, data: ", ".join(map(hex, text.encode())).encode(),
    "codes": lambda text, data: str(list(text.encode()))[1:-1].encode(),
    "octal": lambda text, data: " ".join(f"{byte:03o}" for byte in text.encode()).encode(),
    "pieces": lambda text, data: pieces(text, data).encode(),
    "list": lambda text, data: repr(list(text))[2:-2].encode(),
    "pieces in json": lambda text, data: json.dumps(pieces(text, data))[1:-1].encode(),
    "pieces in a page": lambda text, data: html.escape(pieces(text, data)).encode(),
}
BASES: dict[str, tuple[Callable[[bytes], bytes], int, Callable[[str], str]]] = {
    "base64": (base64.b64encode, 6, str),
    "base64 for urls": (base64.urlsafe_b64encode, 6, str),
    "base64 wrapped": (base64.b64encode, 6, lambda text: textwrap.fill(text, 20)),
    "base64 in json": (base64.encodebytes, 6, lambda text: json.dumps(text).replace("/", "\\/")),
    "base64 in a url": (base64.b64encode, 6, quote),
    "base32": (base64.b32encode, 5, str),
}


def letters_of(text: bytes) -> int:
    return sum(byte in LETTERS.encode() for byte in text)


def encode(way: str, secret: str, data: st.DataObject) -> tuple[bytes, int]:
    """The secret in one of the ways, and how many letters of that may be left."""
    if way in WAYS:
        return WAYS[way](secret, data), 0
    encoder, bits, wrap = BASES[way]
    before, inner, after = data.draw(st.binary(max_size=6)), secret.encode(), data.draw(st.binary(max_size=6))
    whole = encoder(before + inner + after)
    core = whole.replace(b"\n", b"")[-(-len(before) * 8 // bits) : (len(before) + len(inner)) * 8 // bits]
    encoded = wrap(whole.decode()).encode()
    return encoded, letters_of(encoded) - letters_of(core)


@settings(max_examples=250, deadline=None)
@given(
    way=st.sampled_from(sorted({**WAYS, **BASES})),
    letters=st.text(LETTERS, min_size=10, max_size=30),
    others=st.lists(st.tuples(st.integers(0, 40), st.sampled_from("@/+-_=%\\'\"&<>!$:;, é€")), max_size=5),
    before=st.binary(max_size=40) | st.text("\\%&#0123456789abcdefnrtux", max_size=6).map(str.encode),
    after=st.binary(max_size=40) | st.text("\\%&#;0123456789abcdef", max_size=6).map(str.encode),
    block=st.integers(1, 60),
    data=st.data(),
)
def test_no_way_of_the_list_gets_through(
    way: str,
    letters: str,
    others: list[tuple[int, str]],
    before: bytes,
    after: bytes,
    block: int,
    data: st.DataObject,
) -> None:
    secret = letters
    for place, char in others:
        secret = secret[: (at := 1 + place % (len(letters) - 1))] + char + secret[at:]
    encoded, ends = encode(way, secret, data)
    text = before + encoded + after
    stream = Stream(Masker(["another-secret-1", secret]), reach=len(encoded) + 8)
    published = b"".join(stream.feed(text[i : i + block]) for i in range(0, len(text), block)) + stream.end()
    assert len(published) == len(text)
    left = published[len(before) : len(before) + len(encoded)]
    if any(byte in b"\\%&" for byte in before):
        ends += 8  # which what is before it can have made a part of an escape
    assert letters_of(left) <= ends, (secret, encoded, published)
    assert published.startswith(before[:-8] if before.isalnum() else b""), "what is around it stays"
    if way == "plain":
        assert letters.encode() not in published and secret.encode() not in published


@pytest.mark.parametrize("place", [0, BLOCK - 9, BLOCK - 1, BLOCK, 2 * BLOCK - REACH, 2 * BLOCK - 20])
def test_a_secret_is_found_wherever_the_blocks_of_a_file_end(place: int) -> None:
    spread = ("," * 300).join(SECRET).encode()
    text = b"-" * place + spread + b" the end\n" * 1000
    stream = Stream(Masker([SECRET]))
    published = b"".join(stream.feed(text[i : i + BLOCK]) for i in range(0, len(text), BLOCK)) + stream.end()
    assert published == text.replace(spread, ("," * 300).join(map(star, SECRET)).encode())


def star(char: str) -> str:
    return char if char == "'" else "*"


DOCUMENT = {
    "detail": f"Access denied: '{SECRET}'\n{SECRET}", "lines": list(SECRET), "a\\": {SECRET: [1, True, None]},
    "more": ["\n".join(SECRET), f"\\{SECRET}\\", f"mysql://shop:{SECRET}@localhost/shop"], "last": "é \u2028 <b>",
}  # fmt: skip


@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_json_stays_json_and_a_page_a_page(ensure_ascii: bool) -> None:
    masker = Masker([SECRET])
    masked = json.loads(masker.text(json.dumps(DOCUMENT, ensure_ascii=ensure_ascii)))
    assert masked["lines"] == [star(char) for char in SECRET]
    assert masked["last"] == DOCUMENT["last"] and list(masked["a\\"].values()) == [[1, True, None]]
    assert "s3cr" not in str(masked) and "rd0" not in str(masked)
    page = f"<p class=\"a\">{html.escape(SECRET)}</p><pre>{html.escape(repr(list(SECRET)))}</pre>"
    masked_page = masker.text(page)
    assert masked_page.startswith('<p class="a">**') and "</p><pre>[" in masked_page and masked_page.endswith("]</pre>")
    assert set(masked_page[13:].partition("</p>")[0]) <= {"*", "'"}


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("fatal: https://zuul:tok/en@h/p", ""),
        ("mysql+pymysql://shop:a:p@ss@localhost/shop?charset=utf8", "a:p@ss"),
        ("cloning https://tok3n@git.example.org/p", "tok3n"),
        ("cloning ssh://git@git.example.org/p", ""),
        ('{"url": "http:\\/\\/u:pa55@h"}', "pa55"),
        ("see http://a.example.org/x, mail b@example.org", ""),
        ('{"a":"http://h:80","b":"c@d"}', ""),
        ("Authorization: Basic dXNlcjpwYXNz", ""),
        ("> Authorization: Basic dXNlcjpwYXNzd29yZDE=", "dXNlcjpwYXNzd29yZDE="),
        ("{'authorization': 'Bearer abc.d3f-g'}", "abc.d3f-g"),
        ("X-Auth-Token: gAAAAAB5", "gAAAAAB5"),
        ("HTTP_AUTHORIZATION=abcdef12", "abcdef12"),
        ("authorization: required before migration 12", ""),
        ("alembic --password=hunter22 upgrade", "hunter22"),
        ("db.password = hunter22", ""),
        ("connect(password=config.password, token=None, secret=%s)", ""),
        ("MYSQL_PASSWORD='x1y2z3'", "x1y2z3"),
        ("api_key=0123abcd&x=1", "0123abcd"),
        ("UPDATE t SET token = 'abcdef1'", ""),
        ("CREATE USER a IDENTIFIED BY 'pass word'", "pass word"),
        ("IDENTIFIED BY PASSWORD '*0123'", "*0123"),
        ("2013-11-22 21:42:45,908 [output] 141 -> 142... (tokens: 12345678)", ""),
    ],
)
def test_credentials_are_masked_whoevers_they_are(text: str, secret: str) -> None:
    masked = Masker([]).text(text)
    assert masked == (text.replace(secret, "".join(map(kept, secret))) if secret else text)


def kept(char: str) -> str:
    return char if char in " \t\r\n\"',:<>[]{}" else "*"


def test_of_a_plain_secret_nothing_is_left() -> None:
    assert Masker(["$ecret1!", "!@#$%^&*", "(-abc-)"]).text("a $ecret1!$ecret1! !@#$%^&* (-abc-)") == (
        f"a {'*' * 16} {'*' * 8} {'*' * 7}"
    )


def test_what_only_looks_like_an_entity_once_it_is_escaped() -> None:
    for secret in ("0123456789&A0;0123456789", "abcdefgh&xy;ijklmnop"):
        escaped = html.escape(secret)
        for text in (escaped, html.escape(escaped)):
            assert not set(Masker([secret]).text(text)) - set("*<>:'\","), text


def test_what_is_not_secret_stays() -> None:
    text = "2013-11-22 21:42:45,908 [output] 141 -> 142...\n# Query_time: 0.01\nUPDATE t SET a = 'é%' -- \\x41 &amp;\n"
    secrets = [f"{number}-secret-{number:x}" for number in range(7_000_000, 7_000_040)]
    assert Masker(secrets).text(text * 50) == text * 50


@pytest.mark.parametrize(
    "unit",
    ["\\", "%25", "&amp;", "\\n", "token=", "://", "://a:", "http://u:p@", "password=aaaa", "Authorization: a ",
     "0" * 9, "s3cr", SECRET, ",".join(SECRET), "<" + "&" * 9],
)  # fmt: skip
def test_no_text_makes_it_slow(unit: str) -> None:
    """In time that grows with the square of the length, any of these would take minutes."""

    def spent(length: int) -> float:
        text = (unit * (length // len(unit))).encode()
        before = time.process_time()
        assert len(Masker([SECRET]).masked(text)) == len(text)
        return time.process_time() - before

    # what a quarter takes says how quick the machine is
    quarter = spent(50_000)
    assert spent(200_000) < max(5, 8 * quarter)
