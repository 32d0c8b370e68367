"""The machine finds what is wrong with a queue, names the clause, and shows it in a short program."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lowq_conformance.cases.explore import explore
from lowq_conformance.cases.programs import QueueMachine
from lowq_conformance.subject.loading import load

from lowq import Lease, Pushed
from lowq.backends.memory.backend import MemoryBackend


def count_programs(monkeypatch: pytest.MonkeyPatch) -> list[QueueMachine]:
    """A list to which every program that is begun from now on is added."""
    made: list[QueueMachine] = []
    begin = QueueMachine.__init__

    def begin_and_tell(self: QueueMachine) -> None:
        begin(self)
        made.append(self)

    monkeypatch.setattr(QueueMachine, "__init__", begin_and_tell)
    return made


class _Changed(MemoryBackend):
    """The queue in memory with one method changed; made without a URL."""

    def __init__(self, place: str, clock: Any) -> None:
        super().__init__(place, dedupe=self.wanted, clock=clock)

    wanted: Any = "until_done"


class Unordered(_Changed):
    def claim(self, *, lease_for: timedelta, **_: Any) -> Lease | None:
        first = super().claim(lease_for=lease_for)
        second = None if first is None else super().claim(lease_for=lease_for)
        if first is not None and second is not None:
            self.release(first, uncount=True)
        return second or first


class Forgetful(_Changed):
    def push(self, work: Any, **arguments: Any) -> Pushed:
        if work == "b":
            return Pushed("0", True)
        return super().push(work, **arguments)


class Unfenced(_Changed):
    def ack(self, lease: Lease, **_: Any) -> Lease | None:
        kept = self._find(lease.id)
        if kept is not None:
            self._open().alone(lambda: self._queue.remove(kept))
        return None


class Bumping(_Changed):
    """A refused duplicate brings its own priority along."""

    def push(self, work: Any, *, priority: int = 0, **arguments: Any) -> Pushed:
        pushed = super().push(work, priority=priority, **arguments)
        kept = self._find(pushed.id)
        if not pushed.added and kept is not None and kept.state == "ready":
            kept.entry = kept.entry._replace(priority=priority, not_before=None)
            self._queue.wait(kept, None, 0)
        return pushed


class Halved(_Changed):
    """A batch that fails leaves its first item behind."""

    def push_many(self, items: Any) -> list[Pushed]:
        items = list(items)
        try:
            return super().push_many(items)
        except ValueError:
            if items and items[0].work == items[0].work:
                super().push_many(items[:1])
            raise


class Early(_Changed):
    """A task of the future is handed out when nothing else is there."""

    def claim(self, *, lease_for: timedelta, **_: Any) -> Lease | None:
        lease = super().claim(lease_for=lease_for)
        if lease is None and (due := self._queue.next_due()) is not None:
            return self._open().alone(lambda: self._claim(due, due + 30_000_000))
        return lease


class Cancelling(_Changed):
    """A leased task is cancelled under its worker."""

    def cancel(self, id: str) -> bool:
        kept = self._find(id)
        if kept is None:
            return False
        self._open().alone(lambda: self._queue.remove(kept))
        return True


BROKEN = [
    (Unordered, {"ORDER-1", "ORDER-2", "ORDER-3", "ORDER-4", "ORDER-5", "ORDER-6", "ORDER-10"}),
    (Forgetful, {"DELIVER-1", "DELIVER-10", "CANCEL-3", "DEDUPE-1", "DEDUPE-4"}),
    (Unfenced, {"LEASE-4", "LEASE-9"}),
    (Bumping, {"DEDUPE-8"}),
    (Halved, {"BATCH-1"}),
    (Early, {"DUE-1", "LEASE-1", "RELEASE-2"}),
    (Cancelling, {"CANCEL-2"}),
]


@pytest.mark.parametrize(("backend", "clauses"), BROKEN, ids=lambda each: getattr(each, "__name__", ""))
def test_a_broken_queue_is_accused_of_a_clause_that_it_breaks(
    backend: type[_Changed], clauses: set[str], tmp_path: Path
) -> None:
    subject = load(f"{__file__}:{backend.__name__}")

    found = explore(subject, tmp_path, 7, seconds=100, shrinking=60, examples=800)

    assert found is not None
    assert found.clause in clauses, found.program


@pytest.mark.parametrize("target", ["memory", "memory://x?dedupe=until_claimed", "memory://x?dedupe=off", "sqlite"])
def test_a_sound_queue_is_not_accused(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = load(target)
    made = count_programs(monkeypatch)

    found = explore(subject, tmp_path, 1, seconds=100, examples=15)

    assert found is None, found
    assert len(made) >= 15


def test_a_task_that_is_not_dead_may_keep_an_old_reason(tmp_path: Path) -> None:
    subject = load("lowq_conformance.queues.sound.journal:Journal")

    found = explore(subject, tmp_path, 9, seconds=100)  # sets aside, redrives, claims, gives back, and lists

    assert found is None, found


def test_the_same_seed_makes_the_same_program(tmp_path: Path) -> None:
    subject = load(f"{__file__}:Forgetful")

    programs = [explore(subject, tmp_path, 3, seconds=100, shrinking=100, examples=60) for _ in range(2)]

    assert programs[0] is not None
    assert programs[0] == programs[1]


def test_the_program_is_what_a_person_would_type(tmp_path: Path) -> None:
    subject = load(f"{__file__}:Early")

    found = explore(subject, tmp_path, 1, seconds=30)

    assert found is not None
    assert found.program.splitlines()[0] == "q = open(place)"
    assert "expected None" in found.program.splitlines()[-1]
