# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import RequestError
from worker.inputs import git_url
from worker.request import Request

COMMIT = "4b3cde5f" * 5
CHANGE = {
    "ZUUL_UUID": "9a1f0c3b5d7e4f6a8b9c0d1e2f3a4b5c",
    "ZUUL_PROJECT": "mlflow/mlflow",
    "ZUUL_PIPELINE": "check",
    "ZUUL_URL": "http://zuul.example.org/p",
    "ZUUL_VOTING": "1",
    "BASE_LOG_PATH": "7/7/1",
    "LOG_PATH": "7/7/1/check/upgrade/9a1f0c3",
    "ZUUL_BRANCH": "master",
    "ZUUL_CHANGE": "7",
    "ZUUL_PATCHSET": "1",
    "ZUUL_COMMIT": COMMIT,
    "ZUUL_REF": "refs/zuul/master/Z9a1f",
    "ZUUL_CHANGES": "mlflow/mlflow:master:refs/changes/07/7/1",
    "ZUUL_CHANGE_IDS": "7,1",
}
TIMER = {
    "ZUUL_UUID": "abc",
    "ZUUL_PROJECT": "nova",
    "ZUUL_PIPELINE": "periodic",
    "ZUUL_URL": "http://zuul/p",
    "ZUUL_VOTING": "1",
    "BASE_LOG_PATH": "",
    "LOG_PATH": "periodic/upgrade/abc",
}


def parse(changed: dict[str, Any] | None = None, base: dict[str, Any] = CHANGE) -> Request:
    arguments = {**base, **(changed or {})}
    return Request.parse("upgrade", "unique", {name: value for name, value in arguments.items() if value is not None})


class TestWhatZuulSends:
    def test_a_change(self) -> None:
        request = Request.parse("upgrade", "u", json.dumps(CHANGE).encode())
        assert request == Request(
            id=CHANGE["ZUUL_UUID"],
            job_name="upgrade",
            project="mlflow/mlflow",
            url="http://zuul.example.org/p",
            ref="refs/zuul/master/Z9a1f",
            commit=COMMIT,
            branch="master",
            newrev="",
            change="7",
            patchset="1",
            pipeline="check",
            log_path="7/7/1/check/upgrade/9a1f0c3",
            zuul={name: value for name, value in CHANGE.items() if name.startswith("ZUUL_")},
        )

    def test_a_timer(self) -> None:
        request = parse(base=TIMER)
        assert (request.ref, request.commit, request.branch, request.change) == ("", "", "", "")
        assert request.log_path == "periodic/upgrade/abc"

    def test_an_updated_branch(self) -> None:
        request = parse(
            {
                "ZUUL_REF": "master",
                "ZUUL_REFNAME": "master",
                "ZUUL_OLDREV": "0" * 40,
                "ZUUL_NEWREV": COMMIT,
                "ZUUL_COMMIT": COMMIT,
                "LOG_PATH": None,
            },
            TIMER,
        )
        assert (request.ref, request.newrev, request.commit) == ("master", COMMIT, COMMIT)
        assert request.log_path == f"4b/{COMMIT}/periodic/upgrade/abc"

    def test_a_tag(self) -> None:
        assert parse({"ZUUL_REF": "refs/tags/1.0"}, TIMER).ref == "refs/tags/1.0"

    def test_keys_that_nobody_knows(self) -> None:
        request = parse({"OFFLINE_NODE_WHEN_COMPLETE": True, "SWIFT_logs_URL": 7, "x": None, "ZUUL_NODE": "node"})
        assert request.zuul["ZUUL_NODE"] == "node"
        assert "OFFLINE_NODE_WHEN_COMPLETE" not in request.zuul

    def test_without_uuid_and_log_path(self) -> None:
        request = parse({"ZUUL_UUID": None, "LOG_PATH": None, "BASE_LOG_PATH": None})
        assert request.id == "unique"
        assert request.log_path == "7/7/1/check/upgrade/unique"
        assert parse({"LOG_PATH": None, "BASE_LOG_PATH": None, "ZUUL_CHANGE": "1234"}).log_path.startswith(
            "34/1234/1/check/"
        )

    def test_only_harmless_text_becomes_environment(self) -> None:
        request = parse(
            {
                "ZUUL_A": "a\nb",
                "ZUUL_B": 5,
                "ZUUL_C": "x" * 100_000,
                "ZUUL_D\n": "x",
                "zuul_e": "x",
                "ZUUL_EXTRA_SWIFT_logs_SIGNATURE": "secret",
                "ZUUL_EXTRA_SWIFT_URL": "secret",
                "ZUUL_F": "fine",
            }
        )
        assert set(request.zuul) == {name for name in CHANGE if name.startswith("ZUUL_")} | {"ZUUL_F"}


