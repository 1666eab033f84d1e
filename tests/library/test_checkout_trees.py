# SPDX-License-Identifier: Apache-2.0
"""What keeps a change's migrations from being walked, found at the checkout, and whose fault it is."""

from typing import Any

import pytest
from ansible.module_utils.th_core.step import StepError
from ansible.module_utils.th_git.process import GitLimits
from ansible.module_utils.th_tools.alembic_scripts import read_tree
from ansible.module_utils.th_tools.django_trees import read_django_tree
from ansible.module_utils.th_tools.numbered_scripts import read_numbered_tree
from ansible.module_utils.th_tools.profile import check_profile
from ansible.module_utils.th_tools.revisions import Tree
from ansible.module_utils.th_tools.tool import Places

from tests.kit import load_module
from tests.kit.git_server import Repository, script

from .test_checkout import VERSIONS, ZUUL_REF, Workplace, names, repository, root, url, work  # noqa: F401 - fixtures

load_module("checkout", "read_migrations")
from ansible.module_utils.th_checkout.tree_checks import check_trees, too_many_heads  # noqa: E402

Files = dict[str, str | None]
BASE: Files = {"v/a.py": script("a", None), "v/b.py": script("b", "a"), "v/c.py": script("c", "b")}
UNREADABLE = "revision = make()\ndown_revision = 'a'\n"


class Reader:
    """What `Forest` is, of files that are given; the commits are `base` and `change`."""

    def __init__(self, settings: dict[str, Any], trees: dict[str, Files]) -> None:
        self._settings, self._trees = settings, trees

    def of(self, name: str) -> "Reader":
        assert name == ""
        return self

    def read(self, commit: str) -> Tree:
        files = [(path, text.encode()) for path, text in self._trees[commit].items() if text is not None]
        if self._settings["tool"] == "django":
            return read_django_tree(files)[0]
        return (read_numbered_tree if self._settings["versions"] == "numbered" else read_tree)(files)

    def places(self, commit: str) -> Places:
        return Places(tuple(self._settings["version_locations"] or ["v"]))


def checked(base: Files, change: Files, merged: bool = False, **migrations: Any) -> tuple[str, str, str]:
    """The code, the detail and the file of what is wrong with a change, which is given by what it changes; else ""."""
    given = {"tool": "alembic", "script_location": "v", **migrations}
    profile = {"file": "/profiles/x.yaml", **check_profile({"migrations": given})}
    reader: Any = Reader(profile["databases"][0], {"base": base, "change": {**base, **change}})
    try:
        check_trees(reader, profile, None if merged else "base", "change", "master")
    except StepError as error:
        return error.code, error.detail, str(error.more.get("file", ""))
    return "", "", ""


def test_what_fits_is_fine() -> None:
    assert checked(BASE, {}) == checked(BASE, {"v/d.py": script("d", "c")}) == ("", "", "")


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"v/0011_x.py": script("11", "99")}, "down_revision 99 of 0011_x.py does not exist."),
        ({"v/c.py": script("c", "99")}, "down_revision 99 of c.py does not exist."),
        ({"v/b.py": None}, "down_revision b of c.py does not exist any more: the change removes it."),
        (
            {"v/d.py": script("d", "98"), "v/e.py": script("e", "99")},
            "down_revision 98 of d.py does not exist; down_revision 99 of e.py does not exist.",
        ),
        (
            {"v/d.py": "revision = 'd'\ndown_revision = ('c', '99')\n"},
            "down_revision 99 of d.py does not exist.",
        ),
        ({"v/d.py": script("d", "e"), "v/e.py": script("e", "d")}, "the migrations go round in a circle: d, e."),
    ],
)
def test_a_parent_that_the_change_gets_wrong(change: Files, detail: str) -> None:
    code, said, file = checked(BASE, change)
    assert (code, said) == ("wrong_parent", detail)
    assert "circle" in said or file in {*change, "v/c.py"}


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ({**BASE, "v/x.py": script("x", "99")}, "down_revision 99 of x.py does not exist"),
        ({**BASE, "v/x.py": script("x", "b")}, "its heads are c (v/c.py) and x (v/x.py), and migrations.heads in /pro"),
        ({**BASE, "v/x.py": script("x", "y"), "v/y.py": script("y", "x")}, "go round in a circle: x, y"),
        ({**BASE, "v/b.py": UNREADABLE}, "v/b.py cannot be read: its revision is computed"),
    ],
)
@pytest.mark.parametrize(
    "change", [{}, {"README": "x"}, {"v/d.py": script("d", "c")}, {"v/c.py": script("c", "b", "print()")}]
)
def test_what_the_branch_has_already_is_the_operators(base: Files, words: str, change: Files) -> None:
    code, detail, _ = checked(base, change)
    assert code == "branch_broken" and words in detail and detail.startswith("master has it without the change: ")


