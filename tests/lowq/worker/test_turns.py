"""Several queues in one process: a worker of them ends when it is to, however many have had a task."""

from __future__ import annotations

import threading
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from processes import BOUND, wait_for

from lowq import SystemClock, Worker, open_backend
from lowq.worker.stopping import Stop
from lowq.worker.turns import Turns

LONG = timedelta(hours=1)


@pytest.mark.parametrize("how", ["drained", "stopped"])
def test_the_worker_of_several_queues_ends_at_once(tmp_path: Path, how: str) -> None:
    """Each queue has a thread beside it, which looks at its lease in twenty minutes if nobody wakes it."""
    clock, seen = SystemClock(), list[object]()
    stop = Stop(clock, timedelta(0))
    with closing(open_backend(tmp_path / "q.db", name="one")) as one, closing(open_backend(tmp_path / "q.db")) as two:
        loops = [Worker(queue, seen.append, lease_for=LONG, clock=clock).loop(stop) for queue in (one, two)]
        for work, queue in enumerate((one, two)):
            queue.push(work)
        turns = Turns(loops, stop, LONG)
        thread = threading.Thread(
            target=turns.serve, args=((lambda: False) if how == "drained" else None,), daemon=True
        )

        thread.start()
        with suppress(AssertionError):
            wait_for(lambda: len(seen) == 2)
            if how == "stopped":
                stop.request()
            thread.join(BOUND)

        assert (sorted(map(str, seen)), thread.is_alive()) == (["0", "1"], False)
