"""A queue whose pushes can be part of an application's transaction: what is pushed there is written at the commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lowq import Item
from lowq_conformance.queues.sound.journal import Journal, Queue


class Transaction:
    """A client in a transaction. It does not say whether a work was added, which the commit decides."""

    def __init__(self, queue: Queue, place: Path) -> None:
        self.queue, self.place = queue, place
        self.items: list[Item] = []

    def push(self, work: Any, **given: Any) -> None:
        item = Item(work, **given)
        self.queue.row(item)  # which checks it
        self.items.append(item)

    def commit(self) -> None:
        self.queue.push_many(self.items)

    def roll_back(self) -> None:
        self.items.clear()


class Transactional(Journal):
    """A queue that keeps a journal, in which what was pushed in a transaction is written at its commit."""

    promises = Journal.promises | {"transaction"}
    _transaction = Transaction

    @contextmanager
    def transaction(self, place: Path) -> Iterator[Transaction]:
        """A client in a transaction of the application's, which is committed where the block ends well."""
        queue = self.open(place)
        made = self._transaction(queue, place)
        try:
            yield made
        except BaseException:
            made.roll_back()
            raise
        else:
            made.commit()
        finally:
            queue.close()
