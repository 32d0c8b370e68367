"""The queue in a server that goes away, stands still, is emptied, is full, or loses an answer; and forks.

Long: every verb is asked of every trouble.
"""

from __future__ import annotations

import gc
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from cutoff import CutOff, at_instruction
from freezegun import freeze_time
from processes import BOUND
from proxy import Proxy, between
from scenes import VERBS, Scene, verbs_of

from lowq import (
    Backend,
    BackendUnavailable,
    Counts,
    FakeClock,
    Item,
    Lease,
    QueueClosed,
    QueueGone,
    Run,
    State,
    Worker,
    open_backend,
)
from lowq.clock import SystemClock
from lowq.testing.servers.valkey import ValkeyServer, valkey_server

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
SHORT = timedelta(seconds=0.4)
"""A patience that is over soon."""
EXHAUSTIVE = "LOWQ_EXHAUSTIVE" in os.environ


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    """A server that keeps what it was told on disk, and is killed by some tests."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with valkey_server(port=port) as made:
        yield made


@pytest.fixture
def url(server: ValkeyServer) -> Iterator[str]:
    yield server.fresh()
    with suppress(BackendUnavailable):
        server.ask("CONFIG SET maxmemory 0")


@pytest.fixture
def opened(url: str) -> Iterator[Callable[..., Any]]:
    """Opens clients, and closes them."""
    clients: list[Backend] = []

    def open_one(at: str = url, **options: Any) -> Backend:
        clients.append(open_backend(at, **options))
        return clients[-1]

    yield open_one
    for each in clients:
        each.close()


@pytest.fixture
def proxy(server: ValkeyServer) -> Iterator[Proxy]:
    with between(f"redis://127.0.0.1:{server.port}") as made:
        yield made


def through(proxy: Proxy, url: str) -> str:
    """The same database by way of the proxy."""
    return f"{proxy.url.replace('http', 'redis')}/{url.rpartition('=')[2]}"


def claimed(queue: Backend, lease_for: timedelta = MINUTE) -> Lease:
    lease = queue.claim(lease_for=lease_for)
    assert lease is not None
    return lease


def listed(queue: Backend) -> list[Any]:
    """What is in the queue, without what differs from one queue to the other."""
    return [
        (task.work, task.key, task.priority, task.attempts, str(task.state), task.reason, dict(task.headers))
        for task in queue.tasks()
    ]


def told(answer: Any) -> str:
    """An answer without the ids and tokens, which differ from one queue to the other."""
    if isinstance(answer, Lease):
        return f"lease on {answer.work} of attempt {answer.task.attempts}"
    if isinstance(answer, list | tuple):
        return str([told(each) for each in answer])
    if hasattr(answer, "claimed"):
        return f"{answer.lost} {told(answer.claimed)}"
    return str(getattr(answer, "added", answer if not hasattr(answer, "work") else answer.work))


# a server that goes away


def test_connections_that_the_server_cut_are_not_noticed(opened: Any, server: ValkeyServer) -> None:
    queue = opened()
    queue.push(1)

    for number in range(3):
        server.ask("CLIENT KILL TYPE normal SKIPME yes")
        assert queue.push(f"after {number}").added

    assert queue.count() == Counts(ready=4)


def test_what_was_acknowledged_outlives_a_kill_of_the_server_and_clients_work_on(
    opened: Any, server: ValkeyServer
) -> None:
    queue = opened()
    first = queue.push("a")
    queue.push_many([Item("b"), Item("c")])
    lease = claimed(queue)

    server.kill()
    server.start()

    assert queue.durability == "power"
    assert [task.work for task in queue.tasks()] == ["b", "c", "a"]
    queue.ack(lease)
    assert queue.push("d").id.partition("-")[0] != first.id.partition("-")[0]
    assert [task.work for task in queue.tasks()] == ["b", "c", "d"]


def test_an_id_is_not_given_twice_where_the_server_lost_the_latest_pushes(
    opened: Any, server: ValkeyServer, url: str
) -> None:
    queue = opened()
    kept, forgotten = queue.push("kept"), queue.push("forgotten")
    queue.cancel(forgotten.id)
    server.ask(f"SELECT {url.rpartition('=')[2]}", "HINCRBY {lowq:default} next -1")  # as a replica that was behind
    server.restart()

    new = queue.push("new")

    assert new.id.partition("-")[2] == forgotten.id.partition("-")[2]
    assert new.id != forgotten.id
    assert queue.task(forgotten.id) is None
    assert queue.cancel(forgotten.id) is False
    assert queue.task(kept.id).work == "kept"


@pytest.mark.parametrize("how", ["away", "frozen"])
def test_every_verb_gives_up_by_name_within_patience_and_works_when_the_server_is_back(
    opened: Any, server: ValkeyServer, how: str
) -> None:
    queue = opened(patience=SHORT)
    queue.push_many([Item("a"), Item("b")])
    lease = claimed(queue)
    verbs: list[Callable[[], object]] = [
        lambda: queue.push("c"),
        lambda: queue.claim(lease_for=MINUTE),
        lambda: queue.claim(lease_for=MINUTE, wait=HOUR),
        lambda: queue.ack(lease),
        lambda: queue.tasks(),
        lambda: queue.names(),
    ]
    (server.kill if how == "away" else server.freeze)()
    try:
        clock = SystemClock()
        for verb in verbs if how == "away" else verbs[3:]:
            left = clock.countdown(timedelta(seconds=BOUND))
            with pytest.raises(BackendUnavailable, match="does not answer"):
                verb()
            assert left() > timedelta(0)
    finally:
        (server.start if how == "away" else server.thaw)()

    patient = opened()
    assert patient.push("d").added
    assert queue.push("e").added
    assert patient.count().ready == 3


def test_a_waiting_claim_outlives_a_restart(opened: Any, server: ValkeyServer) -> None:
    queue, other = opened(patience=timedelta(seconds=BOUND)), opened(patience=timedelta(seconds=BOUND))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(queue.claim, lease_for=MINUTE, wait=HOUR)
        server.restart()
        other.push("x")
        lease = waiting.result(BOUND)

    assert lease is not None
    assert lease.work == "x"


def test_a_worker_goes_on_by_itself(opened: Any, server: ValkeyServer) -> None:
    queue, done, both = opened(patience=SHORT), set(), threading.Event()

    def ran(run: Run) -> None:
        done.add(run.task.work)
        if done == {"first", "last"}:
            both.set()

    # A claim whose answer dies with the server has leased the first one all the same: it comes when that is over.
    worker = Worker(queue, lambda _: None, on_run=ran, lease_for=timedelta(seconds=2))
    thread = threading.Thread(target=worker.run_forever)
    thread.start()
    queue.push("first")
    server.kill()
    with suppress(BackendUnavailable):
        queue.count()
    server.start()
    opened().push("last")

    assert both.wait(BOUND), f"of the two only {done}"
    worker.stop()
    thread.join(BOUND)


# answers that are lost


LOST = [(name, "until_claimed") for name in VERBS if name != "claim_wait"]
LOST += [(name, dedupe) for name in ("push", "push_many", "claim_many") for dedupe in ("off", "until_done")]


@pytest.mark.parametrize(("name", "dedupe"), LOST)
def test_a_call_whose_answer_is_lost_is_done_once_and_answered(
    opened: Any, proxy: Proxy, url: str, name: str, dedupe: str
) -> None:
    verb, clock = VERBS[name], FakeClock()
    answers, queues = [], []
    for number, lose in enumerate((False, True)):
        clock.move_to(clock.now(), back=True)
        scene: Scene = {"clock": clock, "start": clock.now()}
        maker = opened(name=f"q{number}", dedupe=dedupe, clock=clock)
        verb.prepare(maker, scene)
        queue = opened(through(proxy, url), name=f"q{number}", clock=clock)
        if lose:
            proxy.lose_one()
        answers.append(told(verb.call(queue, scene)))
        queues.append(listed(maker))
        clock.move_to(scene["start"], back=True)

    assert proxy.lost == 1
    assert answers[0] == answers[1]
    assert queues[0] == queues[1]


def test_a_half_open_connection_is_given_up_and_the_call_made_once(opened: Any, proxy: Proxy, url: str) -> None:
    queue = opened(through(proxy, url), patience=timedelta(seconds=BOUND / 20), dedupe="off")
    queue.push("before")
    proxy.swallow = True
    timer = threading.Timer(0.5, partial(setattr, proxy, "swallow", False))
    timer.start()

    assert queue.push("x").added
    timer.join(BOUND)

    assert [task.work for task in opened().tasks()] == ["before", "x"]


def test_a_push_to_a_frozen_server_is_kept_once_when_it_goes_on(opened: Any, server: ValkeyServer) -> None:
    queue = opened(patience=timedelta(seconds=BOUND / 20), dedupe="off")
    queue.push("before")
    server.freeze()
    timer = threading.Timer(1.5, server.thaw)  # the first connection was given up by then
    timer.start()

    assert queue.push("x").added
    timer.join(BOUND)

    assert queue.count() == Counts(ready=2)


# a server that is emptied, or full


def test_a_server_that_was_emptied_is_noticed_by_every_verb(opened: Any, server: ValkeyServer) -> None:
    queue = opened()
    old = queue.push("a")
    lease = claimed(queue)
    server.ask("FLUSHALL")
    verbs = verbs_of(queue, lease)
    for verb in verbs:
        with pytest.raises(QueueGone, match="is gone: the server was emptied"):
            verb()

    again = opened()
    assert again.push("a").id != old.id
    assert again.task(old.id) is None
    for verb in verbs:
        with pytest.raises(QueueGone):
            verb()
    assert again.count() == Counts(ready=1)


def test_a_full_server_refuses_a_push_whole_and_goes_on_to_hand_out(opened: Any, server: ValkeyServer) -> None:
    queue = opened()
    queue.push_many([Item(number) for number in range(10)])
    server.ask("CONFIG SET maxmemory 1")

    with pytest.raises(BackendUnavailable, match=r"is full \(maxmemory\), and nothing was written"):
        queue.push("one more")
    with pytest.raises(BackendUnavailable, match="is full"):
        queue.push_many([Item("x" * 1000), Item("y")])
    first = claimed(queue)
    second = queue.ack(first, claim_for=MINUTE)
    assert second is not None
    queue.extend(second, lease_for=HOUR)
    queue.release(second, reason="later")
    queue.dead_letter(claimed(queue), reason="no")
    assert queue.redrive(second.id)
    assert queue.ack_many(queue.claim_many(3, lease_for=MINUTE)).lost == (None, None, None)
    restarted = opened()
    restarted.ack(claimed(restarted))
    server.ask("CONFIG SET maxmemory 0")

    assert [task.work for task in queue.tasks()] == [5, 6, 7, 8, 9]
    assert queue.push("one more").added


def test_a_replica_refuses_by_name_and_the_client_works_on_when_it_is_promoted(
    opened: Any, server: ValkeyServer
) -> None:
    queue = opened(patience=SHORT)
    queue.push("a")
    server.ask("REPLICAOF 127.0.0.1 1")
    try:
        with pytest.raises(BackendUnavailable, match="is a read-only replica; name its primary"):
            queue.push("b")
    finally:
        server.ask("REPLICAOF NO ONE")

    assert queue.push("b").added


# forks and threads


def in_child(action: Callable[[], object]) -> int:
    """The exit status of a fork that does this."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_client_is_used_on_both_sides_of_a_fork(opened: Any) -> None:
    queue = opened()
    queue.push("before")
    line = queue._server._idle[0].made._sock

    assert in_child(lambda: queue.push("child")) == 0

    assert queue.push("parent").added
    assert queue._server._idle[0].made._sock is line
    assert {task.work for task in queue.tasks()} == {"before", "child", "parent"}
    assert in_child(queue.close) == 0
    assert queue.count() == Counts(ready=3)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_fork_in_the_middle_of_other_threads_calls_disturbs_none(opened: Any) -> None:
    queue, stop = opened(dedupe="off"), threading.Event()
    pushed: list[int] = []

    def push() -> None:
        while not stop.is_set():
            pushed.append(queue.push(len(pushed)).added)

    threads = [threading.Thread(target=push) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        statuses = [in_child(lambda: queue.push("child")) for _ in range(5)]
    finally:
        stop.set()
        for thread in threads:
            thread.join(BOUND)

    assert statuses == [0] * 5
    assert queue.count() == Counts(ready=len(pushed) + 5)


def test_many_threads_use_one_client(opened: Any) -> None:
    queue = opened()
    with ThreadPoolExecutor(8) as pool:
        assert all(pushed.added for pushed in pool.map(queue.push, range(200)))
        works = list(pool.map(lambda _: claimed(queue).work, range(200)))

    assert sorted(works) == list(range(200))


def test_closing_ends_a_call_that_a_frozen_server_holds_up(opened: Any, server: ValkeyServer) -> None:
    queue = opened()
    server.freeze()
    try:
        with ThreadPoolExecutor(1) as pool:
            held_up = pool.submit(queue.count)
            while not any(line() and line().made for line in queue._server._lines.values()):
                pass
            threading.Timer(0.05, queue.close).start()
            with pytest.raises(QueueClosed):
                held_up.result(BOUND)
    finally:
        server.thaw()


# order and time, which a double would blur


def test_order_is_exact_for_every_priority(opened: Any) -> None:
    queue = opened()
    drawn = random.Random(7)
    priorities = [-(2**31), 2**31 - 1, 0, 1, -1] * 3 + [drawn.randrange(-(2**31), 2**31) for _ in range(50)]
    queue.push_many([Item(number, priority=priority) for number, priority in enumerate(priorities)])
    expected = [number for _, number in sorted((-priority, number) for number, priority in enumerate(priorities))]

    assert [task.work for task in queue.tasks(limit=20)] == expected[:20]
    assert [lease.work for lease in queue.claim_many(100, lease_for=MINUTE)] == expected


def test_instants_are_exact_to_the_microsecond_until_the_year_9999(opened: Any) -> None:
    start = datetime(9998, 12, 31, 23, 59, 59, 999_998, tzinfo=UTC)
    clock = FakeClock(start)
    queue = opened(clock=clock)
    micro = timedelta(microseconds=1)
    queue.push("b", not_before=start + 2 * micro)
    queue.push("a", not_before=start + micro)

    assert queue.next_due() == start + micro
    assert queue.claim(lease_for=MINUTE) is None
    clock.advance(micro)
    lease = claimed(queue, timedelta(seconds=1, microseconds=3))
    assert (lease.work, lease.expires) == ("a", start + micro + timedelta(seconds=1, microseconds=3))
    assert queue.claim(lease_for=MINUTE) is None
    assert [str(task.state) for task in queue.tasks()] == ["scheduled", "leased"]


def test_the_time_is_the_servers(opened: Any, server: ValkeyServer) -> None:
    queue = opened()
    seconds = int(server.ask("TIME").split("\r\n")[2])
    queue.push("x")

    (task,) = queue.tasks(state=State.READY)

    assert 0 <= (task.pushed_at - datetime.fromtimestamp(seconds, UTC)).total_seconds() < BOUND


def test_a_program_whose_time_a_test_has_stopped_takes_the_queues_time_along(opened: Any) -> None:
    queue = opened()
    start = datetime(2040, 1, 1, tzinfo=UTC)
    with freeze_time(start) as time:
        queue.push("later", not_before=start + HOUR)
        assert queue.claim(lease_for=MINUTE) is None
        time.tick(HOUR)
        assert claimed(queue).expires == start + HOUR + MINUTE


def test_more_than_one_script_promotes_falls_due_in_order(opened: Any) -> None:
    clock = FakeClock()
    queue = opened(clock=clock)
    number = 2500
    due = clock.now() + MINUTE
    queue.push_many([Item(each, priority=each, not_before=due) for each in range(number)])
    clock.advance(HOUR)

    assert claimed(queue).work == number - 1
    assert queue.count() == Counts(ready=number - 1, leased=1)
    assert [lease.work for lease in queue.claim_many(number, lease_for=MINUTE)] == list(range(number - 2, -1, -1))


# calls that are cut off


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", VERBS)
def test_a_call_that_is_cut_off_is_whole_or_absent_and_the_client_works_on(
    opened: Any, lowq_valkey: str, name: str
) -> None:
    verb, clock = VERBS[name], FakeClock()
    scene: Scene = {"clock": clock, "start": clock.now()}
    step = 1 if EXHAUSTIVE else 170

    def begin(prefix: str) -> Backend:
        clock.move_to(scene["start"], back=True)
        queue: Backend = opened(lowq_valkey, clock=clock, name=prefix)
        verb.prepare(queue, scene)
        return queue

    absent = listed(begin("absent"))
    queue = begin("whole")
    verb.call(queue, scene)
    whole = listed(queue)
    queue.close()
    gc.collect()
    start = len(os.listdir("/dev/fd"))
    index, reached, tries = random.randrange(step), True, 0
    while reached:
        queue = begin(f"{index}")
        with suppress(CutOff):
            reached = at_instruction(index, partial(verb.call, queue, scene))
        found = listed(queue)
        assert found in (absent, whole), f"cut off at instruction {index}: neither absent nor whole"
        assert queue.push("afterwards").added
        assert len(listed(queue)) == len(found) + 1
        queue.close()
        assert len(os.listdir("/dev/fd")) <= start, f"cut off at instruction {index}: a connection is left open"
        index += step
        tries += 1
    assert tries > 2
