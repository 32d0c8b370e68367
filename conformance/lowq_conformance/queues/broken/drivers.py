"""Queues that race in a thread of a driver's, where nobody can be made to stand still; only storms meet them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from lowq import Lease, LeaseLost
from lowq_conformance.queues.broken.register import breaks
from lowq_conformance.queues.sound.journal import Queue


class InAThread(Queue):
    """Some calls are carried out by a thread of the client's, as a driver does it, a round trip for each step."""

    trip = 0.001

    def apart(self, call: Callable[[], Any]) -> Any:
        """What the call answers or raises, in a thread of its own."""
        answers: list[Any] = []

        def run() -> None:
            try:
                answers.append((call(), None))
            except Exception as error:
                answers.append((None, error))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        answer, error = answers[0]
        if error is not None:
            raise error
        return answer


@breaks("RACE-3")
class CancelAsksAndDeletes(InAThread):
    """A cancel asks for the state of the task over its driver, and deletes the task with its next request."""

    def cancel(self, id: str) -> bool:
        def run() -> bool:
            with self.alone():
                row = self.find(id)
                if row is None or row.state == "leased":
                    return False
            time.sleep(self.trip)
            with self.alone():
                row = self.find(id)
                if row is None:
                    return False
                self.remove(row)
                return True

        return bool(self.apart(run))


@breaks("RACE-3")
class ExtendAsksAndWrites(InAThread):
    """An extend asks over its driver whether the lease is current, and writes its new end with its next request."""

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        def run() -> Lease:
            with self.alone():
                self.held(lease)
            time.sleep(self.trip)
            with self.alone() as now:
                row = self.find(lease.id)
                if row is None or row.token is None:
                    raise LeaseLost(f"task {lease.id} is gone")
                row.state, row.due = "leased", self.until(now, lease_for)
                self.write(row)
                return self.lease(row)

        answer: Lease = self.apart(run)
        return answer