def test_a_timer_on_a_broken_branch_has_no_author() -> None:
    assert checked({}, {**BASE, "v/x.py": script("x", "b")}, merged=False)[0] == "several_heads"
    base = {**BASE, "v/x.py": script("x", "b")}
    assert checked(base, {})[0] == "branch_broken"
    assert checked({}, base, merged=True)[0] == "branch_broken"


def test_a_merged_script_that_cannot_be_read_and_that_nothing_needs() -> None:
    base = {**BASE, "v/helper.py": "x = 1\n"}
    assert checked(base, {"v/d.py": script("d", "c")}) == ("", "", "")
    code, detail, _ = checked(base, {"v/d.py": script("d", "b")})
    assert code == "several_heads" and "v/d.py" in detail


def test_two_heads_are_named_with_their_files() -> None:
    code, detail, file = checked(BASE, {"v/d.py": script("d", "b")})
    assert (code, file) == ("several_heads", "v/d.py")
    assert detail == "The heads are c (v/c.py) and d (v/d.py), which both come after b."
    both = checked(BASE, {"v/d.py": script("d", "c"), "v/e.py": script("e", "c")})
    assert both[1] == "The heads are d (v/d.py) and e (v/e.py), which both come after c."
    assert "come after nothing" in checked({"v/a.py": script("a", None)}, {"v/d.py": script("d", None)})[1]
    far = checked(BASE, {"v/d.py": script("d", "a")})
    assert far[1] == "The heads are c (v/c.py) and d (v/d.py)."


def test_several_heads_by_design() -> None:
    base = {**BASE, "v/x.py": script("x", "b")}
    assert checked(base, {"v/d.py": script("d", "c")}, heads=2) == ("", "", "")
    code, detail, _ = checked(base, {"v/d.py": script("d", "b")}, heads=2)
    assert code == "several_heads" and "d (v/d.py)" in detail
    labelled = {**BASE, "v/x.py": "revision = 'x'\ndown_revision = None\nbranch_labels = ('other',)\n"}
    assert checked(labelled, {"v/y.py": "revision = 'y'\ndown_revision = 'x'\n"}, heads=2) == ("", "", "")
    depends = "revision = 'd'\ndown_revision = 'c'\ndepends_on = 'other'\n"
    assert checked(labelled, {"v/d.py": depends}, heads=2) == ("", "", "")


def test_a_change_that_merges_the_branches_heads_is_walked() -> None:
    base = {**BASE, "v/x.py": script("x", "b")}
    assert checked(base, {"v/m.py": "revision = 'm'\ndown_revision = ('c', 'x')\n"}) == ("", "", "")
    more = checked(base, {"v/d.py": script("d", "b")})
    assert more[0] == "several_heads", "one more is the change's"


def test_the_change_removes_all_scripts() -> None:
    code, detail, _ = checked(BASE, dict.fromkeys(BASE) | {"w/a.py": None})
    assert code == "no_migrations" and detail == "The change leaves no migration script in v."


@pytest.mark.parametrize(
    ("migrations", "words"),
    [
        ({}, "migrations.script_location: master has no migration script in v."),
        ({"version_locations": ["x", "y"]}, "migrations.version_locations: master has no migration script in x, y."),
        ({"tool": "command", "command": ["x"], "version_locations": ["x"]}, "migrations.version_locations: master"),
        ({"tool": "sqlalchemy_migrate", "repository": ["x"]}, "migrations.repository: master has no"),
        ({"tool": "django", "settings": "x.y", "apps": ["x"]}, "migrations.apps: master has no"),
    ],
)
def test_a_profile_that_names_a_folder_without_scripts(migrations: dict[str, Any], words: str) -> None:
    if migrations.get("tool", "alembic") != "alembic":
        migrations = {"script_location": None, **migrations}
    given = {key: value for key, value in migrations.items() if value is not None}
    if "tool" in given:
        profile = {"file": "/profiles/x.yaml", **check_profile({"migrations": given})}
        reader: Any = Reader(profile["databases"][0], {"base": {}, "change": {}})
        with pytest.raises(StepError) as caught:
            check_trees(reader, profile, "base", "change", "master")
        code, detail = caught.value.code, caught.value.detail
    else:
        code, detail, _ = checked({}, {"README": "x"}, **given)
    assert code == "profile_wrong" and f"/profiles/x.yaml: {words}" in detail


