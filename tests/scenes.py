"""Every verb of a backend with what it needs, and how somebody else sees the queue meanwhile."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from processes import BOUND, python

from lowq import Backend, Item, Lease, State

MINUTE = timedelta(minutes=1)

Scene = dict[str, Any]


@dataclass(frozen=True)
class Verb:
    """A call, and what it needs."""

    prepare: Callable[[Backend, Scene], object]
    call: Callable[[Backend, Scene], object]


def leased(queue: Backend, scene: Scene) -> None:
    queue.push_many([Item("held", priority=1), Item("next"), Item("last")])
    scene["lease"] = queue.claim(lease_for=MINUTE)


def three_leased(queue: Backend, scene: Scene) -> None:
    queue.push_many([Item(n) for n in range(5)])
    scene["leases"] = queue.claim_many(3, lease_for=MINUTE)


def dead(queue: Backend, scene: Scene) -> None:
    leased(queue, scene)
    queue.dead_letter(scene["lease"], reason="wrong")


def waiting(queue: Backend, scene: Scene) -> None:
    scene["clock"].move_to(scene["start"], back=True)
    later = scene["start"] + MINUTE
    scene["id"] = queue.push_many([Item("a"), Item("b", not_before=later), Item("c", priority=2)])[0].id


def run_out(queue: Backend, scene: Scene) -> None:
    """A lease that ran out and a task that fell due since are among them."""
    waiting(queue, scene)
    queue.claim(lease_for=MINUTE)
    scene["clock"].advance(2 * MINUTE)


def nothing(queue: Backend, scene: Scene) -> None:
    pass


VERBS = {
    "push": Verb(nothing, lambda queue, _: queue.push({"n": 1}, key="k", priority=3, headers={"a": "b"})),
    "push_duplicate": Verb(waiting, lambda queue, _: queue.push("a")),
    "push_many": Verb(waiting, lambda queue, _: queue.push_many([Item("x"), Item("a"), Item("y")])),
    "claim": Verb(run_out, lambda queue, _: queue.claim(lease_for=MINUTE)),
    "claim_wait": Verb(nothing, lambda queue, _: queue.claim(lease_for=MINUTE, wait=timedelta(milliseconds=1))),
    "claim_many": Verb(run_out, lambda queue, _: queue.claim_many(2, lease_for=MINUTE)),
    "extend": Verb(leased, lambda queue, scene: queue.extend(scene["lease"], lease_for=3 * MINUTE)),
    "ack": Verb(leased, lambda queue, scene: queue.ack(scene["lease"])),
    "ack_and_claim": Verb(leased, lambda queue, scene: queue.ack(scene["lease"], claim_for=MINUTE)),
    "ack_many": Verb(three_leased, lambda queue, scene: queue.ack_many(scene["leases"], claim=2, lease_for=MINUTE)),
    "release": Verb(leased, lambda queue, scene: queue.release(scene["lease"], reason="later", uncount=True)),
    "dead_letter": Verb(leased, lambda queue, scene: queue.dead_letter(scene["lease"], reason="wrong")),
    "redrive": Verb(dead, lambda queue, scene: queue.redrive(scene["lease"].id)),
    "cancel": Verb(waiting, lambda queue, scene: queue.cancel(scene["id"])),
    "task": Verb(run_out, lambda queue, scene: queue.task(scene["id"])),
    "tasks": Verb(run_out, lambda queue, _: queue.tasks()),
    "count": Verb(run_out, lambda queue, _: queue.count()),
    "next_due": Verb(run_out, lambda queue, _: queue.next_due()),
}


def verbs_of(queue: Backend, lease: Lease) -> list[Callable[[], object]]:
    """A call of each verb, with what is or was in hand."""
    return [
        lambda: queue.push("b"),
        lambda: queue.push_many([Item("b")]),
        lambda: queue.claim(lease_for=MINUTE),
        lambda: queue.claim(lease_for=MINUTE, wait=MINUTE),
        lambda: queue.ack(lease),
        lambda: queue.ack(lease, claim_for=MINUTE),
        lambda: queue.ack_many([lease]),
        lambda: queue.extend(lease, lease_for=MINUTE),
        lambda: queue.release(lease),
        lambda: queue.dead_letter(lease, reason="no"),
        lambda: queue.redrive(lease.id),
        lambda: queue.cancel(lease.id),
        lambda: queue.task(lease.id),
        queue.tasks,
        queue.count,
        queue.next_due,
    ]


class Outside:
    """Somebody else's view of a queue: another process for a file, another thread for a queue in memory."""

    def tasks(self) -> list[Any]:
        """What is in the queue, told alike before and after it was made anew; it may also write there at once."""
        raise NotImplementedError

    def clear(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


STRANGER = """
    import json, sqlite3, sys
    db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
    for line in sys.stdin:
        try:
            db.execute("BEGIN IMMEDIATE")
            rows = db.execute(
                "SELECT work, state, rank, not_before, attempts, key, reason, token IS NULL, due, headers"
                " FROM task ORDER BY id"
            ).fetchall()
            if line == "clear\\n":
                db.execute("DELETE FROM task")
            db.execute("COMMIT")
        except sqlite3.Error as error:
            rows = repr(error)
        print(json.dumps(rows), flush=True)
"""


LISTER = """
    import fcntl, json, os, re, sys
    os.chdir(sys.argv[1])
    lock = open(".lowq/lock", "a")
    def told(name):
        said = json.load(open(name))
        state, *due, rank, number, digest, attempts = re.sub("-[0-9a-f]{16}.json|.json", "", name).split("-")
        if due and due[0] <= "20300101T120200.123456Z":  # the clock's latest; what is due is ready
            state, due = "ready", []
        del said["pushed_at"]
        return number, [state, due, rank, attempts, bool(re.search("-[0-9a-f]{16}.json", name)), *said.values()]
    for line in sys.stdin:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            names = [name for name in os.listdir() if name.endswith(".json")]
            rows = [row for number, row in sorted(map(told, names))]
            if line == "clear\\n":
                for name in names:
                    os.unlink(name)
                with open(".lowq/journal", "r+b") as journal:  # so that all list the directory again
                    journal.write(bytes(100))
            fcntl.flock(lock, fcntl.LOCK_UN)
        except Exception as error:
            rows = repr(error)
        print(json.dumps(rows), flush=True)
"""


class OtherProcess(Outside):
    def __init__(self, program: str, path: Path) -> None:
        self._process: subprocess.Popen[str] = python(program, path)

    def _ask(self, question: str) -> list[Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert isinstance(answer, list), answer
        return answer

    def tasks(self) -> list[Any]:
        return self._ask("look")

    def clear(self) -> None:
        self._ask("clear")

    def close(self) -> None:
        self._process.communicate(timeout=BOUND)


class OtherThread(Outside):
    """Each look is a thread's of its own, which must not be kept waiting."""

    def __init__(self, queue: Backend) -> None:
        self._queue = queue

    def _do(self, what: Callable[[], list[Any]]) -> list[Any]:
        answers: list[list[Any]] = []
        thread = threading.Thread(target=lambda: answers.append(what()), daemon=True)
        thread.start()
        thread.join(BOUND)
        assert not thread.is_alive(), "another thread is locked out"
        return answers[0]

    def tasks(self) -> list[Any]:
        def look() -> list[Any]:
            self._queue.cancel(self._queue.push("from outside").id)
            return [
                [each.work, each.key, each.priority, str(each.not_before), each.attempts, each.state, each.reason]
                for each in self._queue.tasks()
            ]

        return self._do(look)

    def clear(self) -> None:
        def clear() -> list[Any]:
            for state in State:
                for each in self._queue.tasks(state=state):
                    if state is State.LEASED:
                        raise AssertionError("a lease would be needed to clear it")
                    assert self._queue.cancel(each.id)
            return []

        self._do(clear)

    def close(self) -> None:
        self._queue.close()
