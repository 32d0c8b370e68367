"""A queue that is moved: every task stands in one of the two queues, wherever the mover is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from backends import BACKENDS, served
from processes import answer, python

from lowq import Counts, State, Task, open_backend
from lowq.backend import Adopting, Headers
from lowq.moving import Moved, Mover, is_mark, is_note, survey

MINUTE = timedelta(minutes=1)
THEN = datetime(2020, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
LATER = datetime(2033, 1, 1, tzinfo=UTC)
EXHAUSTIVE = bool(os.environ.get("LOWQ_EXHAUSTIVE"))

Places = Callable[[str, str], str]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Places]:
    """Where a queue of that backend is kept; each `part` has a place of its own."""
    servers = []

    def where(backend: str, part: str) -> str:
        if backend in ("valkey", "postgres"):
            url = str(request.getfixturevalue(f"lowq_{backend}"))
            own = f"prefix={part}" if backend == "valkey" else f"schema={part}"
            return f"{url}{'&' if '?' in url else '?'}{own}"
        folder = tmp_path / part
        folder.mkdir(exist_ok=True)
        if backend in ("sqlite", "files"):
            return f"{backend}://{folder / 'q'}?durability=process"  # which a kill takes nothing from
        if backend == "memory":
            return f"memory://{folder}"
        servers.append(served(folder / "q.db"))
        return servers[-1].__enter__()

    yield where
    for server in servers:
        server.__exit__(None, None, None)


def task(work: Any, **more: Any) -> Task:
    return replace(Task("", work, None, 0, None, 0, State.READY, None, THEN), **more)


TASKS = [
    task("a", attempts=3, reason="ValueError: ü"),
    task("over", state=State.DEAD, attempts=5, reason="gave up", headers=Headers({"trace": "1"})),
    task("waits", state=State.SCHEDULED, not_before=LATER, priority=4),
    task("b\0", key="k", headers=Headers({"x": "y"})),
    task("urgent", priority=7),
    task({"c": [1, None]}, attempts=1, reason="again", state=State.SCHEDULED, not_before=LATER),
    task("last", not_before=THEN),
]
"""In push order, which is another than that of claims or of a listing."""


def opened(where: str, **options: Any) -> Adopting:
    return cast(Adopting, open_backend(where, **options))


def content(queue: Adopting) -> list[Task]:
    """The tasks in push order, as they would be under another id; what is kept of a move is none."""
    found = survey(queue)
    return [replace(each, id="") for each in (queue.task(id) for id in found.ids) if each is not None]


def move(source: Adopting, target: Adopting) -> Moved:
    mover = Mover(source, target, source_at="here", target_at="there")
    found = survey(source)
    for _ in mover.run(found):
        pass
    return mover.told


@pytest.mark.parametrize("source", BACKENDS)
def test_all_that_lies_behind_a_task_goes_over_with_it(source: str, place: Places) -> None:
    with closing(opened(place(source, "one"))) as old, closing(opened(place("sqlite", "two"))) as new:
        new.push("stood there")
        old.adopt(TASKS)

        told = move(old, new)

        assert told == Moved(moved=len(TASKS))
        assert (old.tasks(), old.count()) == ([], Counts())
        standing, *came = content(new)
        assert (standing.work, came) == ("stood there", TASKS)
        assert [each.work for each in new.claim_many(9, lease_for=MINUTE)] == [
            "urgent",
            "stood there",
            "a",
            "b\0",
            "last",
        ]


KILLED_AT = """
import json, os, signal, sys
import rich.console
import lowq
from lowq import moving
from lowq.cli import main

source, target, backends = sys.argv[1], sys.argv[2], os.path.join(os.path.dirname(lowq.__file__), "backends")
moving.TOGETHER = 3
VERBS = ("adopt", "cancel")
for where in (source, target):  # what is imported now is not in each child
    lowq.open_backend(where, name="warm").close()

def move_until(moment, name):
    left, depth = moment, 0
    def reach():
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    def leave(frame, event, argument):
        nonlocal depth
        if event == "return":
            depth -= 1
            if depth == 0:
                reach()
        return leave
    def enter(frame, event, argument):
        nonlocal depth
        code = frame.f_code
        if code.co_name not in VERBS or not code.co_filename.startswith(backends):
            return None
        if depth == 0:
            reach()
        depth += 1
        frame.f_trace_lines = False
        return leave
    sys.settrace(enter)
    os._exit(main(["move", source, target, "--name", name]))

