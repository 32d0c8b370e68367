"""Sound queues that promise less: what they lack is written behind their name, and whoever does without it is right.

``SQLite.shared_lease.ids`` is lowq's queue in a file without the promise `shared_lease`, and without ids. A promise
that is gone takes its methods and keywords along, and the promises that mean nothing without it; what else may be
gone is in WORDS. A queue made so does all that it did before, so that it breaks nothing that it still promises.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar

from lowq import Pushed, SystemClock
from lowq_conformance.contract.promises import PROMISES
from lowq_conformance.queues.lowq import Memory as LowqMemory
from lowq_conformance.queues.lowq import SQLite as LowqSQLite
from lowq_conformance.queues.sound.folder import Folder as SoundFolder
from lowq_conformance.queues.sound.journal import Journal as SoundJournal

WORDS: Mapping[str, str] = {
    "dedupe": "equal works are all kept",
    "ids": "neither pushes nor claims tell ids",
    "claimed_ids": "claims tell no ids",
    "answers": "push says nothing",
    "attempts": "claims do not tell how many there were",
    "release_time": "release takes no time",
    "redrive": "what is dead stays dead",
    "reasons": "dead_letter takes no reason",
    "listed_keys": "there is no key, and listings tell one that is made of the work",
    "clock": "nobody moves the clock, and time really passes",
}
"""What can be gone beside promises."""

AGES = timedelta(days=9999)
"""For how long a task is held where no lease is promised."""


class Taking(type):
    """The class of harnesses that lack something; each word behind one makes another that lacks that, too."""

    lacks: frozenset[str]

    def __getattr__(cls, word: str) -> Taking:
        if word not in PROMISES and word not in WORDS:
            raise AttributeError(word)
        gone = {word} | {each.word for each in PROMISES.values() if word in each.needs}
        gone |= {each.word for each in PROMISES.values() if gone.intersection(each.needs)}
        gone |= {"key"} if word == "listed_keys" else set()
        lacks = cls.lacks | gone
        return Taking(f"{cls.__name__}.{word}", (cls,), {"lacks": lacks, "__module__": cls.__module__})


class Less(metaclass=Taking):
    """A sound queue in the hands of who takes something away from it."""

    lacks: ClassVar[frozenset[str]] = frozenset()
    whole: ClassVar[Any]
    stated: ClassVar[frozenset[str]]
    window: ClassVar[str] = "off"

    def __init__(self) -> None:
        self._whole = type(self).whole()
        self.promises = self.stated - self.lacks
        self.dedupe = "off" if "dedupe" in self.lacks else self.window
        self.redriven = getattr(self._whole, "redriven", "any")
        if "clock" in self.lacks:
            self._whole.clock = lambda _: SystemClock()
        elif hasattr(self._whole, "pass_time"):
            self.pass_time = self._whole.pass_time
            self.now = self._whole.now
        if "names" in self.promises:
            self.open = self._named  # type: ignore[method-assign]  # a harness of names takes one

    def open(self, place: Path) -> Any:
        """A client of the queue at `place`."""
        return self._client(self._opened(place))

    def _named(self, place: Path, name: str = "default") -> Any:
        return self._client(self._opened(place, name=name))

    def _opened(self, place: Path, **name: str) -> Any:
        return self._whole.open(place, **name)

    def _client(self, raw: Any) -> Client:
        return Client(raw, self.promises, self.lacks)


class SQLite(Less):
    """lowq's queue in one SQLite file."""

    whole: ClassVar[Any] = LowqSQLite
    window = "until_done"
    stated = frozenset(PROMISES) - {"worker", "server", "transaction", "capacity", "peek", "coroutines"}

    def _opened(self, place: Path, **name: str) -> Any:
        if "dedupe" in self.lacks:
            self._whole._options = (("dedupe", "off"),)
        return super()._opened(place, **name)


class Memory(SQLite):
    """lowq's queue in memory."""

    whole = LowqMemory
    stated = SQLite.stated - {"persistent", "processes", "crash"}


class Folder(Less):
    """A queue in a folder, which promises little to begin with."""

    whole = SoundFolder
    stated = frozenset(SoundFolder.promises)