class TestSecrets:
    def test_a_password_is_kept_for_git_and_shown_to_nobody(self) -> None:
        request = parse({"ZUUL_URL": "https://user:secret@git.example.org/p"})
        assert request.url == "https://user:secret@git.example.org/p"
        assert request.public_url == "https://user:***@git.example.org/p"
        assert "secret" not in repr(request)

    @pytest.mark.parametrize(
        ("text", "masked"),
        [
            ("see https://token@host/x and ssh://git@host/y", "see https://***@host/x and ssh://git@host/y"),
            ("ssh://git:pw@host/y", "ssh://git:***@host/y"),
            ("HTTP://u:p@h HTTPS://:p@h", "HTTP://u:***@h HTTPS://:***@h"),
            ("ssh://git:p@ss:w@rd@host/y@z", "ssh://git:***@host/y@z"),
            ("{'a':'http://h:80','b':'c@d'}", "{'a':'http://h:80','b':'c@d'}"),
            ("no url at all: a@b:c", "no url at all: a@b:c"),
        ],
    )
    def test_masking(self, text: str, masked: str) -> None:
        assert git_url.mask(text) == masked

    def test_an_error_does_not_show_it(self) -> None:
        with pytest.raises(RequestError) as caught:
            parse({"ZUUL_URL": "https://user:secret@git.example.org/p?x"})
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ZUUL_UUID", "../x"),
        ("ZUUL_UUID", "a" * 65),
        ("ZUUL_UUID", "a/b"),
        ("ZUUL_UUID", "-a"),
        ("ZUUL_UUID", "ä"),
        ("ZUUL_UUID", 5),
        ("ZUUL_PROJECT", None),
        ("ZUUL_PROJECT", ""),
        ("ZUUL_PROJECT", ["x"]),
        ("ZUUL_PROJECT", "../x"),
        ("ZUUL_PROJECT", "/x"),
        ("ZUUL_PROJECT", "a//b"),
        ("ZUUL_PROJECT", "a/./b"),
        ("ZUUL_PROJECT", "a/"),
        ("ZUUL_PROJECT", "a/.git"),
        ("ZUUL_PROJECT", "-a"),
        ("ZUUL_PROJECT", "a/-b"),
        ("ZUUL_PROJECT", "a b"),
        ("ZUUL_PROJECT", "a;b"),
        ("ZUUL_PROJECT", "a\x00b"),
        ("ZUUL_PROJECT", "x" * 256),
        ("ZUUL_URL", None),
        ("ZUUL_URL", "ext::sh -c touch% /tmp/x"),
        ("ZUUL_URL", "ext::sh"),
        ("ZUUL_URL", "fd::17"),
        ("ZUUL_URL", "--upload-pack=true"),
        ("ZUUL_URL", "-x"),
        ("ZUUL_URL", "ssh://-oProxyCommand=x/y"),
        ("ZUUL_URL", "ssh://-l@host/y"),
        ("ZUUL_URL", "git@-host:x"),
        ("ZUUL_URL", "-oProxyCommand=x@host:y"),
        ("ZUUL_URL", "host:-x:y"),
        ("ZUUL_URL", "relative/path"),
        ("ZUUL_URL", "ftp://host/x"),
        ("ZUUL_URL", "http://"),
        ("ZUUL_URL", "http://host:99999/"),
        ("ZUUL_URL", "http://[::1/"),
        ("ZUUL_URL", "http://a b/"),
        ("ZUUL_URL", "http://a/\n"),
        ("ZUUL_URL", "http://a/?q"),
        ("ZUUL_URL", "file://host/x"),
        ("ZUUL_URL", "http://a/" + "x" * 1100),
        ("ZUUL_REF", "--upload-pack=x"),
        ("ZUUL_REF", "refs/../x"),
        ("ZUUL_REF", "a:b"),
        ("ZUUL_REF", "+a~"),
        ("ZUUL_REF", "a\u0000"),
        ("ZUUL_REF", "a.lock"),
        ("ZUUL_REF", "x" * 513),
        ("ZUUL_REF", "\ud800"),
        ("ZUUL_REF", 7),
        ("ZUUL_BRANCH", "-b"),
        ("ZUUL_BRANCH", "HEAD"),
        ("ZUUL_BRANCH", "a..b"),
        ("ZUUL_REFNAME", "a b"),
        ("ZUUL_COMMIT", "master"),
        ("ZUUL_COMMIT", "4b3c"),
        ("ZUUL_COMMIT", COMMIT + "\n"),
        ("ZUUL_COMMIT", "-" + COMMIT[1:]),
        ("ZUUL_NEWREV", "0" * 40),
        ("ZUUL_OLDREV", "x"),
        ("ZUUL_CHANGE", 7),
        ("ZUUL_CHANGE", "../7"),
        ("ZUUL_CHANGE", "7/7"),
        ("ZUUL_PATCHSET", "-1"),
        ("ZUUL_PIPELINE", "a/b"),
        ("ZUUL_PIPELINE", ".."),
        ("LOG_PATH", "/etc/x"),
        ("LOG_PATH", "a/../../x"),
        ("LOG_PATH", "a//b"),
        ("LOG_PATH", "./a"),
        ("LOG_PATH", "a/"),
        ("LOG_PATH", "a/.hidden"),
        ("LOG_PATH", "a/-b"),
        ("LOG_PATH", "a b"),
        ("LOG_PATH", "a\\..\\b"),
        ("LOG_PATH", "x" * 1001),
        ("BASE_LOG_PATH", ".."),
        ("BASE_LOG_PATH", {}),
    ],
)
def test_a_wrong_argument_is_named(field: str, value: Any) -> None:
    with pytest.raises(RequestError) as caught:
        parse({field: value})
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_deleted_branch_says_so() -> None:
    with pytest.raises(RequestError, match=r"ZUUL_NEWREV: .* was deleted"):
        parse({"ZUUL_NEWREV": "0" * 40})


