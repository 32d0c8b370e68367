"""Programs in which a call is interrupted: they fail where something is lost or nobody gets in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conformance.run.test_call_program import FACTS, Scripted, Task, play, say_broken
from lowq_conformance.run.harness_facts import NoProgram
from lowq_conformance.run.reproduction import run_program, write_program

QUEUE = """\
import threading
from types import SimpleNamespace

class Loses:
    def __init__(self, place):
        self.works = []

    def push(self, work):
        self.works.append(work)

    def claim(self):
        if not self.works:
            return None
        work = self.works.pop(0)
        self.held = work  # claimed
        return SimpleNamespace(work=work)

    def ack(self, claimed):
        pass

class Keeps(Loses):
    def claim(self):
        return SimpleNamespace(work=self.works[0]) if self.works else None

    def ack(self, claimed):
        self.works.remove(claimed.work)

lock = threading.Lock()

class LocksOut(Loses):
    def push(self, work):
        lock.acquire()
        self.works.append(work)  # locked
        lock.release()

class LetsIn(Loses):
    def push(self, work):
        with lock:
            self.works.append(work)

class Harness:
    queue = Loses

    def open(self, place):
        return self.queue(place)

class LosesHarness(Harness): pass
class KeepsHarness(Harness): queue = Keeps
class LocksOutHarness(Harness): queue = LocksOut
class LetsInHarness(Harness): queue = LetsIn
"""


def line_of(words: str) -> int:
    return next(number for number, line in enumerate(QUEUE.splitlines(), 1) if words in line)


@pytest.mark.parametrize(
    ("id", "evidence", "broken", "sound", "said"),
    [
        (
            "INTERRUPT-1",
            "q = open(place)\n"
            "q.push('7 first')\n"
            "q.push('7 second')\n"
            f"q.claim()           # interrupted at losers.py:{line_of('# claimed')} in claim()\n"
            "q.push('7 after')\n"
            "task9 = q.claim()   # '7 second'\n"
            "q.ack(task9)\n"
            "q.claim()           # None\n\n"
            "'7 first': lost",
            "LosesHarness",
            "KeepsHarness",
            "AssertionError: ['second', 'after'] came out, expected 'first', too",
        ),
        (
            "INTERRUPT-3",
            "q = open(place)\n"
            "other = open(place)\n"
            f"q.push('7 cut')        # interrupted at losers.py:{line_of('# locked')} in push()\n"
            "other.push('7 other')  # did not return\n\n"
            "another client's push waits for ever",
            "LocksOutHarness",
            "LetsInHarness",
            "AssertionError: another client's push waits for ever",
        ),
    ],
)
def test_a_call_is_interrupted_where_the_evidence_says(
    tmp_path: Path, id: str, evidence: str, broken: str, sound: str, said: str
) -> None:
    (tmp_path / "losers.py").write_text(QUEUE)
    facts = replace(FACTS, line=f"from losers import {broken}", make=f"{broken}()", folder=str(tmp_path))
    program = write_program(say_broken(id, evidence), facts).replace("thread.join(5)", "thread.join(1)")

    code, errors = run_program(program, facts, "shows.py")

    assert (code, errors.splitlines()[-1]) == (1, said)
    assert run_program(program.replace(broken, sound), facts, "shows.py") == (0, "")


CUT = "q = open(place)\nq.push('7 first')\nq.push('7 cut')  # interrupted at nowhere.py:1 in push()\n"
CLAIMS = "task9 = q.claim()  # '7 first'\nq.ack(task9)\nq.claim()  # None\n\n"
FIRST, CUT_ONE = Task("first"), Task("cut")


@pytest.mark.parametrize(
    ("told", "sentence", "broken", "sound"),
    [
        ("", "'7 first' is lost, of which the interrupted call knows nothing", [0, 0, None], [0, 0, FIRST]),
        ("", "'7 first' and '7 cut': lost", [0, 0, FIRST, 0, None], [0, 0, CUT_ONE, 0, FIRST]),
        ("", "'7 cut' was acknowledged, and is not kept", [0, 0, FIRST], [0, 0, FIRST, 0, CUT_ONE]),
        (
            "q.push('7 after')\n",
            "'7 after', a push after the interruption, was acknowledged, and is not kept",
            [0, 0, 0, FIRST],
            [0, 0, 0, FIRST, 0, Task("after")],
        ),
        ("", "'7 first' came out twice", [0, 0, FIRST, 0, FIRST], [0, 0, FIRST]),
        (
            "q.push('7 cut')\n",
            "'7 cut' came out 3 times, and was pushed twice",
            [0, 0, 0, CUT_ONE, 0, CUT_ONE, 0, CUT_ONE],
            [0, 0, 0, CUT_ONE, 0, CUT_ONE],
        ),
        ("", "'7 first' came out, after it was acknowledged that it is gone", [0, 0, FIRST], [0, 0, CUT_ONE]),
        (
            "q.push('7 after')  # raised KeyError: 7\n",
            "the client works no more, and does not say so: KeyError: 7",
            [0, 0, KeyError(7)],
            [0, 0, 0],
        ),
        (
            "q.claim()  # raised KeyError: 7\nq.push('7 after')  # raised LookupError: no\n",
            "the queue, opened again, refused a push: LookupError: no",
            [0, 0, KeyError(7), LookupError("no")],
            [0, 0, KeyError(7), 0],
        ),
    ],
)
def test_a_program_fails_where_what_the_sentence_says_is_so(
    told: str, sentence: str, broken: list[Any], sound: list[Any]
) -> None:
    clause = say_broken("INTERRUPT-1", f"{CUT}{told}{CLAIMS}{sentence}")

    with pytest.raises(AssertionError):
        play(clause, Scripted(*broken))
    play(clause, Scripted(*sound))


@pytest.mark.parametrize(
    ("evidence", "why"),
    [
        (
            f"{CUT}{CLAIMS}of the batch that was interrupted a part was kept: item 0 once",
            "of several answers together",
        ),
        (f"{CUT}q.push(…)  # did not return\n\nits client waits for ever", "is no text of a program"),
        (
            f"other = open(place)\n{CUT}other.push('7 other')  # did not return\n\nits client waits for ever",
            "a call that does not return",
        ),
        ("q = open(place)\nq.push('7 cut')  # interrupted at its await 2\n\n'7 cut': lost", "a coroutine"),
    ],
)
def test_where_no_program_can_show_it_the_reason_is_told(evidence: str, why: str) -> None:
    with pytest.raises(NoProgram, match=why):
        write_program(say_broken("INTERRUPT-2", evidence), FACTS)