def app(name: str, *dependencies: str, more: str = "") -> str:
    """A Django migration of the app `shop`."""
    listed = ", ".join(f"('shop', {one!r})" for one in dependencies)
    return f"class Migration(migrations.Migration):\n    dependencies = [{listed}]\n    operations = []\n{more}"


SHOP: Files = {
    "shop/migrations/__init__.py": "",
    "shop/migrations/0001_a.py": app("0001_a"),
    "shop/migrations/0002_b.py": app("0002_b", "0001_a"),
}
DJANGO = {"tool": "django", "settings": "x.y"}


def django(base: Files, change: Files) -> tuple[str, str, str]:
    """As `checked`, of a Django project."""
    profile = {"file": "/profiles/x.yaml", **check_profile({"migrations": DJANGO})}
    reader: Any = Reader(profile["databases"][0], {"base": base, "change": {**base, **change}})
    try:
        check_trees(reader, profile, "base", "change", "master")
    except StepError as error:
        return error.code, error.detail, str(error.more.get("file", ""))
    return "", "", ""


def test_conflicting_leaves_of_a_django_app() -> None:
    other = {"shop/migrations/0002_c.py": app("0002_c", "0001_a")}
    code, detail, file = django(SHOP, other)
    assert (code, file) == ("several_heads", "shop/migrations/0002_c.py")
    assert "shop.0002_b (shop/migrations/0002_b.py) and shop.0002_c (shop/migrations/0002_c.py)" in detail
    assert django({**SHOP, **other}, {"README": "x"}) == ("", "", ""), "whether the app is installed is not known"
    squash = app("0001_s", more="    replaces = [('shop', '0001_a'), ('shop', '0002_b')]\n")
    assert django(SHOP, {"shop/migrations/0001_s.py": squash}) == ("", "", "")


def test_apps_that_depend_on_each_other_conflict_in_nothing() -> None:
    blog = {
        "blog/migrations/__init__.py": "",
        "blog/migrations/0001_a.py": app("0001_a", "0001_a"),
    }
    assert django(SHOP, {**blog}) == ("", "", "")


def test_a_django_dependency_that_is_not_there() -> None:
    code, detail, file = django(SHOP, {"shop/migrations/0003_c.py": app("0003_c", "0099_x")})
    assert (code, file) == ("wrong_parent", "shop/migrations/0003_c.py")
    assert detail == "dependency shop.0099_x of 0003_c.py does not exist."
    foreign = "class Migration:\n    dependencies = [('auth', '0099_x'), ('shop', '0002_b')]\n"
    assert django(SHOP, {"shop/migrations/0003_c.py": foreign}) == ("", "", "")
    assert django(SHOP, {"shop/migrations/0003_c.py": app("0003_c", "__first__", "0002_b")}) == ("", "", "")


def test_a_merged_django_migration_that_cannot_be_read() -> None:
    base = {**SHOP, "shop/migrations/0003_c.py": "class Migration(:\n"}
    code, _, _ = django(base, {"shop/migrations/0004_d.py": app("0004_d", "0003_c")})
    assert code == "branch_broken"
    assert django(base, {"README": "x"}) == ("", "", "")


def test_a_stage_with_too_many_heads_is_left_out() -> None:
    profile = check_profile({"migrations": {"tool": "alembic", "script_location": "v"}})
    reader: Any = Reader(profile["databases"][0], {"one": BASE, "two": {**BASE, "v/x.py": script("x", "b")}})
    assert too_many_heads(reader, profile["databases"], "one", "one") == ""
    assert too_many_heads(reader, profile["databases"], "two", "one") == "it has the heads c, x"


def test_a_stage_whose_leaves_the_change_merges_is_left_out() -> None:
    profile = check_profile({"migrations": DJANGO})
    two = {**SHOP, "shop/migrations/0002_c.py": app("0002_c", "0001_a")}
    merged = {**two, "shop/migrations/0003_m.py": app("0003_m", "0002_b", "0002_c")}
    reader: Any = Reader(profile["databases"][0], {"one": SHOP, "two": two, "merged": merged})
    assert too_many_heads(reader, profile["databases"], "two", "merged") == "it has the heads shop.0002_b, shop.0002_c"
    assert too_many_heads(reader, profile["databases"], "two", "two") == ""
    assert too_many_heads(reader, profile["databases"], "one", "merged") == ""


