"""A finalizer that uses, closes, forks or raises in the middle of a call: also where SQLite itself is at work.

Before Python 3.12 the garbage collector runs inside of calls into C: a connection that were closed there would end
the process. So each test is a process of its own.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from processes import answer, python

HERE = Path(__file__).parents[2]
STEP = 1 if "LOWQ_EXHAUSTIVE" in os.environ else 23

PROGRAM = """
    import gc, os, sys, warnings
    from contextlib import closing, suppress
    from datetime import timedelta
    where, act, step, first, tests = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    sys.path.insert(0, tests)
    from scenes import VERBS
    from lowq import BackendUnavailable, FakeClock, LeaseLost, QueueClosed, open_backend

    clock = FakeClock()
    scene = {"clock": clock, "start": clock.now()}
    sys.unraisablehook = lambda _: None
    ran, refused = 0, 0

    def opened():
        return open_backend(where, clock=clock, durability="none", patience=timedelta(seconds=20))

    def fork():
        if os.fork() == 0:
            return  # the child goes on with the call, too
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 7

    def another():
        with closing(opened()) as other:
            other.push("finalizer's")

    def fail():
        raise KeyError(act)

    acts = {
        "close": lambda: queue.close(),
        "push": lambda: queue.push("finalizer's"),
        "count": lambda: queue.count(),
        "fork": fork,
        "another": another,
        "raise": fail,
    }

    class Late:
        def __del__(self):
            global ran, refused
            if not armed:
                return
            ran += 1
            try:
                acts[act]()
            except BackendUnavailable:
                refused += 1

    def plant():
        late = Late()
        late.itself = late

    parent, total, armed, queue = os.getpid(), 0, False, opened()
    for name, verb in VERBS.items():
        index = first
        while True:
            with closing(opened()) as other:
                for task in other.tasks():
                    assert other.cancel(task.id)  # what was leased has run out
            gc.collect()
            clock.move_to(scene["start"], back=True)
            verb.prepare(queue, scene)
            plant()
            before, refusals, armed = ran, refused, True
            gc.set_threshold(index + 1)
            try:
                verb.call(queue, scene)
            except QueueClosed:
                assert act == "close", name
            except BackendUnavailable:
                assert os.getpid() != parent, name
            except LeaseLost:
                assert act == "fork", name  # the child was first
            gc.set_threshold(10**6)
            armed = False
            if os.getpid() != parent:
                if "://" not in where:  # the parent may hold the lock of its directory until this one is gone
                    queue.count()
                os._exit(7)
            reached = ran > before
            gc.collect()
            if act == "close" and reached:
                with suppress(QueueClosed):
                    queue.push("x")
                    raise AssertionError("it was closed")
                queue = opened()
            with closing(opened()) as other:
                ours = [task.work for task in other.tasks()].count("finalizer's")
                assert ours == int(reached and act in ("push", "another") and refused == refusals), (name, index)
                assert other.push("afterwards").added
            assert queue.push("and this").added
            clock.advance(timedelta(hours=1))
            total += reached
            if not reached:
                break
            index += step
    assert total >= len(VERBS), total  # those of the fewest objects are not reached from every start
    print("whole")
"""


@pytest.mark.parametrize(
    ("scheme", "act"),
    [
        *[("sqlite", act) for act in ("close", "push", "count", "fork", "another", "raise")],
        *[("files", act) for act in ("close", "push", "count", "another", "raise")],
    ],
)
def test_a_finalizer_in_the_middle_of_any_call_tears_nothing(tmp_path: Path, scheme: str, act: str) -> None:
    where = tmp_path / "q.db" if scheme == "sqlite" else f"files://{tmp_path}/q"

    assert answer(python(PROGRAM, where, act, STEP, random.randrange(STEP), HERE)) == "whole"


ADAPTED = """
    import os, sqlite3, sys
    from contextlib import suppress
    from lowq import BackendUnavailable, QueueClosed, open_backend

    queue = open_backend(sys.argv[1], durability="none")
    acts = {
        "close": queue.close,
        "push": lambda: queue.push(["adapter's"], key="k"),
        "count": queue.count,
        "fork": lambda: os.fork() or os._exit(0),
    }
    inside = []

    def adapt(value):
        if not inside:
            inside.append(1)
            with suppress(BackendUnavailable):
                acts[sys.argv[2]]()
        return memoryview(value)

    sqlite3.register_adapter(bytes, adapt)
    pushed = queue.push("works")
    assert pushed.added and inside
    with suppress(QueueClosed):
        queue.push("again")
        assert sys.argv[2] != "close"
    again = open_backend(sys.argv[1], durability="none")
    works = [task.work for task in again.tasks()]
    assert works.count("works") == 1 and works.count(["adapter's"]) == (sys.argv[2] == "push"), works
    print("whole")
"""


@pytest.mark.parametrize("act", ["close", "push", "count", "fork"])
def test_code_that_sqlite_calls_while_it_is_at_work_tears_nothing(tmp_path: Path, act: str) -> None:
    assert answer(python(ADAPTED, tmp_path / "q.db", act)) == "whole"
