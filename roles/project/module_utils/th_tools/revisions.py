# SPDX-License-Identifier: Apache-2.0
"""A tree of migrations: its revisions, what each of them comes after, and a digest of what each does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

NO_REVISION = "it sets no revision"
"""Why a script is unreadable that no other one can follow."""


@dataclass(frozen=True)
class Revision:
    """One migration: its name, the ones it comes after, its file, and a digest of what its upgrade does.

    `depends` must also have run before, but is not on the same branch (alembic's depends_on). `replaces` are those that
    it stands for (Django's squashed migrations), `others` its files besides `file`. `lacks` are migrations of its own
    app that it names but that do not exist (nothing else is left out of `down` for Django). `whole` is a digest that
    includes its downgrade, and `refers` is whether it may call the downgrade of another one.
    """

    name: str
    down: tuple[str, ...]
    file: str
    digest: str
    depends: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    whole: str = ""
    refers: bool = False

    @property
    def before(self) -> tuple[str, ...]:
        """All that must have run before it."""
        return tuple(dict.fromkeys(self.down + self.depends))


@dataclass(frozen=True)
class Unreadable:
    """A file that looks like a migration but could not be understood, and why; `digest` is that of its content."""

    file: str
    reason: str
    digest: str = ""


@dataclass(frozen=True)
class Tree:
    """The migrations of one commit."""

    revisions: dict[str, Revision] = field(default_factory=dict)
    unreadable: tuple[Unreadable, ...] = ()

    def heads(self) -> list[str]:
        """The revisions that no other one comes after or depends on, sorted: the version of a database that has all.

        That is how alembic's table has it. A squashed migration takes the place of those that it replaces.
        """
        return self._ends({name: revision.before for name, revision in self.revisions.items()})

    def leaves(self) -> list[str]:
        """The revisions that no other one of the same branch (in Django, app) comes after, sorted."""
        return self._ends({name: revision.down for name, revision in self.revisions.items()})

    def _ends(self, before: Mapping[str, Iterable[str]]) -> list[str]:
        stands_for = {old: name for name, revision in self.revisions.items() for old in revision.replaces}

        def standing(name: str) -> str:
            seen = {name}
            while name in stands_for and stands_for[name] not in seen:
                name = stands_for[name]
                seen.add(name)
            return name

        passed = {name for name in self.revisions if standing(name) != name}
        for name, ones in before.items():
            passed.update({standing(one) for one in ones} - {standing(name)})
        return sorted(self.revisions.keys() - passed)

    def orphans(self) -> list[tuple[str, str]]:
        """The revisions whose parent does not exist, each with the name of that parent; sorted."""
        known = self.known()
        return sorted(
            (name, one)
            for name, revision in self.revisions.items()
            for one in dict.fromkeys((*revision.down, *revision.lacks))
            if one not in known
        )

    def known(self) -> set[str]:
        """The revisions, and those that they replace."""
        return {*self.revisions, *(old for revision in self.revisions.values() for old in revision.replaces)}

    def files(self, touched: Iterable[str] = ()) -> set[str]:
        """The files of the migrations, unreadable ones included; for `touched` migrations, all of their files."""
        found = {item.file for item in self.unreadable} | {revision.file for revision in self.revisions.values()}
        for name in touched:
            found.update(self.revisions[name].others if name in self.revisions else ())
        return found

    def prefixed(self, database: str) -> Tree:
        """The same tree with ``<database>:`` before every name."""

        def names(given: Iterable[str]) -> tuple[str, ...]:
            return tuple(f"{database}:{name}" for name in given)

        return Tree(
            {
                f"{database}:{name}": replace(
                    revision,
                    name=f"{database}:{name}",
                    down=names(revision.down),
                    depends=names(revision.depends),
                    replaces=names(revision.replaces),
                    lacks=names(revision.lacks),
                )
                for name, revision in self.revisions.items()
            },
            self.unreadable,
        )

    def order(self) -> list[str]:
        """All revisions, each after those it needs; ties are broken by name, so that the order is always the same.

        Raises ValueError when they form a cycle.
        """
        waits = {name: set(revision.before) & self.revisions.keys() for name, revision in self.revisions.items()}
        later: dict[str, list[str]] = {}
        for name, needed in waits.items():
            for one in needed:
                later.setdefault(one, []).append(name)
        ready = sorted((name for name, needed in waits.items() if not needed), reverse=True)
        ordered: list[str] = []
        while ready:
            name = ready.pop()
            ordered.append(name)
            freed = []
            for follower in later.get(name, ()):
                waits[follower].discard(name)
                if not waits[follower]:
                    freed.append(follower)
            ready.extend(sorted(freed, reverse=True))
        if len(ordered) < len(self.revisions):
            circle = sorted(self.revisions.keys() - set(ordered))
            raise ValueError(f"the migrations go round in a circle: {', '.join(circle[:5])}")
        return ordered
