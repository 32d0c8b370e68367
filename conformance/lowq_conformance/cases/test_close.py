"""CLOSE: what a client held is let go."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lowq_conformance.cases.expect import expect_named_error, expect_refusal, takes, wrong
from lowq_conformance.contract.outcomes import ACCIDENTS, NotPromised
from lowq_conformance.subject.client import MINUTE, Client
from lowq_conformance.subject.subject import Subject

LONGEST = 5.0
"""Seconds that threads and processes have to come to their end after a close."""


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
    held = q.claim()
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
