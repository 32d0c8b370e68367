"""WAIT: claims that wait until there is a task.

A queue may wake whom it likes, everybody or one; a waiter that is woken for nothing waits on. The clock that is moved
may be the one by which it waits, or not: it is moved, and what really takes as long is waited for, too.

Long: each thing that ends a wait has a test of its own.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from os import kill
from pathlib import Path
from random import Random

import pytest

from lowq import Item
from lowq_conformance.cases.expect import claim, expect, require, require_return, takes
from lowq_conformance.cases.timing import Stopwatch, fall_due, later, run_out
from lowq_conformance.cases.waiting import ATTEMPTS, WAIT, InProcess, Missed, Passing, Stage, Waiter, confirm_scene
from lowq_conformance.cases.wakeups import COMES, Points
from lowq_conformance.contract.outcomes import NotObserved, NotPromised, Refused
from lowq_conformance.contract.profile import Profile
from lowq_conformance.storm.agents import Agents
from lowq_conformance.subject.client import Client
from lowq_conformance.subject.subject import Subject

pytestmark = pytest.mark.waits

Scene = Callable[[Stage], None]
Confirmed = Callable[[Scene], None]

SHORT = timedelta(seconds=0.3)
EARLY = timedelta(milliseconds=20)
"""By how much clocks of one machine may differ over a short wait."""
DAY = timedelta(days=1)
CROWD = 3
STILL = 1.0
"""Seconds after which those go on that stand still, where one of them has a lock for which a push waits."""

each_way = pytest.mark.parametrize(
    "how",
    [
        pytest.param("threads", marks=pytest.mark.needs("threads")),
        pytest.param("processes", marks=pytest.mark.needs("processes")),
    ],
)


@pytest.fixture
def confirm(subject: Subject, place: Path, agents: Agents) -> Confirmed:
    """Carries out a scene, and again where it fails."""
    return lambda scene: confirm_scene(subject, place, agents, scene)


@pytest.fixture
def how(subject: Subject) -> str:
    """Who waits where one way is enough: threads, where the queue promises them."""
    return "threads" if "threads" in subject.promises else "processes"


@pytest.mark.clause("WAIT-1")
@each_way
def test_a_push_wakes_who_waits(confirm: Confirmed, how: str) -> None:
    def scene(stage: Stage) -> None:
        q = stage.open()
        waiter = stage.waiter(how)
        q.push("a")
        stage.require_woken(waiter, q, "a")

    confirm(scene)


@pytest.mark.clause("WAIT-1")
@pytest.mark.needs("threads")
def test_a_push_by_the_client_that_waits_wakes_it(confirm: Confirmed) -> None:
    def scene(stage: Stage) -> None:
        q = stage.open()
        waiter = stage.waiter("threads", client=q)
        q.push("a")
        stage.require_woken(waiter, q, "a")

    confirm(scene)


@pytest.mark.clause("WAIT-1")
@pytest.mark.needs("batch")
def test_a_batch_wakes_who_waits(confirm: Confirmed, how: str) -> None:
    def scene(stage: Stage) -> None:
        q = stage.open()
        waiter = stage.waiter(how)
        q.push_many([Item("a")])
        stage.require_woken(waiter, q, "a")

    confirm(scene)


@pytest.mark.clause("WAIT-1")
def test_who_waits_after_the_push_does_not_wait(confirm: Confirmed, how: str) -> None:
    def scene(stage: Stage) -> None:
        q = stage.open()
        q.push("a")
        stage.require_woken(stage.begin(how), q, "a")

    confirm(scene)


@pytest.mark.clause("WAIT-1")
@pytest.mark.needs("threads")
def test_no_push_is_missed_on_the_way_into_the_wait(
    subject: Subject, place: Path, agents: Agents, random: Random, profile: Profile
) -> None:
    """The waiter stands still before one of its lines, another client pushes, and the waiter goes on.

    Where it holds a lock then, both go on at once, and the push is missed by chance: then it is looked for elsewhere.
    """
    if subject.asynchronous:
        raise NotPromised("what its coroutines do is traced in no thread of theirs")
    for attempt in range(ATTEMPTS):
        line, folder = 0, place / f"{attempt}"
        try:
            with Stage(subject, folder / "first", agents) as stage:
                points = Points(stage)
                for line in points.draw(random, profile.standing):
                    points.at(line)
            return
        except Missed:
            confirm_scene(subject, folder, agents, lambda again, line=line: Points(again).at(line, COMES))  # type: ignore[misc]


@pytest.mark.clause("WAIT-2")
def test_who_waits_is_woken_when_a_task_falls_due(confirm: Confirmed, how: str) -> None:
    def scene(stage: Stage) -> None:
        q = stage.open()
        soon = soon_of(q)
        due = later(q, soon)
        q.push("a", not_before=due)
        waiter = stage.waiter(how, WAIT + 4 * soon)
        early(q, waiter, due)
        fall_due(q, due)
        stage.require_woken(waiter, q, "a", more=soon)

    confirm(scene)


@pytest.mark.clause("WAIT-2")
def test_who_waits_is_woken_when_a_task_falls_due_that_was_pushed_meanwhile(confirm: Confirmed, how: str) -> None:
    def scene(stage: Stage) -> None:
        q = stage.open()
        soon = soon_of(q)
        waiter = stage.waiter(how, WAIT + 4 * soon)
        due = later(q, soon)
        q.push("a", not_before=due)
        early(q, waiter, due)
        fall_due(q, due)
        stage.require_woken(waiter, q, "a", more=soon)

    confirm(scene)


def soon_of(q: Client) -> timedelta:
    """How far ahead a task is scheduled for which somebody waits."""
    soon = max(SHORT, 4 * q.subject.resolution)
    most = q.subject.traits.max_delay
    return soon if most is None else min(soon, most)


def early(q: Client, waiter: Waiter, due: object) -> None:
    """Raise Missed where the claim got a task before its time."""
    over, now = waiter.is_over(), q.subject.now(q.place)
    if over and waiter.work() is not None and now < due - q.subject.resolution:  # type: ignore[operator]
        raise Missed(f"{waiter.name} got a task before its time")


@pytest.mark.clause("WAIT-3")
@pytest.mark.needs("lease")
def test_who_waits_is_woken_when_a_lease_ends(confirm: Confirmed, how: str) -> None:
    """Both clients are open before, since opening one may end leases where they are not shared."""

    def scene(stage: Stage) -> None:
        q = stage.open()
        require_return(q.subject)
        lease = q.subject.lease(q.subject.traits.shortest_lease)
        over = lease + q.subject.traits.grace
        if how == "processes" and "shared_lease" not in q.promises:
            raise NotPromised("opening another client may end leases")
        client = stage.open() if how == "threads" else None
        q.push("a")
        takes(q, "a", lease_for=lease)
        waiter = stage.waiter(how, WAIT + 4 * over, client)
        run_out(q, lease)
        stage.require_woken(waiter, q, "a", more=over)

    confirm(scene)


@pytest.mark.clause("LEASE-1")
@pytest.mark.needs("wait", "threads")
def test_a_lease_begins_when_a_claim_that_waited_gets_its_task(confirm: Confirmed) -> None:
    def scene(stage: Stage) -> None:
        q = stage.open()
        lease = q.subject.short_lease
        over = lease + q.subject.traits.grace
        waiter = stage.waiter("threads", WAIT + 4 * over, stage.open(), lease)
        run_out(q, lease)
        watch = Stopwatch(q)
        q.push("a")
        if not stage.returns(waiter) or waiter.work() is None:
            raise NotObserved("the claim that waited got nothing")
        early = q.claim()

        watch.within(lease)
        expect(q, early is None, f"None, {waiter.name} has got the task just now")
        waiter.settle()

    confirm(scene)


@pytest.mark.clause("WAIT-3")
@pytest.mark.needs("release")
def test_who_waits_is_woken_by_a_release(confirm: Confirmed, how: str) -> None:
    def scene(stage: Stage) -> None:
        q = stage.open()
        require_return(q.subject)
        client = open_before(stage, how)
        q.push("a")
        held = takes(q, "a")
        waiter = stage.waiter(how, client=client)
        q.release(held)
        stage.require_woken(waiter, q, "a")

    confirm(scene)


@pytest.mark.clause("WAIT-3")
@pytest.mark.needs("dead_letter")
def test_who_waits_is_woken_by_a_redrive(confirm: Confirmed, how: str) -> None:
    def scene(stage: Stage) -> None:
        q = stage.open()
        if not q.has("redrive"):
            raise NotPromised("the client has no method redrive")
        q.push("a")
        held = takes(q, "a")
        q.dead_letter(held)
        waiter = stage.waiter(how)
        if q.redrive(require(held.id, "the id of a claimed task")) is False:
            raise NotPromised("the task is not redriven")
        stage.require_woken(waiter, q, "a")

    confirm(scene)


def open_before(stage: Stage, how: str) -> Client | None:
    """A client for who is to wait in a thread, opened before anybody holds a lease that this might end."""
    if how == "processes" and "lease" in stage.subject.promises and "shared_lease" not in stage.subject.promises:
        raise NotPromised("opening another client may end leases")
    return stage.open() if how == "threads" else None


@pytest.mark.clause("WAIT-4")
@pytest.mark.parametrize("pushed", ["one by one", "together", "for one time"])
def test_as_many_are_woken_as_tasks_are_pushed(confirm: Confirmed, how: str, pushed: str) -> None:
    def scene(stage: Stage) -> None:
        q = stage.open()
        if q.subject.traits.one_at_a_time:
            raise NotPromised("it hands out one task at a time")
        works, soon = [f"work {number}" for number in range(CROWD)], soon_of(q)
        waiters = stage.crowd(how, CROWD, WAIT + 4 * soon)
        wait = timedelta(0)
        if pushed == "one by one":
            for work in works:
                q.push(work)
        elif pushed == "together":
            needs(q, "batch")
            q.push_many([Item(work) for work in works])
        else:
            needs(q, "not_before")
            due, wait = later(q, soon), soon
            for work in works:
                q.push(work, not_before=due)
            fall_due(q, due)
        left = list(works)
        for waiter in waiters:
            left.remove(stage.require_woken(waiter, q, *left, more=wait, settle=False))
        for waiter in waiters:
            waiter.settle()

    confirm(scene)


@pytest.mark.clause("WAIT-4")
@pytest.mark.needs("processes")
@pytest.mark.parametrize("pushed", ["one by one", "together"])
def test_one_that_hears_of_all_pushes_leaves_the_others_theirs(confirm: Confirmed, pushed: str) -> None:
    """All who wait stand still while tasks are pushed. One goes on and is done; then the others do."""

    def scene(stage: Stage) -> None:
        q = stage.open()
        if q.subject.traits.one_at_a_time:
            raise NotPromised("it hands out one task at a time")
        if pushed == "together":
            needs(q, "batch")
        waiters = [stage.process(keeps=True) for _ in range(CROWD)]
        for waiter in waiters:
            waiter.asleep()
        works = [f"work {number}" for number in range(CROWD)]
        for waiter in waiters:
            waiter.stand_still()
        stage.subject.journal.note("all who wait stand still (SIGSTOP)")
        sent_on = threading.Timer(STILL, send_on, [waiters])
        sent_on.start()
        try:
            if pushed == "together":
                q.push_many([Item(work) for work in works])
            else:
                for work in works:
                    q.push(work)
        except Refused:
            return  # one of them stands still with a lock, and another clause is about that
        finally:
            sent_on.cancel()
            sent_on.join()
        for waiter in waiters:
            stage.subject.journal.note(f"{waiter.name} goes on")
            waiter.go_on()
            if waiter is waiters[0]:
                stage.returns(waiter)  # or not: one of the others may stand still with a lock
        left = list(works)
        for waiter in waiters:
            left.remove(stage.require_woken(waiter, q, *left, settle=False))

    confirm(scene)


def send_on(waiters: list[InProcess]) -> None:
    """All of them go on."""
    for waiter in waiters:
        waiter.go_on()


def needs(q: Client, promise: str) -> None:
    """Raise NotPromised where the queue does not promise that."""
    if promise not in q.promises:
        raise NotPromised(f"needs {promise}")


@pytest.mark.clause("WAIT-4")
@each_way
def test_each_push_wakes_one_more(confirm: Confirmed, how: str) -> None:
    """A wake-up that went to somebody who got nothing, and waits on, is not used up."""

    def scene(stage: Stage) -> None:
        q = stage.open()
        waiters = stage.crowd(how, CROWD - 1)
        while waiters:
            q.push(f"work {len(waiters)}")
            end = time.monotonic()
            while not any(waiter.is_over() for waiter in waiters):
                if time.monotonic() - end > q.subject.traits.wake.total_seconds() + stage.late.allowance:
                    break
                time.sleep(0.002)
            woken = next((waiter for waiter in waiters if waiter.is_over()), waiters[0])
            stage.require_woken(woken, q, f"work {len(waiters)}")
            waiters.remove(woken)

    confirm(scene)


@pytest.mark.clause("WAIT-5")
def test_a_waiting_claim_ends_when_its_time_is_over_and_not_before(subject: Subject, confirm: Confirmed) -> None:
    """The time that is moved is moved when as much has really passed, so that any clock it waits by says so."""

    def scene(stage: Stage) -> None:
        q = stage.open()
        wait = max(SHORT, 4 * q.subject.resolution)
        timer = Passing(stage, wait)
        try:
            began = time.monotonic()
            if "threads" in subject.promises:
                waiter = stage.begin("threads", wait, q)
                ended = stage.returns(waiter, wait + q.subject.resolution)
                if not ended:
                    raise Missed(f"a claim with wait={wait} had not come back after as much and the bound on top")
                took, got = waiter.ended - began, waiter.work()  # type: ignore[union-attr]  # it is a thread's
            else:
                held = q.claim(wait=wait)
                took, got = time.monotonic() - began, None if held is None else held.work
        finally:
            timer.close()
        if got is not None:
            raise Missed("it got a task that nobody had pushed")
        least = wait - q.subject.resolution - EARLY
        if took < least.total_seconds():
            raise Missed(f"a claim with wait={wait} gave up after {took:.3f} s, and nothing was due")
        most = (wait + q.subject.resolution + q.subject.traits.wake).total_seconds() + stage.late.allowance
        if took > most:
            raise Missed(f"a claim with wait={wait} came back after {took:.3f} s")

    confirm(scene)


@pytest.mark.clause("WAIT-5")
@pytest.mark.needs("not_before")
def test_a_claim_waits_on_when_it_is_woken_and_nothing_is_due(confirm: Confirmed, how: str) -> None:
    def scene(stage: Stage) -> None:
        q = stage.open()
        needs(q, how)
        most = q.subject.traits.max_delay
        waiter = stage.waiter(how)
        q.push("a", not_before=later(q, DAY if most is None else most))
        time.sleep(2 * SHORT.total_seconds() / 3)
        if waiter.is_over():
            got = waiter.work()
            said = "gave up" if got is None else f"got {got[0]!r}"
            raise Missed(
                f"{waiter.name} {said} when something was pushed that is not due, long before its time was over"
            )
        q.push("b")
        stage.require_woken(waiter, q, "b")

    confirm(scene)


@pytest.mark.clause("WAIT-5")
@pytest.mark.needs("close", "threads")
def test_closing_a_client_ends_its_waiting_claim(subject: Subject, confirm: Confirmed) -> None:
    """In whichever way: with nothing, or an error that says so."""
    if "threads" not in subject.promises:
        raise NotPromised("needs threads")

    def scene(stage: Stage) -> None:
        client = stage.open()
        waiter = stage.waiter("threads", client=client)
        client.close()
        if not stage.returns(waiter):
            raise Missed(f"{waiter.name} waits on, though its client is closed")

    confirm(scene)


@pytest.mark.clause("WAIT-6")
@pytest.mark.parametrize("stopped", [False, True], ids=["asleep", "stopped, and the push comes before its death"])
def test_a_killed_waiter_takes_nobodys_wakeup_with_it(confirm: Confirmed, stopped: bool) -> None:
    """A queue may have given the task to the one that was killed, before it knew: then it comes back with its lease.

    The one that is killed came first, and so is the next to be woken where they are woken in turn.
    """

    def scene(stage: Stage) -> None:
        q = stage.open()
        lease = stage.subject.lease(stage.subject.traits.shortest_lease)
        wait, more = WAIT + 4 * (lease + stage.subject.traits.grace), timedelta(0)
        waiters = [stage.waiter("processes", wait, lease=lease), stage.waiter("processes", wait, lease=lease)]
        killed = waiters.pop(0)
        assert isinstance(killed, InProcess)
        if stopped:
            stage.subject.journal.note(f"os.kill({killed.agent.pid}, SIGSTOP)")
            kill(killed.agent.pid, signal.SIGSTOP)
            q.push("a")
        stage.subject.journal.note(f"os.kill({killed.agent.pid}, SIGKILL)")
        killed.let_go()
        if not stopped:
            q.push("a")
        if not stage.returns(waiters[0]):
            require_given(q, lease)
            more = lease + stage.subject.traits.grace
        stage.require_woken(waiters[0], q, "a", "b", more=more)

    confirm(scene)


def require_given(q: Client, lease: timedelta) -> None:
    """The task, given to the dead one, comes back with its lease, or another is pushed. Raises Missed if it waits."""
    found = claim(q)
    if found is not None:
        raise Missed("the killed client took the wake-up with it: the other waits on, and the task is there")
    if "lease" in q.promises:
        run_out(q, lease)
    else:
        q.push("b")
