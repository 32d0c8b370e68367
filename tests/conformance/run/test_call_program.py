"""Programs of some calls in a row: they fail against the queue that is broken, and pass against a sound one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.report.report import ClauseReport
from lowq_conformance.run.harness_facts import Facts, NoProgram
from lowq_conformance.run.reproduction import write_program

FACTS = Facts(
    line="from conformance.harnesses import Sound",
    make="Sound()",
    folder=None,
    asynchronous=False,
    only_pushes=False,
    promises=frozenset({"fifo", "prompt"}),
    lease=False,
    seconds=1.0,
    pass_time=False,
    now=False,
    versions={},
)


def say_broken(id: str, evidence: str, rerun: str = "lowq check x", **more: Any) -> ClauseReport:
    return ClauseReport(id, Verdict.BROKEN, CLAUSES[id].text, evidence, rerun, **more)


class Scripted:
    """A harness whose one client answers as it is told, whatever is called, and knows what was."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.calls = list(answers), list[str]()

    def open(self, *_: Any, **__: Any) -> Scripted:
        return self

    def __getattr__(self, verb: str) -> Any:
        def call(*positional: Any, **given: Any) -> Any:
            self.calls.append(verb)
            answer = self.answers.pop(0) if self.answers else None
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


class Task:
    def __init__(self, work: Any, attempts: int = 1, **headers: str) -> None:
        self.work, self.attempts, self.headers = work, attempts, headers


class Coroutines(Scripted):
    """The same, its methods async."""

    def __getattr__(self, verb: str) -> Any:
        call = super().__getattr__(verb)

        async def soon(*positional: Any, **given: Any) -> Any:
            return call(*positional, **given)

        return soon


def play(clause: ClauseReport, harness: Scripted, facts: Facts = FACTS) -> None:
    """The program was run against the harness."""
    program = write_program(clause, replace(facts, line="", make="HARNESS"))
    names: dict[str, Any] = {"HARNESS": harness}
    try:
        exec(compile(program, "repro.py", "exec"), names)
    finally:
        if "loop" in names:
            names["loop"].close()


@pytest.mark.parametrize(
    ("evidence", "broken", "sound"),
    [
        ("q.push('a')\ntask = q.claim()  # 'b', expected 'a'", [None, Task("b")], [None, Task("a")]),
        ("task = q.claim()  # None, expected 'a'", [None], [Task("a")]),
        ("q.claim()  # None, 3 times\nq.claim()  # None, expected 'a'", [], [None, None, Task("a")]),
        ("q.claim()  # None, expected a task whose work is None", [None], [Task(None)]),
        ("q.claim()  # None, expected a task", [None], [Task(None)]),
        ("q.claim()  # 'a', expected None, the lease has not run out", [Task("a")], [None]),
        ('q.claim()  # \'c\', expected one of "a", "b"', [Task("c")], [Task("b")]),
        ("task = q.claim()  # 1, expected 1.0", [Task(1)], [Task(1.0)]),
        ("task = q.claim()  # 'a', expected attempts 1, not 2", [Task("a", 2)], [Task("a", 1)]),
        ("task = q.claim()  # 'a', expected attempts 2", [Task("a", 1)], [Task("a", 2)]),
        ("task = q.claim()  # 'a', expected the header 'x': 'y', not None", [Task("a")], [Task("a", x="y")]),
        ("q.push('a')  # not added, expected added, as it is another place", [False], [True]),
        ("q.push('a')  # added, expected not added", [True], [False]),
        ("q.push(nan)  # added, expected it to be refused", [True], [ValueError("no JSON")]),
        ("q.push('a')  # expected it to be refused: the queue is full", [True], [False]),
        ("q.ack(7)  # raised LeaseLost: no, expected None", [LookupError("no")], [None]),
        (
            "q.push('a')  # raised LookupError: 7\nq.push('b')  # added, expected not added",
            [KeyError(), True],
            [1, False],
        ),
        ("q.push('a')  # raised TypeError: 7\n\nq.push('a') raised TypeError: 7", [TypeError(7)], [True]),
    ],
)
def test_a_program_fails_where_the_answer_is_the_wrong_one_only(
    evidence: str, broken: list[Any], sound: list[Any]
) -> None:
    clause = say_broken("ORDER-1", f"q = open(place)\n{evidence}")
    if "LeaseLost" in evidence:
        broken = [type("LeaseLost", (Exception,), {})("no")]

    with pytest.raises(AssertionError):
        play(clause, Scripted(*broken))
    play(clause, Scripted(*sound))
    with pytest.raises(AssertionError):
        play(clause, Coroutines(*broken), replace(FACTS, asynchronous=True))


