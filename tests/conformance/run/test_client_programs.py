"""Programs of two clients: they fail against the queue that is broken, and pass when a sound one is in its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conformance.run.test_call_program import FACTS, Scripted, Task, play, say_broken
from lowq_conformance.run.harness_facts import Facts, NoProgram
from lowq_conformance.run.reproduction import run_program, write_program

QUEUE = """\
import os

class Claimed:
    def __init__(self, work):
        self.work = work

class Queue:
    def __init__(self, place):
        self.place = place

    def push(self, work):
        with open(self.place / f"{work} new", "x"):
            pass

    def claim(self):
        names = sorted(os.listdir(self.place))
        for name in names:
            old, new = self.place / name, self.place / name.replace(" new", " had")
            if name.endswith(" new"):
                try:
                    os.rename(old, new)  # by one alone
                except FileNotFoundError:
                    continue
                return Claimed(name.removesuffix(" new"))

    def ack(self, claimed):
        os.unlink(self.place / f"{claimed.work} had")

class Twice(Queue):
    def claim(self):
        names = sorted(os.listdir(self.place))
        for name in names:
            if name.endswith(" new"):
                work = name.split()[0]
                (self.place / f"{work} had").touch()  # and it may be somebody else's
                (self.place / name).unlink(missing_ok=True)
                return Claimed(work)

    def ack(self, claimed):
        (self.place / f"{claimed.work} had").unlink(missing_ok=True)

class Buffers(Queue):
    def __init__(self, place):
        self.place, self.kept = place, []

    def push(self, work):
        self.kept.append(work)
        if len(self.kept) > 7:
            for each in self.kept:
                super().push(each)

class Tidies(Queue):
    pushed = 0

    def push(self, work):
        super().push(work)
        self.pushed += 1
        if self.pushed % 10 == 0:
            waiting = [self.place / name for name in os.listdir(self.place) if name.endswith(" new")]
            for name in waiting:
                os.rename(name, f"{name}ly named")
            for name in waiting:  # and nobody finds it meanwhile
                os.rename(f"{name}ly named", name)

class Harness:
    queue = Queue

    def open(self, place):
        return self.queue(place)

class ClaimsTwice(Harness):
    queue = Twice

class BuffersPushes(Harness):
    queue = Buffers

class TidiesUp(Harness):
    queue = Tidies
"""
TIDIES = next(number for number, line in enumerate(QUEUE.splitlines(), 1) if "meanwhile" in line)
LINE = next(number for number, line in enumerate(QUEUE.splitlines(), 1) if "somebody else" in line)


def about(tmp_path: Path, name: str) -> Facts:
    """What is known of the harness of that name, whose module was written."""
    (tmp_path / "strangers.py").write_text(QUEUE)
    promises = frozenset({"processes", "persistent", "threads"})
    line = f"from strangers import {name}"
    return replace(FACTS, line=line, make=f"{name}()", folder=str(tmp_path), promises=promises)


def twice(how: str = "") -> str:
    return f"lowq check x --schedule claim@{LINE},claim{how}"


STOOD = f"`claim()` stood still before `strangers.py:{LINE}`; another client's `claim()` returned 'one'"


@pytest.mark.parametrize("how", ["", ",threads"])
def test_a_client_stands_still_where_the_schedule_says_and_two_have_one_task(tmp_path: Path, how: str) -> None:
    facts = about(tmp_path, "ClaimsTwice")
    program = write_program(say_broken("RACE-1", STOOD, twice(how)), facts)

    code, said = run_program(program, facts, "repro.py")
    sound = run_program(program.replace("ClaimsTwice", "Harness"), facts, "repro.py")

    assert code == 1
    assert "\nAssertionError: ('one', 'one', ['two']); one after the other [('two', 'one', " in said, said
    assert sound == (0, "")


@pytest.mark.parametrize("how", ["", ",threads"])
def test_what_a_call_does_now_and_then_only_is_come_to_by_many_tasks(tmp_path: Path, how: str) -> None:
    facts = about(tmp_path, "TidiesUp")
    stood = f"`push()` stood still before `strangers.py:{TIDIES}` (when 8 tasks had gone through)"
    schedule = f"lowq check x --schedule push@{TIDIES},claim,worn=8{how}"
    program = write_program(say_broken("RACE-3", stood, schedule), facts)

    code, said = run_program(program, facts, "repro.py")
    sound = run_program(program.replace("TidiesUp", "Harness"), facts, "repro.py")

    assert code == 1
    assert "\nAssertionError: (None, None, ['new', 'one', 'two']); one after the other [(None, 'one', " in said, said
    assert sound == (0, "")


def test_both_prepare_what_they_settle_when_many_tasks_have_gone_through(tmp_path: Path) -> None:
    facts = about(tmp_path, "ClaimsTwice")
    schedule = f"lowq check x --schedule ack@{LINE},ack,worn=3"
    program = write_program(say_broken("RACE-3", STOOD, schedule), facts)

    assert run_program(program.replace("ClaimsTwice", "Harness"), facts, "repro.py") == (0, "")


def test_a_process_is_killed_as_soon_as_its_push_has_returned(tmp_path: Path) -> None:
    facts = about(tmp_path, "BuffersPushes")
    program = write_program(say_broken("CRASH-1", "push('a') was acknowledged, and is lost"), facts)

    code, said = run_program(program, facts, "repro.py")
    sound = run_program(program.replace("BuffersPushes", "Harness"), facts, "repro.py")

    assert (code, said.splitlines()[-1]) == (1, "AssertionError: [] came out, expected ['a']")
    assert sound == (0, "")


@pytest.mark.parametrize(
    ("id", "broken", "sound"),
    [("DELIVER-3", ["two", "two"], ["one", "two"]), ("ORDER-2", ["one", "two"], ["two", "one"])],
)
def test_two_clients_claim_one_after_the_other(id: str, broken: list[str], sound: list[str]) -> None:
    clause = say_broken(id, "", "lowq check x --schedule claim,claim")

    with pytest.raises(AssertionError, match="came out, expected"):
        play(clause, Scripted(None, None, *map(Task, broken)))
    play(clause, Scripted(None, None, *map(Task, sound)))


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        ("claim,claim,late", "stands still within a line, two that do"),
        ("claim@7+1,claim", "stands still within a line, two that do"),
        ("claim@7,claim@8", "stands still within a line, two that do"),
        ("claim@7,claim,claim", "or three clients"),
        ("push@7,push,fork", "one client that several use at once"),
        ("push@7,push,coroutines", "one client that several use at once"),
        ("push@7,claim,stopped", "a process that is stopped for longer than another one waits for it"),
        ("push@7,close", "a client that closes while others work"),
        ("cancel@7,claim", "a task that is named by its id, or set aside"),
    ],
)
def test_of_some_schedules_there_is_no_program_and_the_reason_is_told(schedule: str, why: str) -> None:
    facts = replace(FACTS, promises=frozenset({"processes"}))
    with pytest.raises(NoProgram, match=why):
        write_program(say_broken("RACE-1", STOOD, f"lowq check x --schedule {schedule}"), facts)


def test_a_kill_takes_a_queue_that_other_processes_see() -> None:
    with pytest.raises(NoProgram, match="no other process sees what a killed one left"):
        write_program(say_broken("CRASH-1", ""), FACTS)


def test_two_clients_are_not_on_one_event_loop() -> None:
    facts = replace(FACTS, asynchronous=True, promises=frozenset({"processes"}))
    with pytest.raises(NoProgram, match="its methods are async"):
        write_program(say_broken("RACE-1", STOOD, twice()), facts)
