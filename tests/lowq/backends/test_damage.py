"""A task that cannot be read holds up no other: it is set aside with the reason, listed, shown, counted."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lowq import Backend, Counts, Damaged, FakeClock, InvalidWork, Item, Lease, State, Worker, open_backend
from lowq.cli import main

MINUTE = timedelta(minutes=1)
LATER = datetime(2031, 1, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "q.db"


@pytest.fixture
def queue(path: Path) -> Iterator[Backend]:
    with closing(open_backend(path, clock=FakeClock())) as opened:
        yield opened


@contextmanager
def digits(limit: int) -> Iterator[None]:
    """Meanwhile this interpreter reads and writes integers of so many digits."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(limit)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)


def change(path: Path, assignment: str, *values: object, id: int = 2) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"UPDATE task SET {assignment} WHERE id = ?", (*values, id))


def works(leases: Any) -> list[Any]:
    return [lease.work for lease in leases]


# what may be wrong with a row

DAMAGE: dict[str, tuple[str, tuple[Any, ...], str]] = {
    "a work cut short": ("work = substr(work, 1, 5)", (), "work: Unterminated string starting at"),
    "no work": ("work = ''", (), "work: Expecting value"),
    "a work of other bytes": ("work = CAST(x'22ff22' AS TEXT)", (), "work: expected text, found bytes"),
    "a work that is a blob": ("work = x'2231'", (), "work: expected text, found bytes"),
    "a work that was changed": ("work = '\"other\"'", (), "work, key or headers: not what was pushed"),
    "a work that nobody checks": ("work = '[NaN]', crc = NULL", (), "work: NaN is not JSON"),
    "a lone surrogate": ("work = ?, crc = NULL", ('"\\ud800"',), r"work: the lone surrogate '\ud800' is not JSON"),
    "a deep work": ("work = ?, crc = NULL", ("[" * 300 + "]" * 300,), "work[0][0]"),
    "a very deep work": ("work = ?, crc = NULL", ("[" * 10**6,), "work: nested too deeply"),
    "an int of 5,000 digits": ("work = ?, crc = NULL", ("9" * 5000,), "work: Exceeds the limit (4300 digits)"),
    "another key": ("key = 'k'", (), "work, key or headers: not what was pushed"),
    "a key that is a blob": ("key = x'00'", (), "key: expected text, found bytes"),
    "headers cut short": ("headers = '{\"a\":', crc = NULL", (), "headers: Expecting value"),
    "headers that are a list": ("headers = '[]', crc = NULL", (), "headers: not an object of strings"),
    "headers of numbers": ("headers = '{\"a\": 1}', crc = NULL", (), "headers: not an object of strings"),
    "headers of other bytes": ("headers = CAST(x'ff' AS TEXT)", (), "headers: expected text, found bytes"),
    "deep headers": ("headers = ?, crc = NULL", ("[" * 10**6,), "headers: maximum recursion depth"),
    "another checksum": ("crc = crc + 1", (), "work, key or headers: not what was pushed"),
    "a checksum that is none": ("crc = 'x'", (), "work, key or headers: not what was pushed"),
    "no rank": ("rank = 'high'", (), "rank: str is no priority"),
    "a rank of a blob": ("rank = x'00'", (), "rank: bytes is no priority"),
    "a great rank": ("rank = 4611686018427387904", (), "rank: 4611686018427387904 is no priority"),
    "half a rank": ("rank = -0.5", (), "rank: -0.5 is no priority"),
    "attempts of text": ("attempts = x'61'", (), ""),  # SQLite counts on from 0
    "attempts below zero": ("attempts = -7", (), "attempts: -6 is no number of claims"),
    "attempts without end": ("attempts = 9223372036854775807", (), "attempts: 9.223372036854776e+18 is no number"),
    "a not-before of text": ("not_before = 'soon'", (), "not_before: str is no time"),
    "a not-before after the calendar": (
        "not_before = 300000000000000000",
        (),
        "not_before: 300000000000000000 is no",
    ),
    "a push before 1970": ("pushed_at = -1", (), "pushed_at: -1 is no time"),
    "a push at a blob": ("pushed_at = x'01'", (), "pushed_at: bytes is no time"),
    "a reason of other bytes": ("reason = CAST(x'ff' AS TEXT)", (), "reason: expected text, found bytes"),
}

