"""CLOSE: what a client held is let go."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from math import nan
from pathlib import Path

import pytest

from lowq_conformance.cases.expect import expect_named_error, expect_refusal, something, takes, wrong
from lowq_conformance.contract.outcomes import ACCIDENTS, NotPromised, Refused
from lowq_conformance.subject.client import MINUTE, Client
from lowq_conformance.subject.subject import Subject

LONGEST = 5.0
"""Seconds that threads and processes have to come to their end after a close."""
CLIENTS = 3
"""How many are refused: either a file is left of each of them, or nothing is left of a refusal."""
ROOM = 3
"""How many tasks those keep that promise `capacity`."""


@pytest.mark.clause("CLOSE-1")
def test_closing_twice_is_fine(q: Client) -> None:
    q.push("a")

    q.close()
    q.close()


@pytest.mark.clause("CLOSE-1")
def test_closing_a_client_that_did_nothing_is_fine(q: Client) -> None:
    q.close()
    q.close()


@pytest.mark.clause("CLOSE-2")
@pytest.mark.parametrize("verb", ["push", "claim", "ack", "count"])
def test_use_after_closing_raises_a_named_error(q: Client, verb: str) -> None:
    if not q.has(verb):
        raise NotPromised(f"the client has no method {verb}")
    q.push("a")
    q.push("b")
    held = something(q)
    q.close()
    uses: dict[str, Callable[[], object]] = {
        "push": lambda: expect_refusal(q.push, "c"),
        "claim": lambda: expect_refusal(q.claim, lease_for=MINUTE),
        "ack": lambda: expect_refusal(q.ack, held),
        "count": lambda: expect_refusal(q.count),
    }

    error = uses[verb]()
    expect_named_error(q, error if isinstance(error, Exception) else None, (*ACCIDENTS, TypeError))


@pytest.mark.clause("CLOSE-3")
def test_after_closing_nothing_is_left(subject: Subject, place: Path) -> None:
    first = subject.open(place)  # what is made once for a process may stay
    work_once(first, "a")
    if subject.only_pushes:
        raise NotPromised("what it has worked is left to its own worker, a process")
    first.close()
    before = list_held()
    clients = [subject.open(place) for _ in range(3)]
    for number, client in enumerate(clients):
        work_once(client, f"b{number}")
    for client in clients:
        client.close()

    end = time.monotonic() + LONGEST
    while (left := [what for what in list_held() if what not in before]) and time.monotonic() < end:
        time.sleep(0.02)
    if left:
        raise wrong(clients[-1], f"no {', no '.join(left)} to be left")


@pytest.mark.clause("CLOSE-3")
def test_after_closing_no_file_is_left_of_what_was_refused(subject: Subject, place: Path) -> None:
    """Counted, not named: what a process shares may be made anew after a refusal, but there is no more of it."""
    refuse_some(subject, place)  # what is made once for a process may stay
    before = files()
    last = refuse_some(subject, place)

    end = time.monotonic() + LONGEST
    while len(left := files()) >= len(before) + CLIENTS and time.monotonic() < end:
        time.sleep(0.02)
        gc.collect()
    if len(left) >= len(before) + CLIENTS:
        more = [what for what in left if what not in before]
        raise wrong(last, f"no file to be left, and not {len(left) - len(before)} more, such as {more[0]}")


def refuse_some(subject: Subject, place: Path) -> Client:
    """Some clients were refused what they promise to refuse, and closed; the last of them."""
    room = ROOM if "capacity" in subject.promises else None
    clients = [subject.open(place, capacity=room) for _ in range(CLIENTS)]
    if subject.only_pushes:
        raise NotPromised("what it has worked is left to its own worker, a process")
    for client in clients:
        be_refused(client)
    for client in clients:
        client.close()
    gc.collect()
    return clients[-1]


def be_refused(client: Client) -> None:
    """The client did some tasks, and each call was refused that it promises to refuse; what is not refused is for
    other clauses."""
    works = [f"{client.label} {number}" for number in range(ROOM if "capacity" in client.promises else 1)]
    for work in works:
        client.push(work)
    if "capacity" in client.promises:
        with suppress(Refused):
            client.push("one too many")
    if "json" in client.promises:
        with suppress(Refused):
            client.push(nan)
    settles = ["ack", *(verb for verb in ("release", "dead_letter") if verb in client.promises)]
    for _ in works:
        held = something(client)
        client.ack(held)
        for verb in settles if "fenced" in client.promises else ():
            with suppress(Refused):
                getattr(client, verb)(held)
    if "lease" in client.promises and client.subject.traits.fixed_lease is None:
        with suppress(Refused):
            client.claim(lease_for=timedelta(0))


def work_once(client: Client, work: str) -> None:
    """The client has done a task."""
    client.push(work)
    client.ack(takes(client, work))


def list_held() -> list[str]:
    """The threads, child processes and open files of this process, in words."""
    gc.collect()
    threads = [f"thread {thread.name} ({thread.ident})" for thread in threading.enumerate()]
    return [*threads, *children(), *files()]


def files() -> list[str]:
    """What is open, by number and name."""
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    found = []
    for number in os.listdir(folder):
        try:
            os.fstat(int(number))
            name = os.readlink(f"{folder}/{number}") if folder.startswith("/proc") else ""
        except OSError:
            continue  # the listing's own
        found.append(f"open file {number} {name}".rstrip())
    return found


def children() -> list[str]:
    """The processes that this one has started and not yet seen end."""
    if sys.platform == "linux":
        listed: list[str] = []
        for task in Path("/proc/self/task").iterdir():
            try:
                listed += (task / "children").read_text().split()
            except FileNotFoundError:
                continue  # the thread is gone, or this kernel does not tell
        return [f"process {pid}" for pid in listed]
    asked = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, text=True, check=False)
    return [f"process {pid}" for pid in asked.stdout.split() if _alive(int(pid))]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False  # pgrep itself
    return True
