"""What a client knows of the directory without listing it: the names of its task files, in order.

The names are the whole truth; this is a copy, kept true by what the journal says of the changes of others.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from lowq.backend import Counts
from lowq.backends.files.names import digest, due, number, place

_SPARE = 1_000
"""So many outdated entries may stand in a heap beside as many as are true."""


class Index:
    """The names by number, those ready and those with a time in order, and which digests stand."""

    def __init__(self, names: list[str]) -> None:
        self.names: dict[str, str] = {}
        self.ready: list[str] = []
        self.timed: list[str] = []
        self._digests: dict[str, str] = {}
        self._tally = {"r": 0, "s": 0, "l": 0, "d": 0}
        self._fill(names)

    def _fill(self, names: list[str]) -> None:
        """The same as adding each; written for a hundred thousand of them."""
        names.sort()  # ready ones are in claim order then, and a sorted list is a heap
        for name in names:
            first = name[0]
            self._tally[first] += 1
            at = number(name)
            self.names[at] = name
            if first == "r":
                self.ready.append(name[6:33])
            elif first != "d":
                self.timed.append(f"{due(name)}-{at}")
            if first != "d":
                self._stand(digest(name), at)
        heapify(self.timed)

    def add(self, name: str) -> None:
        """A task of that name is there."""
        first, at = name[0], number(name)
        if (known := self.names.get(at)) is not None:
            self.remove(known)
        self.names[at] = name
        self._tally[first] += 1
        if first == "r":
            heappush(self.ready, place(name))
            if len(self.ready) > 2 * self._tally["r"] + _SPARE:
                self.ready = sorted(place(each) for each in self.names.values() if each[0] == "r")
        elif first != "d":
            heappush(self.timed, f"{due(name)}-{at}")
            if len(self.timed) > 2 * (self._tally["s"] + self._tally["l"]) + _SPARE:
                self.timed = sorted(f"{due(each)}-{number(each)}" for each in self.names.values() if each[0] in "sl")
        if first != "d":
            self._stand(digest(name), at)

    def remove(self, name: str) -> None:
        """No task of that name is there."""
        at = number(name)
        if self.names.get(at) != name:
            return
        del self.names[at]
        self._tally[name[0]] -= 1
        if name[0] != "d":
            left = [each for each in self._digests.pop(digest(name), "").split() if each != at]
            if left:
                self._digests[digest(name)] = " ".join(left)

    def name_at(self, at: str) -> str | None:
        """The name of the task with that number, or None."""
        return self.names.get(at)

    def all(self) -> list[str]:
        """The names of all tasks."""
        return list(self.names.values())

    def first(self) -> str | None:
        """The name of the first ready task, which is taken out of the order: it will be claimed, or set aside."""
        while self.ready:
            key = heappop(self.ready)
            while self.ready and self.ready[0] == key:
                heappop(self.ready)
            name = self.names.get(key[11:])
            if name is not None and name[0] == "r" and name[6:33] == key:
                return name
        return None

    def put_back(self, name: str) -> None:
        """A ready task that `first` gave is in the order again."""
        heappush(self.ready, place(name))

    def overdue(self, now: str, limit: int) -> list[str]:
        """The names of the tasks whose time has come, the earliest first, `limit` at most."""
        found: list[str] = []
        while len(found) < limit and (name := self._next_timed()) is not None and due(name) <= now:
            heappop(self.timed)
            if found[-1:] != [name]:  # it may stand there twice
                found.append(name)
        return found

    def next_due(self) -> str | None:
        """The stamp at which the next scheduled task falls due or the next lease ends, or None."""
        name = self._next_timed()
        return None if name is None else due(name)

    def counts(self, now: str) -> Counts:
        """How many tasks are in each state at that instant."""
        late = [name[0] for name in self._late(now)]
        scheduled, leased = late.count("s"), late.count("l")
        tally = self._tally
        return Counts(tally["s"] - scheduled, tally["r"] + scheduled + leased, tally["l"] - leased, tally["d"])

    def equals(self, start: str) -> list[str]:
        """The names of the tasks that are not dead and whose digest begins so, the oldest first."""
        return [self.names[at] for at in sorted(self._digests.get(start, "").split())]

    def may_stand(self, start: str) -> bool:
        """Whether an equal task may be there; changes nothing, and so may be asked without the lock."""
        return start in self._digests

    def _top(self) -> str | None:
        """The place of the first ready task."""
        while self.ready:
            key = self.ready[0]
            name = self.names.get(key[11:])
            if name is not None and name[0] == "r" and name[6:33] == key:
                return key
            heappop(self.ready)
        return None

    def _stand(self, start: str, at: str) -> None:
        standing = self._digests.get(start)
        self._digests[start] = at if standing is None else f"{standing} {at}"

    def _next_timed(self) -> str | None:
        while self.timed:
            name = self._name_at_time(self.timed[0])
            if name is not None:
                return name
            heappop(self.timed)
        return None

    def _name_at_time(self, entry: str) -> str | None:
        name = self.names.get(entry[24:])
        return name if name is not None and name[0] in "sl" and due(name) == entry[:23] else None

    def _late(self, now: str) -> Iterator[str]:
        """The names of those whose time has come: the top of the heap, as far as it is due."""
        seen: set[str] = set()
        at = [0]
        while at:
            position = at.pop()
            if position < len(self.timed) and (entry := self.timed[position])[:23] <= now:
                at += (2 * position + 1, 2 * position + 2)
                name = self._name_at_time(entry)
                if name is not None and name not in seen:
                    seen.add(name)
                    yield name
