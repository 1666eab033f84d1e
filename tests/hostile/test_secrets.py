# SPDX-License-Identifier: Apache-2.0
"""What a change can print of the secrets that its processes can see, and get published."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.th_mask.mask import REACH, Masker, Stream
from ansible.module_utils.th_mask.secrets import collect
from ansible.module_utils.th_sandbox.capped_log import CappedLog
from ansible.module_utils.th_walk import logs

SECRET = "s3cr3tOfTheIndex99"


def walk_log(path: Path, *, say: Callable[[logs.WalkLog, str], None]) -> bytes:
    """A walk's log in which a secret was said character by character."""
    log = logs.WalkLog(CappedLog(path, 10**6, stamp=True))
    log.line("change 7,1 (c0ffee12): a to b")
    for char in SECRET:
        say(log, char)
    log.line("final words")
    log.close()
    return path.read_bytes()


WAYS: dict[str, Callable[[logs.WalkLog, str], None]] = {
    "one character a line": lambda log, char: log.output(char),
    "with signs around": lambda log, char: log.output(f"['{char}',"),
    "escaped": lambda log, char: log.output(f"\\x{ord(char):02x}"),
    "as codes": lambda log, char: log.output(str(ord(char))),
    "in hex": lambda log, char: log.output(f"{ord(char):02x}"),
    "two lines at once": lambda log, char: log.line(f"{char}\n", "[output]"),
    "by the server": lambda log, char: log.line(char, "[sqlslo]"),
    "between signs of life": lambda log, char: (log.output(char), log.line("still at it", "[heartbeat]"))[0],
    "between lines of the walk": lambda log, char: (log.output(char), log.line("a -> b: 0.1 s, rows_read 0"))[0],
    "between the server's": lambda log, char: (log.output(char), log.line("# Query_time: 2.1", "[sqlslo]"))[0],
    "by the server, between others": lambda log, char: (log.line(char, "[sqlerr]"), log.output("x"))[0],
}


def letters(text: bytes) -> str:
    """What all lines of a tag, or of all, say together."""
    said = {"": ""}
    for line in text.decode().splitlines():
        tag, _, rest = line[24:].partition("] ") if line[24:25] == "[" else ("", "", line[24:])
        word = "".join(char for char in rest if char.isalnum() or char == "\\")
        said[tag] = said.get(tag, "") + word
        said["all"] = said.get("all", "") + word
    return " ".join(said.values())


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_of_one_character_a_line_is_masked_in_a_walks_log(
    tmp_path: Path, way: str, stopped_by: Callable[[str], None]
) -> None:
    raw = walk_log(tmp_path / "walk.log", say=WAYS[way])
    masker = Masker([SECRET])
    # as a file is published: in blocks, wherever they begin
    for block in (len(raw), 1000, 333):
        stream = Stream(masker)
        shown = b"".join(stream.feed(raw[at : at + block]) for at in range(0, len(raw), block)) + stream.end()
        assert len(shown) == len(raw) and shown.count(b"\n") == raw.count(b"\n")
        said = letters(shown)
        assert "final" in said and b"change 7,1" in shown
        plain = {"escaped": "".join(f"\\x{ord(char):02x}" for char in SECRET), "as codes": "".join(
            str(ord(char)) for char in SECRET), "in hex": SECRET.encode().hex()}.get(way, SECRET)  # fmt: skip
        assert plain in letters(raw), "it can be read where it is not masked"
        assert not any(plain[at : at + 8] in said for at in range(len(plain) - 8)), way
    stopped_by("each log is read without what we put before its lines")


def test_a_log_without_secrets_stays_as_it_is(tmp_path: Path) -> None:
    words = random.Random(1)
    raw = walk_log(tmp_path / "walk.log", say=lambda log, char: log.output(words.choice("abcdefgh") * 20))
    assert Masker([SECRET]).masked(raw) == raw
    assert len(raw) < REACH


PROFILE = {
    "install": {"environment": {"PBR_VERSION": "2024.1.0", "PIP_TOKEN": "of-the-build-1"}},
    "migrations": {
        "environment": {
            "DJANGO_SETTINGS_MODULE": "shop.settings", "DJANGO_SECRET_KEY": "of-django-2",
            "SIGNING_KEY": "of-signing-3",
            "SENTRY_DSN": "https://0f5entry4567@sentry.example.org/1", "HARMLESS": "AbCdEf0123456789xyz",
            "BROKER": "amqp://shop:of-the-broker-5@mq/", "DATABASE_URL": "{url}", "KEY_FILE": "/etc/shop/key",
            "AUTH": "of-auth-6",
        },
        "files": {"shop.conf": "[x]\nadmin_password = of-the-file-7\nworkers = 12345678901\nhost = example.org\n"},
    },
    "databases": {"api": {"environment": {"API_PASSWORD": "of-the-api-8"}}},
}  # fmt: skip
KEPT = ("2024.1.0", "shop.settings", "{url}", "/etc/shop/key", "12345678901", "example.org", "sentry")


def test_a_password_that_is_the_name_of_a_dataset_is_not_masked_on_an_engine_either(tmp_path: Path) -> None:
    config = tmp_path / "user_001.json"
    for password, masked in (("user_001", []), ("user_002", ["user_002"])):
        config.write_text(json.dumps({"db_user": "shop", "db_pass": password, "database": "shop"}))
        item = {"name": "user_001@mysql-9.7", "config": str(config), "engine": "mysql-9.7"}
        assert list(collect(tmp_path, [item], {}, {}).worth_masking()) == masked


def test_secrets_of_a_profile_are_masked(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(yaml.safe_dump(PROFILE))
    (tmp_path / "db").mkdir()
    found = collect(tmp_path, [], {}, {"MY_API_KEY": "of-the-worker-9", "HOME": "/root"}, path).worth_masking()
    ends = ("build-1", "django-2", "signing-3", "broker-5", "auth-6", "file-7", "api-8", "worker-9")
    assert {one for one in found if one.startswith("of-")} >= {one for one in found if one.endswith(ends)}
    for end in ends:
        assert any(one.endswith(end) for one in found), end
    assert "0f5entry4567" in found and "AbCdEf0123456789xyz" in found
    assert not set(KEPT) & set(found)
    for broken in ("{", "- 1\n", "a: &a [*a]\n", "x" * 10):
        path.write_text(broken)
        collect(tmp_path, [], {}, {}, path)
    collect(tmp_path, [], {}, {}, tmp_path / "none.yaml")