class Journal(Less):
    """A queue that keeps a journal."""

    whole = SoundJournal
    window = "until_done"
    stated = frozenset(SoundJournal.promises)

    def _opened(self, place: Path, **name: str) -> Any:
        opened = super()._opened(place, **name)
        if "dedupe" in self.lacks:
            opened.dedupe = "off"
        return opened


class Client:
    """A client without the methods, keywords and answers that are gone."""

    def __init__(self, raw: Any, promises: frozenset[str], lacks: frozenset[str]) -> None:
        self._raw, self._promises, self._lacks = raw, promises, lacks

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._raw, name)
        if name.startswith("_") or not callable(method) or name in self._gone():
            raise AttributeError(name)
        return self._without(name, method)

    def _gone(self) -> set[str]:
        """The methods that there are not."""
        gone = {method for each in PROMISES.values() if each.word not in self._promises for method in each.methods}
        if "dead_letter" in gone or "redrive" in self._lacks:
            gone.add("redrive")
        return gone | {"task", "next_due"}

    def _taken(self, name: str) -> set[str]:
        """The keywords that the method does not take."""
        given = {each.push for each in PROMISES.values() if each.push and each.word not in self._promises}
        unwaited = set[str]() if "wait" in self._promises else {"wait"}
        taken = {"push": given, "claim": unwaited, "ack": {"claim_for"}}.get(name, set[str]())
        if name in ("claim", "claim_many", "extend") and "lease" not in self._promises:
            taken = taken | {"lease_for"}
        if name == "release" and ("release_time" in self._lacks or "not_before" not in self._promises):
            taken = taken | {"not_before"}
        if name == "dead_letter" and "reasons" in self._lacks:
            taken = taken | {"reason"}
        return taken

    def _without(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        taken = self._taken(name)
        signature = inspect.signature(method)
        kept = [each for each in signature.parameters.values() if each.name not in taken]
        signature = signature.replace(parameters=kept)

        @wraps(method)
        def less(*arguments: Any, **named: Any) -> Any:
            signature.bind(*arguments, **named)  # raises TypeError for what is not taken
            if "lease_for" in taken and "lease_for" in inspect.signature(method).parameters:
                named["lease_for"] = AGES
            if name == "dead_letter" and "reason" in taken:
                named["reason"] = "none"
            return self._told(name, method(*[_opened(each) for each in arguments], **named))

        less.__signature__ = signature  # type: ignore[attr-defined]
        return less

    def _told(self, name: str, answer: Any) -> Any:
        """The answer, as far as it is told."""
        if name == "push":
            return self._pushed(answer)
        if name == "push_many" and isinstance(answer, list):
            told = [self._pushed(each) for each in answer]
            return None if None in told else told
        if name in ("claim", "extend") and answer is not None:
            return Told(answer, self._lacks)
        if name == "claim_many":
            return [Told(each, self._lacks) for each in answer]
        if name == "tasks" and "listed_keys" in self._lacks:
            return [replace(task, key=f"derived from {task.work!r}") for task in answer]
        return answer

    def _pushed(self, answer: Any) -> Any:
        if "answers" in self._lacks or not isinstance(answer, Pushed):
            return None
        return answer.added if "ids" in self._lacks else answer


class Told:
    """What was claimed, and what is told of it."""

    def __init__(self, claimed: Any, lacks: frozenset[str]) -> None:
        self.claimed, self.work = claimed, claimed.work
        task = getattr(claimed, "task", claimed)
        untold = {"id"} if lacks & {"ids", "claimed_ids"} else set()
        untold |= {"attempts"} if "attempts" in lacks else set()
        for field in ("id", "attempts", "headers"):
            if field not in untold and hasattr(task, field):
                setattr(self, field, getattr(task, field))


def _opened(argument: Any) -> Any:
    """What the queue itself handed out, where the argument is that, or a list of such."""
    if isinstance(argument, list) and argument and all(isinstance(each, Told) for each in argument):
        return [each.claimed for each in argument]
    return argument.claimed if isinstance(argument, Told) else argument


def lacking(queue: type[Less], words: Iterable[str]) -> str:
    """The target that is this queue without what the words say."""
    return ".".join([f"{__name__}:{queue.__name__}", *words])


def words_of(queue: type[Less]) -> list[str]:
    """What can be taken from the queue, one at a time: its promises, and what else it does."""
    return [*(word for word in PROMISES if word in queue.stated), *WORDS]


QUEUES = (Memory, SQLite, Folder, Journal)
