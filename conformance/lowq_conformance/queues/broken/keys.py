"""Queues that mistake keys, or let a refused duplicate change the task that stands."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from fnmatch import fnmatchcase
from unicodedata import normalize

from lowq import Pushed
from lowq_conformance.queues.broken.register import breaks
from lowq_conformance.queues.sound.journal import Queue
from lowq_conformance.queues.sound.rows import Row


@breaks("DEDUPE-4")
class IgnoresKeys(Queue):
    """An explicit key is kept and never looked at."""

    def identity(self, row: Row) -> Hashable:
        return row.text


@breaks("DEDUPE-4")
class KeysMeetWorks(Queue):
    """The key "1" meets the work 1, whose text it is."""

    def identity(self, row: Row) -> Hashable:
        return row.text if row.key is None else row.key


@breaks("DEDUPE-4")
class KeysBesideWorks(Queue):
    """A key counts only together with the work: two works under one key are both added."""

    def identity(self, row: Row) -> Hashable:
        return row.key, row.text


@breaks("DEDUPE-4")
class EmptyKeyIsNone(Queue):
    """The key "" is taken for no key."""

    def identity(self, row: Row) -> Hashable:
        return ("key", row.key) if row.key else ("work", row.text)


@breaks("DEDUPE-4")
class KeysAreLike(Queue):
    """Keys are looked up as patterns: under "a*", a task of key "ab" is found."""

    def standing(self, row: Row) -> Row | None:
        for each in self.rows.values():
            if row.key and each.key and each.state != "dead" and fnmatchcase(each.key, row.key):
                return each
        return super().standing(row)


@breaks("DEDUPE-8")
class DuplicateRaisesPriority(Queue):
    """A refused duplicate lends the standing task its higher priority."""

    def standing(self, row: Row) -> Row | None:
        standing = super().standing(row)
        if standing is not None and row.priority > standing.priority:
            standing.priority = row.priority
            self.write(standing)
        return standing


@breaks("DEDUPE-8")
class DuplicateReschedules(Queue):
    """A refused duplicate gives the standing task its own time."""

    def add(self, row: Row, now: int) -> Pushed:
        standing = self.standing(row)
        if standing is not None and standing.state != "leased" and row.not_before is not None:
            standing.not_before = row.not_before
            self.wait(standing, row.not_before, now)
        return super().add(row, now)


@breaks("DEDUPE-8")
class DuplicateReplaces(Queue):
    """A push under a standing key replaces the work of the standing task, as an upsert does."""

    def standing(self, row: Row) -> Row | None:
        standing = super().standing(row)
        if standing is not None and standing.text != row.text:
            standing.text = row.text
            self.write(standing)
        return standing


@breaks("DEDUPE-8")
class DuplicateGoesToTheEnd(Queue):
    """A refused duplicate sends the standing task to the end of the line, as INSERT OR REPLACE does."""

    def add(self, row: Row, now: int) -> Pushed:
        standing = self.standing(row)
        if standing is not None and standing.state == "ready":
            self.remove(standing)
            self.write(replace(standing, number=self.last + 1, state="ready"))
        return super().add(row, now)


@breaks("DEDUPE-4")
class KeysAreNumbers(Queue):
    """Keys are in a column of numeric affinity: "1" and "01" are one key."""

    def identity(self, row: Row) -> Hashable:
        return ("key", int(row.key)) if row.key is not None and row.key.isdecimal() else super().identity(row)


@breaks("DEDUPE-4")
class KeysAreNormalised(Queue):
    """A composed and a decomposed é are one key."""

    def identity(self, row: Row) -> Hashable:
        return super().identity(row) if row.key is None else ("key", normalize("NFC", row.key))


@breaks("DEDUPE-4")
class KeysAreCut(Queue):
    """Keys are compared by their first 1,024 characters."""

    def identity(self, row: Row) -> Hashable:
        return super().identity(row) if row.key is None else ("key", row.key[:1024])
