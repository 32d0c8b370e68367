"""A place whose server can be away, clients of it, and calls that must end all the same.

How long a call may take is what the queue states (`patience`), what the profile adds, and what this machine shows
meanwhile. Nobody is accused of one slow call: all is done again in a fresh place before it is believed.
"""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lowq import Item
from lowq_conformance.cases.waiting import Lateness, Missed, find_missed
from lowq_conformance.contract.outcomes import ACCIDENTS, Broken, NotPromised, Refused
from lowq_conformance.contract.profile import Profile
from lowq_conformance.subject.client import MINUTE, Client, Held
from lowq_conformance.subject.subject import Subject
from lowq_conformance.support.asking import ask_again
from lowq_conformance.support.text import describe_error

ATTEMPTS = 2
PAUSE = 0.01
OFTEN = 3
"""How many refusals are no accident."""
LOOK = 0.01
LAST = 5.0
"""Seconds after which a call that nothing keeps any more will not end."""
READY = 60.0
"""Seconds within which somebody is ready to call, with the server there."""
WAIT = timedelta(seconds=0.2)
"""How long a claim waits that is called while the server is away."""

RAW = (EOFError, IndexError, KeyError, TypeError, UnicodeDecodeError, struct.error, asyncio.IncompleteReadError)
"""Errors of whoever reads from a connection, which no queue raises on purpose to say that its server is away."""
SOCKETS = ("builtins", "socket", "ssl")
READERS = ("http.client", "json.decoder")


def is_raw(error: Exception | None) -> bool:
    """Whether the error is one of the socket's, or of what reads from it, and none that says what happened to whom.

    An OSError that a queue raises in its own words has no number of the system's.
    """
    if error is None:
        return False
    if type(error) is Exception or not str(error).strip() or isinstance(error, ACCIDENTS):
        return True
    if isinstance(error, OSError) and type(error).__module__ in SOCKETS:
        return error.errno is not None or str(error) == "timed out"
    return type(error) in RAW or type(error).__module__ in READERS


def find_bound(patience: timedelta, profile: Profile, late: Lateness | None) -> float:
    """Seconds within which a call ends that waits no longer than that, whatever its server does; longer where the
    machine is found to be slow."""
    if late is None:
        return patience.total_seconds() + profile.away
    return patience.total_seconds() + profile.away * late.slowness + late.allowance


