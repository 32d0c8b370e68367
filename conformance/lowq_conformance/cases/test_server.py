"""SERVER: what becomes of calls when the server goes away, comes back, stands still, or the way to it is cut.

A queue may refuse by a named error within its patience, or wait as long for the server to come back; nobody is
accused of either. Nothing is asked of what a call that was cut off did, but that it did it wholly or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from lowq_conformance.cases.away import Caller, Scene, confirm_scene, is_raw, verbs_of
from lowq_conformance.cases.cut_calls import CutCalls
from lowq_conformance.cases.cut_clients import CutClients
from lowq_conformance.cases.expect import claim
from lowq_conformance.cases.fixtures import loaded_key, profile_key, seed_key
from lowq_conformance.cases.waiting import WAIT, InThread, Missed
from lowq_conformance.contract.outcomes import Broken, NotObserved, NotPromised, Refused
from lowq_conformance.contract.profile import Profile
from lowq_conformance.history.work_text import work_text
from lowq_conformance.subject.client import Client, Held
from lowq_conformance.subject.subject import Subject

Play = Callable[[Scene], None]
Confirmed = Callable[[Play], None]

SOON = 0.05
"""Seconds, at most, for which a connection has been cut when something is pushed."""
ACKED = 4


@pytest.fixture
def confirm(subject: Subject, place: Path, profile: Profile) -> Confirmed:
    """Plays a scene, and again where it goes wrong in a way that a slow machine explains."""
    return lambda play: confirm_scene(subject, place, profile, play)


@pytest.fixture(scope="session")
def cut_calls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CutCalls]:
    """The calls that are cut off, all when the first clause is asked about."""
    stash = request.config.stash
    subject = stash[loaded_key].fresh()
    random = Random(f"{stash[seed_key]} cut calls")
    yield CutCalls(subject, tmp_path_factory.mktemp("cut"), stash[profile_key], random)
    subject.close()


@pytest.mark.clause("SERVER-1")
@pytest.mark.together("server")
def test_a_call_whose_connection_is_cut_is_whole_or_absent(cut_calls: CutCalls) -> None:
    cut_calls.keeps("SERVER-1")


@pytest.mark.clause("SERVER-6")
@pytest.mark.together("server")
def test_a_lost_reply_loses_nothing_and_doubles_nothing(cut_calls: CutCalls) -> None:
    cut_calls.keeps("SERVER-6")


@pytest.mark.clause("SERVER-2")
@pytest.mark.together("server")
def test_clients_work_again_when_the_server_is_there_again(confirm: Confirmed) -> None:
    """One that has a task in hand and one that has nothing to do, through the proxy and as they like."""

    def play(scene: Scene) -> None:
        clients = [scene.open(), scene.open(proxied=False), scene.open()]
        for number, q in enumerate(clients[:2]):
            q.push(f"before {number}")
        if not scene.subject.only_pushes:
            clients[0].claim()
        scene.served.restart()
        for number, q in enumerate(clients):
            scene.insist(f"{q.label}.push", lambda q=q, number=number: q.push(f"after {number}"))  # type: ignore[misc]
        for q in clients:
            if not scene.subject.only_pushes and not scene.subject.serves_nobody(scene.place):
                require_something(scene, q)

    confirm(play)


@pytest.mark.clause("SERVER-2")
@pytest.mark.together("server")
def test_clients_work_again_when_their_connection_was_cut(confirm: Confirmed) -> None:
    def play(scene: Scene) -> None:
        proxy = scene.served.need_proxy()
        q = scene.open()
        for number, abruptly in enumerate((True, False)):
            q.push(f"before {number}")
            scene.subject.journal.note("every connection is cut")
            proxy.cut(abruptly=abruptly)
            scene.insist(f"{q.label}.push", lambda number=number: q.push(f"after {number}"))  # type: ignore[misc]
        if not scene.subject.only_pushes:
            require_something(scene, q)

    confirm(play)


def require_something(scene: Scene, q: Client) -> None:
    """The client gets a task that was pushed, and acks it."""
    end = time.monotonic() + scene.bound
    held: Held | None = None
    while held is None:
        held = scene.insist(f"{q.label}.claim", q.claim)
        if held is None and time.monotonic() > end:
            raise Missed(f"{q.label}.claim found nothing of what was pushed when the server was there again")
    scene.insist(f"{q.label}.ack", lambda: q.ack(held))


@pytest.mark.clause("SERVER-3")
@pytest.mark.together("server")
@pytest.mark.parametrize("how", ["cut", "restart"])
def test_a_waiting_claim_gets_what_is_pushed_after_its_connection_was_cut(
    confirm: Confirmed, random: Random, how: str
) -> None:
    """One that refuses by a named error waits again, by the same client."""

    def play(scene: Scene) -> None:
        patience = scene.subject.traits.patience
        q, client = scene.open(proxied=False), scene.open()
        waiter = InThread(client, WAIT)
        waiter.asleep()
        if how == "restart":
            scene.served.restart()
        else:
            proxy = scene.served.need_proxy()
            scene.subject.journal.note("every connection through the proxy is cut")
            proxy.cut(abruptly=random.random() < 0.5)
            time.sleep(random.uniform(0, SOON))
        scene.insist(f"{q.label}.push", lambda: q.push("a"))
        bound = (scene.subject.traits.wake + patience).total_seconds() + scene.late.allowance
        end = time.monotonic() + bound
        while not comes_woken(waiter, end):
            if not waiter.is_over():
                scene.subject.journal.note(f"{bound:.1f} s later {waiter.name} still waits")
                there = "no other claim gets the task" if claim(q) is None else "the task is there"
                raise Missed(f"{waiter.name} waits on, and {there}")
            error = waiter.error.cause if isinstance(waiter.error, Refused) else waiter.error
            if error is None:
                raise Missed(f"{waiter.name} came back with None long before its time was over, and a task is due")
            if is_raw(error):
                raise Missed(f"{waiter.name} {waiter.error}")
            if time.monotonic() > end:
                raise Missed(f"{waiter.name} still {waiter.error}")
            waiter = InThread(client, WAIT)
        got = waiter.work()
        if got is None or work_text(got[0]) != work_text("a"):
            raise Broken(f"{waiter.name} got {got!r}, which nobody pushed")

    confirm(play)


def comes_woken(waiter: InThread, end: float) -> bool:
    """Whether the claim comes back with a task, in time."""
    while not waiter.is_over() and time.monotonic() < end:
        time.sleep(0.002)
    return waiter.is_over() and waiter.work() is not None


@pytest.mark.clause("SERVER-4")
@pytest.mark.together("server")
def test_what_was_acknowledged_survives_a_kill_of_the_server(confirm: Confirmed) -> None:
    def play(scene: Scene) -> None:
        if not scene.served.has("kill"):
            raise NotPromised("its server cannot be killed")
        q = scene.open(proxied=False)
        kept = [f"work {number}" for number in range(ACKED)]
        for work in kept:
            q.push(work)
        if scene.subject.only_pushes:
            raise NotPromised("its own worker claims")
        if (gone := claim(q)) is not None:
            q.ack(gone)
            kept.remove(gone.work)
        scene.served.go_away()
        scene.served.come_back()
        other = scene.open(proxied=False)
        came = scene.drain(other)
        if lost := [work for work in kept if work not in came]:
            raise Broken(f"{lost} were acknowledged before the server was killed, and are not there")
        if back := [work for work in came if work not in kept]:
            raise Broken(f"{back} came back, whose ack had returned before the server was killed")

    confirm(play)


@pytest.mark.clause("SERVER-5")
@pytest.mark.together("server")
def test_every_call_ends_in_a_named_error_while_the_server_is_away(confirm: Confirmed, random: Random) -> None:
    def play(scene: Scene) -> None:
        call_meanwhile(scene, random, scene.served.go_away, scene.served.come_back)

    confirm(play)


@pytest.mark.clause("SERVER-7")
@pytest.mark.together("server")
def test_a_connection_over_which_nothing_comes_is_given_up(confirm: Confirmed, random: Random) -> None:
    def play(scene: Scene) -> None:
        call_meanwhile(scene, random, scene.served.stand_still, scene.served.go_on)

    confirm(play)


def call_meanwhile(scene: Scene, random: Random, before: Callable[[], None], after: Callable[[], None]) -> None:
    """Each verb was called by a client of its own between the two, all at once where threads are promised."""
    pilot = scene.open()
    pilot.push("there is something")
    verbs = verbs_of(pilot)
    random.shuffle(verbs)
    together = "threads" in scene.subject.promises
    if not together:
        verbs = [*(verb for verb in verbs if verb == "push"), *(verb for verb in verbs if verb != "push")][:2]
    if scene.subject.traits.one_at_a_time:
        verbs = [verb for verb in verbs if verb in ("push", "push_many", "claim", "open")]
    shift = random.randrange(2)
    callers = [Caller(scene, verb, number + shift) for number, verb in enumerate(verbs)]
    try:
        before()
        try:
            for caller in callers:
                caller.begin()
                if not together:
                    caller.wait()
            for caller in callers:
                caller.expect_named_error()
        finally:
            after()
    finally:
        for caller in callers:
            caller.let_go()


@pytest.mark.clause("SERVER-8")
@pytest.mark.judges("SERVER-1")
@pytest.mark.together("server")
def test_two_clients_whose_connections_were_cut_never_hold_one_task(
    subject: Subject, place: Path, profile: Profile, random: Random
) -> None:
    if subject.traits.one_at_a_time:
        raise NotPromised("it hands out one task at a time")
    with Scene(subject, place / "clients", profile) as scene:
        clients = CutClients(scene, random, profile)
        try:
            scene.play(lambda _: clients.play())
        except Missed as missed:
            raise NotObserved(f"{missed}; another clause is about that") from missed
    if not clients.happened:
        raise NotObserved("no connection was cut")