for line in sys.stdin:
    name, moment = line.split()
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)
        move_until(int(moment), name)
    print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])), flush=True)
"""


@pytest.mark.parametrize(
    ("source", "target", "first", "step"),
    [
        ("sqlite", "files", 0, 3),
        ("files", "valkey", 5, 11),
        ("valkey", "postgres", 8, 13),
        ("postgres", "http", 12, 13),
        ("http", "sqlite", 3, 11),
    ],
)
def test_a_mover_that_is_killed_anywhere_leaves_each_task_once_when_it_ran_again(
    source: str, target: str, first: int, step: int, place: Places
) -> None:
    """Killed before and after changes that it makes in either queue, at all of them where LOWQ_EXHAUSTIVE is set; at
    every other one, what came over is run before the mover runs again."""
    old_at, new_at = place(source, "one"), place(target, "two")
    mover = python(KILLED_AT, old_at, new_at)
    assert mover.stdin is not None
    assert mover.stdout is not None
    moment = 0 if EXHAUSTIVE else first
    ends: list[int] = []
    while not ends or ends[-1] != 0:
        name = f"killed-{moment}"
        with closing(opened(old_at, name=name)) as old:
            old.adopt(TASKS)
        mover.stdin.write(f"{name} {moment}\n")
        mover.stdin.flush()
        ends.append(json.loads(mover.stdout.readline()))

        with closing(opened(old_at, name=name)) as old, closing(opened(new_at, name=name)) as new:
            left, came = content(old), content(new)
            assert [each for each in TASKS if each not in [*left, *came]] == [], f"lost at {moment}"
            run = [each for each in came if moment % 2 and each.state is State.READY]
            for lease in new.claim_many(9, lease_for=MINUTE) if moment % 2 else []:
                new.ack(lease)
        mover.stdin.write(f"{name} 1000000\n")
        mover.stdin.flush()
        assert json.loads(mover.stdout.readline()) == 0
        with closing(opened(old_at, name=name)) as old, closing(opened(new_at, name=name)) as new:
            assert old.tasks() == []
            assert content(new) == [each for each in TASKS if each not in run], f"killed at {moment}"
            assert not [each for each in new.tasks() if is_mark(each) or is_note(each)]
        moment += 1 if EXHAUSTIVE else step
    answer(mover)

    assert set(ends[:-1]) == {-9}
    assert moment > 34  # two for each change: note, probe, three batches with their marks, and seven tasks


class Grabbed(Mover):
    """In the instant in which tasks go over, workers take some at either end."""

    here: tuple[Any, ...] = ()
    there: tuple[Any, ...] = ()
    done = False

    def _move(self, batch: list[Task]) -> None:
        adopt = self.target.adopt

        def adopt_and_work(tasks: Any) -> Any:
            answers = adopt(tasks)
            for queue, works in ((self.source, self.here), (self.target, self.there)):
                for lease in queue.claim_many(9, lease_for=MINUTE):
                    if lease.work not in works:
                        queue.release(lease, uncount=True)
                    elif self.done and queue is self.source:
                        queue.ack(lease)
            return answers

        self.target.adopt = adopt_and_work  # type: ignore[method-assign]
        super()._move(batch)
        self.target.adopt = adopt  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("there", "done", "left", "came", "doubtful"),
    [
        ((), False, [2], [1, 3], []),  # its copy is taken back
        ((2,), False, [2], [1, 3, 2], ["2"]),  # both have it
        ((), True, [], [1, 2, 3], ["2"]),  # it was done here, and stands there
    ],
)
def test_a_task_that_a_worker_takes_as_it_goes_over_is_never_lost(
    tmp_path: Path, there: tuple[Any, ...], done: bool, left: list[Any], came: list[Any], doubtful: list[str]
) -> None:
    with closing(opened(str(tmp_path / "a.db"))) as old, closing(opened(str(tmp_path / "b.db"))) as new:
        for work in (1, 2, 3):
            old.push(work)
        mover = Grabbed(old, new, source_at="here", target_at="there")
        mover.here, mover.there, mover.done = (2,), there, done

        for _ in mover.run(survey(old)):
            pass

        assert [task.work for task in old.tasks()] == left
        assert [task.work for task in new.tasks()] == came
        assert mover.told.doubtful == doubtful
        assert mover.told.leased == len(left)