def test_a_program_is_short_and_says_what_is_expected_and_what_came() -> None:
    clause = say_broken("ORDER-1", "q = open(place)\nq.push('a')\nq.push('b')\ntask = q.claim()  # 'b', expected 'a'")

    assert write_program(clause, FACTS) == (
        '"""ORDER-1: First in, first out for one client."""\n'
        "\n"
        "import tempfile\n"
        "from pathlib import Path\n"
        "\n"
        "from conformance.harnesses import Sound\n"
        "\n"
        "harness = Sound()\n"
        "place = Path(tempfile.mkdtemp())\n"
        "\n"
        "q = harness.open(place)\n"
        "q.push('a')\n"
        "q.push('b')\n"
        "got = q.claim()\n"
        "got = None if got is None else got.work\n"
        "assert got == 'a', f\"got {got!r}, expected 'a'\"\n"
    )


def test_what_follows_the_wrong_answer_is_left_out() -> None:
    harness = Scripted(None)

    with pytest.raises(AssertionError, match="got None, expected 'a'"):
        play(say_broken("ORDER-1", "q = open(place)\nq.claim()  # None, expected 'a'\nq.push('b')"), harness)
    assert harness.calls == ["claim"]


def test_a_program_has_as_many_places_as_the_evidence() -> None:
    evidence = "q = open(place)\nq2 = open(place2)\nq.push('a')\nq2.claim()  # 'a', expected None"
    program = write_program(say_broken("NAMES-1", evidence), FACTS)

    assert "\nplace = Path(tempfile.mkdtemp())\nplace2 = Path(tempfile.mkdtemp())\n" in program


@pytest.mark.parametrize(
    ("evidence", "why"),
    [
        ("q.push('a')  # did not return", "it takes a call that does not return"),
        ("# … 3 more calls …\nq.claim()  # 1, expected 2", "it takes more calls than are told"),
        (
            "q.push('ab…1,000 more…yz')\nq.claim()  # 1, expected 2",
            "it takes a value that is too long to be told whole",
        ),
        ("# every connection is cut\nq.claim()  # 1, expected 2", "it takes more than calls"),
        ("q.push(<object at 0x7f>)  # expected it to be refused", "is no text of a program"),
        ("q.push(elsewhere)  # expected it to be refused", "`elsewhere` is no text of a program"),
        ("start(place, handler)\n", "more than clients: workers of the queue's own"),
        ("with transaction(place) as tx:\ntx.push(1)", "more than clients: a transaction of the application's"),
        ("q2 = open(place, address=proxy)", "more than clients: a server that goes away"),
        ("q = open(place)\nq.tasks()  # [], expected the listing as before", "cannot be said in a line of a program"),
        ("q.claim()  # 'a'\n\nboth had 'a'", "it comes of several answers together"),
        (
            "q.push('a')  # cut off by a kill\nq.claim()  # None, expected 'a'",
            "at an instant that no program can choose",
        ),
    ],
)
def test_where_no_program_can_show_it_the_reason_is_told(evidence: str, why: str) -> None:
    with pytest.raises(NoProgram, match=why):
        write_program(say_broken("ORDER-1", f"q = open(place)\n{evidence}"), FACTS)


def test_of_queues_whose_own_workers_claim_there_is_no_program() -> None:
    with pytest.raises(NoProgram, match="the queue's own workers claim"):
        write_program(say_broken("WORKER-1", "q = open(place)"), replace(FACTS, only_pushes=True))