CLAIMS: dict[str, Callable[[Backend], list[Any]]] = {}


def claims(each: Callable[[Backend], list[Any]]) -> Callable[[Backend], list[Any]]:
    CLAIMS[each.__name__] = each
    return each


@claims
def one_by_one(queue: Backend) -> list[Any]:
    return works(iter(lambda: queue.claim(lease_for=MINUTE), None))


@claims
def all_at_once(queue: Backend) -> list[Any]:
    return works(queue.claim_many(9, lease_for=MINUTE))


@claims
def two_at_once(queue: Backend) -> list[Any]:
    return [*works(queue.claim_many(2, lease_for=MINUTE)), *works(queue.claim_many(2, lease_for=MINUTE))]


@claims
def with_the_ack_of_the_one_before(queue: Backend) -> list[Any]:
    done: list[Lease] = []
    lease = queue.claim(lease_for=MINUTE)
    while lease is not None:
        done.append(lease)
        lease = queue.ack(lease, claim_for=MINUTE)
    return works(done)


@claims
def with_the_ack_of_many(queue: Backend) -> list[Any]:
    first = queue.claim_many(1, lease_for=MINUTE)
    return works([*first, *queue.ack_many(first, claim=9, lease_for=MINUTE).claimed])


@claims
def by_a_worker(queue: Backend) -> list[Any]:
    done: list[Any] = []
    Worker(queue, done.append).drain()
    return done


@pytest.mark.parametrize("how", CLAIMS)
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_task_is_set_aside_and_the_others_are_handed_out(
    queue: Backend, path: Path, kind: str, how: str
) -> None:
    queue.push_many([Item("first"), Item("second"), Item("third")])
    assignment, values, told = DAMAGE[kind]
    change(path, assignment, *values)

    handed_out = CLAIMS[how](queue)

    if not told:
        assert handed_out == ["first", "second", "third"]
        return
    assert handed_out == ["first", "third"]
    assert queue.count().dead == 1
    (dead,) = queue.tasks(state=State.DEAD)
    assert dead == queue.task("2")
    assert (dead.id, dead.state) == ("2", State.DEAD)
    assert dead.reason is not None
    assert dead.reason.startswith(f"damaged: {told}")
    assert dead.reason.endswith("; no worker got it")


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("state", [State.READY, State.SCHEDULED, State.LEASED, State.DEAD])
def test_every_reader_and_every_verb_of_a_person_copes_with_it(
    queue: Backend, path: Path, state: State, kind: str
) -> None:
    due = LATER if state is State.SCHEDULED else None
    queue.push_many([Item(work, not_before=due) for work in ("first", "second", "third")])
    if state in (State.LEASED, State.DEAD):
        for lease in queue.claim_many(3, lease_for=MINUTE):
            if state is State.DEAD:
                queue.dead_letter(lease, reason="no")
    assignment, values, _ = DAMAGE[kind]
    change(path, assignment, *values)

    listed = queue.tasks(state=state)
    paged = queue.tasks(limit=1)
    while page := queue.tasks(after=paged[-1], limit=1):
        paged += page
        assert len(paged) <= 3

    assert {task.id for task in listed} == {"1", "2", "3"}
    assert [task for task in listed if task.id == "2"] == [queue.task("2")]
    assert {task.id for task in paged} <= {"1", "2", "3"}
    assert sum(vars_of(queue.count())) == 3
    queue.next_due()
    assert queue.redrive("2") is (state is State.DEAD)
    assert queue.cancel("2") is (state is not State.LEASED)
    assert queue.cancel("1") is (state is not State.LEASED)