class Scene:
    """One attempt: a place whose server is the scene's own, and how late the machine is meanwhile."""

    def __init__(self, subject: Subject, place: Path, profile: Profile) -> None:
        if subject.traits.main_thread:
            raise NotPromised("its clients work in the main thread only, where none is given up")
        self.subject, self.place, self._profile = subject, place, profile
        place.mkdir()
        self.served = subject.serve(place)
        self.late = Lateness()
        self._doing: tuple[str, float] | None = None
        """The call that is under way, and since when."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self.late.close()
        self.served.restore()

    def open(self, *, proxied: bool = True) -> Client:
        """A client, through the proxy where there is one, or as it likes."""
        return self.subject.open(self.place, address=self.served.address(proxied=proxied))

    @property
    def bound(self) -> float:
        """Seconds within which a call ends, whatever the server does."""
        return find_bound(self.subject.traits.patience, self._profile, self.late)

    def ends(self, name: str, call: Callable[[], Any]) -> Any:
        """What the call answered. Raises Refused, and Missed where it did not end until nothing kept it."""
        self._doing = name, time.monotonic()
        try:
            return call()
        finally:
            _, began = self._doing
            self._doing = None
            if (took := time.monotonic() - began) > self.bound:
                raise Missed(f"{name} did not come back within {took:.1f} s")

    def play(self, play: Callable[[Self], None]) -> None:
        """The play was played, in a thread of its own, so that each client is used in one. What it raised is raised.

        Whatever may keep a call that does not end is undone. Raises Missed where that does not help either.
        """
        raised: list[BaseException] = []

        def run() -> None:
            try:
                play(self)
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=run, name="lowq-scene", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(LOOK)
            doing = self._doing
            if doing is None or time.monotonic() - doing[1] <= self.bound:
                continue
            self.subject.journal.note(f"{doing[0]} has not come back {self.bound:.1f} s after it was called")
            self.unblock()
            thread.join(LAST)
            if thread.is_alive():
                raise Missed(f"{doing[0]} waits on, even though the server is there again")
        if raised:
            raise raised[0]

    def unblock(self) -> None:
        """The server answers, and every connection through the proxy is closed."""
        self.served.restore()
        if self.served.proxy is not None:
            self.served.proxy.plan(None)
            self.served.proxy.cut()

    def insist(self, name: str, call: Callable[[], Any]) -> Any:
        """What the call answered, made again and again while it is refused.

        Raises Missed where it does not end, and Broken where it is always refused, which no slow machine explains.
        """
        end, times = time.monotonic() + self.bound, 0
        while True:
            try:
                return self.ends(name, call)
            except Refused as refused:
                times += 1
                if time.monotonic() > end and times >= OFTEN:
                    raise Broken(f"the server is there, and still {refused}") from refused
                time.sleep(PAUSE)

    def drain(self, q: Client) -> list[Any]:
        """What can be claimed, all of which was acked; a queue that may falsely be empty is asked until its patience
        is over."""
        works: list[Any] = []
        patience = 0.0 if "prompt" in self.subject.promises else self.subject.traits.patience.total_seconds()
        again = ask_again(patience)
        while True:
            held = self.insist(f"{q.label}.claim", q.claim)
            if held is not None:
                works.append(held.work)
                self.insist(f"{q.label}.ack", partial(q.ack, held))
                again = ask_again(patience)
            elif not next(again, False):
                return works


def confirm_scene(subject: Subject, place: Path, profile: Profile, play: Callable[[Scene], None]) -> None:
    """The scene goes as it should in one of several attempts. Raises Broken where it does in none."""

    def play_once(attempt: int) -> None:
        subject.journal.calls.clear()
        with Scene(subject, place / f"attempt {attempt}", profile) as scene:
            scene.play(play)

    if said := find_missed(ATTEMPTS, play_once):
        raise Broken(said)


def verbs_of(q: Client) -> list[str]:
    """What is called while the server is away."""
    if q.subject.only_pushes:  # type: ignore[attr-defined]  # the subject of a scene is a Subject
        return ["push", "open"]
    verbs = ["push", "claim", "ack", "open"]
    verbs += ["push_many"] * ("batch" in q.promises)
    verbs += ["claim_wait"] * ("wait" in q.promises)
    verbs += [verb for verb in ("release", "extend", "dead_letter") if verb in q.promises]
    verbs += ["tasks", "count"] * ("inspect" in q.promises)
    return verbs


class Caller:
    """A client in a thread of its own, which has in hand what it needs, and makes its call when it is told to."""

    def __init__(self, scene: Scene, verb: str, number: int) -> None:
        self._scene, self.verb, self._number = scene, verb, number
        self._proxied = number % 2 == 0
        self._held: Held | None = None
        self._refused: Refused | None = None
        self._answer: Any = None
        self._error: BaseException | None = None
        self._took = 0.0
        self._label = verb
        self._ready, self._told, self._over = threading.Event(), threading.Event(), threading.Event()
        threading.Thread(target=self._run, name="lowq-caller", daemon=True).start()
        self._ready.wait(READY)
        self._raise()

    def begin(self) -> None:
        """The call begins."""
        self._told.set()

    def let_go(self) -> None:
        """Nothing is called any more."""
        self._told.set()

    def wait(self) -> bool:
        """Whether the call is over, within the time that it may take."""
        over = self._over.wait(self._most)
        self._raise()
        return over

    def expect_named_error(self) -> None:
        """The call ended within patience, and did not say by an accident that the server is away. Raises Missed."""
        journal = self._scene.subject.journal
        patience = self._scene.subject.traits.patience.total_seconds()
        if not self.wait():
            journal.note(f"{self._label} has not come back {self._most:.1f} s after it was called")
            raise Missed(f"{self._label} waits on, where the queue's patience is {patience:g} s")
        if self._took > self._most:
            raise Missed(f"{self._label} took {self._took:.1f} s, where the queue's patience is {patience:g} s")
        if self._refused is not None and is_raw(self._refused.cause):
            assert self._refused.cause is not None
            said = f"{self._label} {describe_error(self._refused.cause)}"
            raise Broken(f"{said}; that is what a socket says, and no error that the queue raises for its callers")
        empty = self.verb in ("claim", "claim_wait") and self._refused is None and self._answer is None
        if empty and "prompt" in self._scene.subject.promises:
            raise Broken(f"{self._label} said that nothing is due, and could not ask the server")

    @property
    def _most(self) -> float:
        return self._scene.bound + (WAIT.total_seconds() if self.verb == "claim_wait" else 0.0)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            q = self._prepare()
            self._ready.set()
            self._told.wait()
            began = time.monotonic()
            try:
                self._answer = self._call(q)
            except Refused as refused:
                self._refused = refused
            self._took = time.monotonic() - began
        except BaseException as error:
            self._error = error
        self._ready.set()
        self._over.set()

    def _prepare(self) -> Client:
        q = self._scene.open(proxied=self._proxied)
        self._label = "open" if self.verb == "open" else f"{q.label}.{self.verb.removesuffix('_wait')}"
        if not self._scene.subject.only_pushes:
            q.push(f"task {self._number}")
            if self.verb in ("ack", "release", "extend", "dead_letter"):
                self._held = q.claim()
        return q

    def _call(self, q: Client) -> Any:
        held = self._held
        if self.verb == "open":
            return self._scene.open(proxied=self._proxied)
        if self.verb == "push":
            return q.push(f"new {self._number}")
        if self.verb == "push_many":
            return q.push_many([Item(f"new {self._number}"), Item(f"newer {self._number}")])
        if self.verb in ("claim", "claim_wait"):
            return q.claim(wait=WAIT if self.verb == "claim_wait" else None)
        if self.verb in ("tasks", "count"):
            return getattr(q, self.verb)()
        if held is None:
            return None
        if self.verb == "extend":
            return q.extend(held, lease_for=2 * MINUTE)
        return getattr(q, self.verb)(held)