def test_a_change_that_heals_the_branch_goes_past_its_tip(work: Workplace, repository: Repository) -> None:  # noqa: F811
    repository.commit({f"{VERSIONS}/x.py": script("x", "b")})
    repository.change(ZUUL_REF, {f"{VERSIONS}/m.py": "revision = 'm'\ndown_revision = ('c', 'x')\n"})
    document = work.run()
    assert names(document)[-2:] == [("stable/2", "release"), ("change 7,1", "change")]
    assert document["tip_left_out"] == "it has the heads c, x" and document["tip_has_heads"] is True


def test_an_unrelated_change_beside_new_syntax_is_walked(work: Workplace, repository: Repository) -> None:  # noqa: F811
    repository.commit({f"{VERSIONS}/d.py": script("d", "c", 'op.execute(f"{d["x"]}")') + "type X = int\n"})
    repository.change(ZUUL_REF, {f"{VERSIONS}/e.py": script("e", "d")})
    document = work.run()
    assert not document["unreadable"] and document["touched"]["added"] == ["e"]
    assert document["stages"][-1]["heads"] == ["e"]


@pytest.mark.parametrize("config", [None, "[alembic]\nsqlalchemy.url = x\n"])
def test_a_script_location_that_nothing_names(
    work: Workplace, repository: Repository, config: str | None  # noqa: F811
) -> None:
    work.described["migrations"] = {"tool": "alembic"}
    if config:
        repository.commit({"alembic.ini": config})
    repository.change(ZUUL_REF, {"README": "more"})
    place = "/profiles/project.yaml: migrations."
    if config:
        work.fails("profile_wrong", f"{place}script_location: is not set, and alembic.ini does not name it")
    else:
        detail = work.fails("profile_wrong", f"{place}config: master has no file alembic.ini, which is to name")
        assert "or set migrations.script_location" in detail


def test_a_branch_over_a_limit_is_not_the_changes(work: Workplace, repository: Repository) -> None:  # noqa: F811
    work.limits = GitLimits(work.src(), 30, 8 << 20, 1 << 30)
    many: Files = {f"data/{number}": "x" for number in range(40)}
    repository.change(ZUUL_REF, many)
    work.fails("over_limit", "checkout_files_limit")
    repository.commit(many)
    repository.change(ZUUL_REF, {"README": "more"})
    work.fails("branch_broken", "master has it without the change: ")
    repository.change(ZUUL_REF, dict.fromkeys(many))
    assert work.run()["stages"][-1]["kind"] == "change"


OUTSIDE = "[alembic]\nscript_location = ../db\n"


def test_a_script_location_out_of_the_checkout_is_whose_it_is(
    work: Workplace, repository: Repository  # noqa: F811
) -> None:
    work.described["migrations"] = {"tool": "alembic"}
    inside = f"[alembic]\nscript_location = {VERSIONS.rpartition('/')[0]}\n"
    repository.commit({"alembic.ini": inside})
    repository.change(ZUUL_REF, {"alembic.ini": OUTSIDE})
    work.fails("checkout_failed", "alembic.ini: '../db' leads out of the checkout.")
    repository.commit({"alembic.ini": OUTSIDE})
    repository.change(ZUUL_REF, {"README": "more"})
    words = "/profiles/project.yaml: migrations.script_location: in master, alembic.ini: '../db' leads out"
    work.fails("profile_wrong", words)
    # a change that corrects it goes past the branch's tip
    repository.change(ZUUL_REF, {"alembic.ini": inside})
    assert work.run()["tip_left_out"]


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"


def test_pointers_of_git_lfs_are_listed(work: Workplace, repository: Repository) -> None:  # noqa: F811
    repository.commit({"data/old.csv": POINTER})
    files = {
        "data/.gitattributes": "*.csv filter=lfs diff=lfs merge=lfs -text\n*.txt filter=lfs\n",
        f"{VERSIONS}/d.py": script("d", "c"),
        "data/new.csv": POINTER,
        "data/true.csv": "1,2\n",
        "data/words.txt": "words" * 1000,
        "other/new.csv": "1,2\n",
    }
    repository.change(ZUUL_REF, files)
    document = work.run()
    assert document["lfs_pointers"] == ["data/new.csv", "data/old.csv"]
    assert document["lfs_pointers_brought"] == ["data/new.csv"]
    repository.change(ZUUL_REF, {"README": "x"})
    assert "lfs_pointers" not in work.run("without")


def test_a_script_in_git_lfs_says_what_to_do(work: Workplace, repository: Repository) -> None:  # noqa: F811
    repository.change(ZUUL_REF, {f"{VERSIONS}/d.py": POINTER, ".gitattributes": "*.py filter=lfs\n"})
    detail = work.fails("migration_unreadable", "Git LFS pointer, not the script: keep migrations out of Git LFS")
    assert f"{VERSIONS}/d.py" in detail
