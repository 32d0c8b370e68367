"""A new client of a large directory: it lists nothing, and knows the same as one that does."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from directory import claimed, file_of, opened

from lowq import Backend, Counts, FakeClock, Item, LeaseLost
from lowq.backends.files import journal, ledger, recall
from lowq.backends.files.ledger import Ledger

MINUTE = timedelta(minutes=1)

QUESTIONS: tuple[Callable[[Backend], object], ...] = (
    lambda queue: queue.count(),
    lambda queue: queue.next_due(),
    lambda queue: queue.tasks(),
    lambda queue: queue.tasks(limit=3),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each time that a client lists the directory; names are noted from three tasks on."""
    monkeypatch.setattr(ledger, "LEAST", 3)
    listed: list[str] = []
    names = Ledger._names

    def told(self: Ledger) -> Any:
        listed.append(self.folder.path)
        return names(self)

    monkeypatch.setattr(Ledger, "_names", told)
    return listed


def pushed(path: Path, amount: int) -> None:
    """So many tasks, their names noted."""
    with closing(opened(path)) as queue:
        queue.push_many(Item(number) for number in range(amount))
    with closing(opened(path)) as queue:
        assert queue.count() == Counts(ready=amount)


def test_a_new_client_claims_and_acks_without_a_listing(path: Path, listings: list[str]) -> None:
    pushed(path, 10)
    listings.clear()

    works = []
    for _ in range(10):
        with closing(opened(path)) as queue:
            lease = claimed(queue)
        with closing(opened(path)) as queue:
            queue.ack(lease)
        works.append(lease.work)
    with closing(opened(path)) as queue:
        left = queue.count()

    assert works == list(range(10))
    assert (left, listings) == (Counts(), [])


def test_a_new_client_refuses_an_equal_work_without_a_listing(path: Path, listings: list[str]) -> None:
    pushed(path, 10)
    listings.clear()

    with closing(opened(path)) as queue:
        answers = [queue.push(7).added, queue.push(11).added, queue.push(11).added]

    assert (answers, listings) == ([False, True, False], [])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("few", [0, 3, 100])
def test_it_knows_what_a_listing_says(
    path: Path, listings: list[str], monkeypatch: pytest.MonkeyPatch, seed: int, few: int
) -> None:
    monkeypatch.setattr(ledger, "_FEW", few)
    monkeypatch.setattr(recall, "_MOST_SEARCHES", 2 * few)
    chance, clock = random.Random(seed), FakeClock()
    leases: list[Any] = []
    with closing(opened(path, clock=clock)) as queue:
        queue.push_many(
            Item(n, priority=chance.randrange(3), not_before=chance.choice([None, clock.now() + n * MINUTE]))
            for n in range(12)
        )
    opened(path, clock=clock).count()
    recalls = 0
    for step in range(25):
        listings.clear()
        with closing(opened(path, clock=clock)) as queue:
            _change(queue, chance, leases, step)
            clock.advance(chance.choice([0, 0, 1, 5]) * MINUTE)
        with closing(opened(path, clock=clock)) as queue:
            ask = list(QUESTIONS)
            chance.shuffle(ask)
            seen = {index: str(each(queue)) for index, each in enumerate(ask)}
        recalls += not listings
        names = (path / ".lowq" / "names").read_bytes()
        (path / ".lowq" / "names").unlink()
        with closing(opened(path, clock=clock)) as queue:
            listed = {index: str(each(queue)) for index, each in enumerate(ask)}
        if chance.random() < 0.5 or not (path / ".lowq" / "names").exists():
            (path / ".lowq" / "names").write_bytes(names)

        assert seen == listed
    assert recalls > 15


def _change(queue: Any, chance: random.Random, leases: list[Any], step: int) -> None:
    for _ in range(chance.randrange(1, 5)):
        verb = chance.choice(["push", "claim", "claim", "ack", "release", "bury", "redrive", "cancel", "batch"])
        ids = [task.id for task in queue.tasks()] if verb in ("redrive", "cancel") else []
        if verb == "push":
            queue.push(chance.randrange(20), priority=chance.randrange(3))
        elif verb == "batch":
            queue.push_many(Item(f"{step} {n}") for n in range(3))
        elif verb == "claim":
            leases += filter(None, [queue.claim(lease_for=chance.choice([1, 10]) * MINUTE)])
        elif verb in ("redrive", "cancel"):
            getattr(queue, verb)(chance.choice([*ids, "99"]))
        elif leases:
            lease = leases.pop(chance.randrange(len(leases)))
            try:
                if verb == "ack":
                    queue.ack(lease)
                elif verb == "release":
                    queue.release(lease, reason="again")
                else:
                    queue.dead_letter(lease, reason="why")
            except LeaseLost:
                pass


def test_what_a_person_did_meanwhile_is_seen(path: Path, listings: list[str]) -> None:
    pushed(path, 10)
    copy = file_of(path, 3).read_text()
    file_of(path, 3).unlink()
    listings.clear()
    with closing(opened(path)) as queue:
        without = queue.count()
    (path / "ready-0000000000-0000000000000999-000000000000-0.json").write_text(copy)
    with closing(opened(path)) as queue:
        first = claimed(queue)

    assert (without, first.id, len(listings)) == (Counts(ready=9), "999", 2)


@pytest.mark.parametrize(
    "damage", ["empty", "cut", "changed", "binary", "head", "gone", "folder", "other", "numbers"]
)
def test_notes_that_are_damaged_count_for_nothing(path: Path, listings: list[str], damage: str) -> None:
    pushed(path, 10)
    notes = path / ".lowq" / "names"
    data = notes.read_bytes()
    head, _, body = data.partition(b"\n")
    notes.unlink()
    if damage == "folder":
        notes.mkdir()
    elif damage != "gone":
        notes.write_bytes(
            {
                "empty": b"",
                "cut": data[:-30],
                "changed": data[:-40] + b"1" + data[-39:],
                "binary": bytes(range(256)),
                "head": data[5:],
                "other": b"lowq-names-2" + data[12:],
                "numbers": b" ".join([*head.split(b" ")[:3], b"x", *head.split(b" ")[4:]]) + b"\n" + body,
            }[damage]
        )
    listings.clear()

    with closing(opened(path)) as queue:
        counts = queue.count()
        works = [claimed(queue).work for _ in range(10)]

    assert (counts, works, len(listings)) == (Counts(ready=10), list(range(10)), 1)


def test_whoever_was_away_for_longer_than_the_journal_remembers_lists(
    path: Path, listings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "ROOM", 1 << 14)
    pushed(path, 5)
    notes = (path / ".lowq" / "names").read_bytes()
    with closing(opened(path)) as queue:
        for _ in range(60):
            queue.release(claimed(queue), uncount=True)
    (path / ".lowq" / "names").write_bytes(notes)
    listings.clear()

    with closing(opened(path)) as queue:
        works = [claimed(queue).work for _ in range(5)]

    assert (works, len(listings)) == (list(range(5)), 1)


def test_a_process_of_its_own_for_each_claim_lists_nothing(path: Path, listings: list[str]) -> None:
    pushed(path, 10)
    program = (
        "import sys, lowq\nfrom datetime import timedelta\nfrom lowq.backends.files.ledger import Ledger\n"
        "Ledger._names = None\nq = lowq.open_backend(sys.argv[1])\n"
        "print(q.claim(lease_for=timedelta(hours=1)).work)"
    )
    works = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", program, f"files://{path}?durability=none"],
                check=True, capture_output=True, text=True, timeout=60,
            ).stdout
        )
        for _ in range(3)
    ]  # fmt: skip

    assert works == [0, 1, 2]
