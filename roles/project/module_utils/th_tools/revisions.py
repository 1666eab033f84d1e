# SPDX-License-Identifier: Apache-2.0
"""A tree of migrations: which there are, what each comes after, and what has changed between two of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

NO_REVISION = "it sets no revision"
"""Why a script is unreadable that no other one can come after."""


@dataclass(frozen=True)
class Revision:
    """One migration: its name, the ones it comes after, its file, and a digest of what its upgrade does.

    `depends` must have run before as well, without being in the same line (alembic's depends_on). `replaces` are
    those that it stands for (django's squashed ones), `others` the files that belong to it beside `file`. `lacks` are
    those of its own app that it names and that do not exist (Django leaves nothing else out of `down`). `whole` is a
    digest of its downgrade as well, and `refers` whether it may call that of another one.
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
        """The revisions that no other one comes after or depends on, sorted: what a database holds that has them all.

        So does alembic's table; where one replaces others, those are passed, and what comes after them comes after it.
        """
        return self._ends({name: revision.before for name, revision in self.revisions.items()})

    def leaves(self) -> list[str]:
        """The revisions that no other one of the same line (Django's app) comes after, sorted."""
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
        """The revisions that name one to come after which does not exist, with the name of that one; sorted."""
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
        """The files that migrations are in, also those that cannot be understood; of the `touched` ones all files."""
        found = {item.file for item in self.unreadable} | {revision.file for revision in self.revisions.values()}
        for name in touched:
            found.update(self.revisions[name].others if name in self.revisions else ())
        return found

    def prefixed(self, database: str) -> Tree:
        """The same with ``<database>:`` before every name."""

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
        """All revisions, each after those it needs; a tie goes by name, so the order is always the same.

        Raises ValueError when they go round in a circle.
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