def vars_of(counts: Counts) -> tuple[int, ...]:
    return counts.scheduled, counts.ready, counts.leased, counts.dead


def test_what_waits_for_a_time_that_is_none_is_set_aside_when_nothing_else_is_due(queue: Backend, path: Path) -> None:
    queue.push_many([Item("first"), Item("second", not_before=LATER)])
    change(path, "due = 'soon'")
    queue.ack_many(queue.claim_many(1, lease_for=MINUTE))

    assert queue.next_due() is None
    assert queue.claim(lease_for=MINUTE) is None
    assert [(task.id, task.reason) for task in queue.tasks(state=State.DEAD)] == [
        ("2", "damaged: due: no time; no worker got it")
    ]


def test_an_index_that_names_a_task_that_is_not_there_is_made_anew(queue: Backend, path: Path) -> None:
    queue.push_many([Item("first"), Item("second")])
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        (sql,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'ready'").fetchone()
        db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'ready'", (sql.replace("state = 1", "state = 5"),))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DELETE FROM task WHERE id = 1")  # and not from the index
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'ready'", (sql,))
    with closing(open_backend(path)) as again:
        assert works([again.claim(lease_for=MINUTE)]) == ["second"]
        assert again.claim(lease_for=MINUTE) is None


# numbers of more digits than the reader reads


@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_that_an_ordinary_interpreter_cannot_read_is_refused_whatever_this_one_writes(
    queue: Backend, sign: int
) -> None:
    with digits(10_000):
        with pytest.raises(InvalidWork) as caught:
            queue.push({"n": [sign * 10**4300]})

        assert str(caught.value) == (
            "work.n[0]: an integer of more than 4300 digits cannot be read back everywhere; push it as a string"
        )
        assert queue.push(sign * (10**4300 - 1)).added
    lease = queue.claim(lease_for=MINUTE)
    assert lease is not None
    assert lease.work == sign * (10**4300 - 1)


@pytest.mark.parametrize("location", ["memory", "sqlite"])
def test_a_number_that_this_interpreter_was_told_not_to_read_is_set_aside_until_it_may(
    location: str, tmp_path: Path
) -> None:
    with closing(open_backend("memory://digits" if location == "memory" else tmp_path / "q.db")) as queue:
        queue.push_many([Item(10**1000), Item("next")])
        with digits(640):
            lease = queue.claim(lease_for=MINUTE)
            (dead,) = queue.tasks(state=State.DEAD)
        assert lease is not None
        assert lease.work == "next"
        assert dead.work == Damaged("1" + "0" * 1000)
        assert str(dead.reason).startswith("damaged: work: Exceeds the limit (640 digits)")

        assert queue.redrive(dead.id)
        again = queue.claim(lease_for=MINUTE)

        assert again is not None
        assert (again.work, again.task.attempts) == (10**1000, 1)


# what a person sees


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_list_and_show_tell_of_it_and_fool_no_terminal(
    queue: Backend, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue.push_many([Item("first"), Item("second")])
    change(path, "work = CAST(? AS TEXT)", b'{"a\x1b[2J\xff\xc2\x9b')
    before = shown(capsys, "list", path)
    queue.claim_many(2, lease_for=MINUTE)

    after, whole = shown(capsys, "list", path), shown(capsys, "show", path, 2)

    assert r'damaged: {"a\x1b[2J\xff\x9b' in before
    assert "1 leased, 1 dead" in after
    assert r'damaged: {"a\x1b[2J\xff\x9b' in after
    assert r'damaged: {"a\x1b[2J\xff\x9b' in whole
    assert "damaged: work: expected text, found bytes; no worker got it" in whole
    assert all(text.replace("\n", "").isprintable() for text in (before, after, whole))
    (task,) = map(json.loads, shown(capsys, "list", path, "--json", "--state", "dead").splitlines())
    assert (task["work"], task["damaged"]) == (None, '{"a\x1b[2J\\xff\x9b')