@pytest.mark.parametrize(
    "url",
    [
        "http://zuul/p",
        "https://user:pw@host:8443/a/b",
        "git://git.example.org",
        "ssh://git@host:29418/a",
        "file:///srv/git",
        "/srv/git",
        "git@github.com:org",
        "host:path",
        "http://127.0.0.1:1234/p",
        "http://[::1]:8080/p",
    ],
)
def test_urls_that_git_may_be_given(url: str) -> None:
    assert parse({"ZUUL_URL": url}).url == url


@pytest.mark.parametrize(
    "arguments", [b"", b"[]", b"null", b"\xff{}", b"[" * 100_000, "not json", b'{"a": ' + b"1" * 2**20]
)
def test_arguments_that_are_no_object(arguments: bytes | str) -> None:
    with pytest.raises(RequestError) as caught:
        Request.parse("job", "unique", arguments)
    assert caught.value.field == "arguments"


@pytest.mark.parametrize("unique", ["", "../x", "a b"])
def test_a_job_without_any_usable_name(unique: str) -> None:
    with pytest.raises(RequestError, match="ZUUL_UUID"):
        Request.parse("job", unique, {**CHANGE, "ZUUL_UUID": ""})


# Of the characters that the rules speak of, so that chance finds the rules.
REFS = st.lists(st.sampled_from([*"abAB01/.-_@{}~^:?*[\\+ \t\x7fé", "..", ".lock", "@{", "//", "HEAD"]), max_size=12)


@given(REFS.map("".join))
def test_refs_are_judged_as_git_does(ref: str) -> None:
    git = subprocess.run(["git", "check-ref-format", "--allow-onelevel", ref], check=False)
    allowed = git.returncode == 0 and not ref.startswith("-") and ref != "HEAD"
    # beyond git's rules: nothing that Ansible would take for a template
    allowed = allowed and not any(opening in ref for opening in ("{{", "{%", "{#"))
    if not ref:
        return
    try:
        accepted = parse({"ZUUL_REF": ref}).ref == ref
    except RequestError:
        accepted = False
    assert accepted == allowed


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from([*CHANGE, "ZUUL_NEWREV", "ZUUL_OLDREV", "ZUUL_REFNAME", "x"]), JSON))
def test_nothing_but_a_request_or_a_request_error_comes_of_any_arguments(changed: dict[str, Any]) -> None:
    try:
        request = Request.parse("job", "unique", json.dumps({**CHANGE, **changed}))
    except RequestError:
        return
    for path in (request.log_path, request.project, request.id):
        assert ".." not in path.split("/") and not path.startswith("/")
