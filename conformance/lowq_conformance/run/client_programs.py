"""The programs of broken clauses that take two clients: one that stands still in a call, or one that is killed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from string import Template
from textwrap import indent

from lowq_conformance.report.report import ClauseReport
from lowq_conformance.run.harness_facts import Facts, NoProgram, write_head
from lowq_conformance.storm.execution import OUTLIVES
from lowq_conformance.storm.performer import Step
from lowq_conformance.sweep.scenes import Part, script_of
from lowq_conformance.sweep.schedule import Schedule

COMES_OUT = """\
client, works = $opens(place), []
while len(works) < 9 and (task := $claim) is not None:
    works.append(task.work)
    client.ack(task)
"""

DEATH = f"""\
place = Path(tempfile.mkdtemp())

if (child := os.fork()) == 0:
    client = $opens(place)
    client.push('a')
${{then}}    os.kill(os.getpid(), signal.SIGKILL)
if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
    sys.exit('its calls failed')
${{passes}}{COMES_OUT}\
assert works == $right, f"{{works}} came out, expected $right"
"""

SCHEDULE = f"""

def open_other(place):
    global other
    other = $opens(place)


${{prepare}}def call():
    return answer_of(lambda: $other_call)

$finish
def answer_of(call):
    try:
        answer = call()
    except Exception as error:
        return type(error).__name__
    return getattr(answer, 'work', getattr(answer, 'added', None))


def play(when):
    \"\"\"What both are answered, and what comes out: the other calls before, during or after the client's call.\"\"\"
    place, made, times = Path(tempfile.mkdtemp()), [], count(1)

    def meanwhile():
        made.append(pool.submit(call))
        wait(made, 2)  # longer, and it waits for something that the client holds

    def trace(frame, event, _):
        here = event == 'line' and frame.f_lineno == $line and frame.f_code.co_filename.endswith($file)
        if here and next(times) == $time:
            sys.settrace(None)
            meanwhile()
        return trace

    with $pool as pool:
        pool.submit(open_other, place).result()
        client = $opens(place)
${{before}}        if when == 'before':
            meanwhile()
        if when == 'during':
            sys.settrace(trace)
        answer = answer_of(lambda: $call)
        sys.settrace(None)
        if not made:
            meanwhile()
        answers = answer, made[0].result()
${{third}}{indent(COMES_OUT, "    ")}\
    return *answers, works


allowed = [play('before'), play('after')]
seen = play('during')
assert seen in allowed, f"{{seen}}; one after the other {{allowed}}"
"""
"""A client, and another one in a thread or a process of its own."""


TURNS = """\
place = Path(tempfile.mkdtemp())

client = $opens(place)
other = $opens(place)
other.push('two')
client.push('one')
works = [None if task is None else task.work for task in ($claim, $other_claim)]
assert $right, f"{works} came out, expected $expected"
"""
"""Two clients that claim one after the other."""


def write_death(clause: ClauseReport, facts: Facts) -> str:
    """A process is killed as soon as its calls have returned, and another one looks. Raises NoProgram."""
    if facts.promises.isdisjoint({"processes", "persistent"}):
        raise NoProgram("no other process sees what a killed one left")
    calls = Calls(facts)
    claim = calls.claim("client")
    then, passes, right = DEATHS[clause.id]
    body = Template(DEATH).substitute(
        opens=facts.opens,
        claim=claim,
        then=f"    {then.replace('CLAIM', claim)}\n" if then else "",
        passes=f"{calls.passes}\n" if passes else "",
        right=right,
    )
    return finish(clause, facts, body, {"import os", "import signal", "import sys"})


DEATHS = {
    "CRASH-1": ("", False, "['a']"),
    "CRASH-4": ("CLAIM", True, "['a']"),
    "CRASH-5": ("client.ack(CLAIM)", True, "[]"),
}
"""What the process does with its task before it is killed, whether its lease runs out then, and what comes out."""


def write_schedule(clause: ClauseReport, schedule: Schedule, facts: Facts) -> str:
    """A client stands still in the middle of its call while another one makes its own. Raises NoProgram.

    What comes of it must be what comes of the two calls one after the other, in one of the two orders.
    """
    at, scene = schedule.at, schedule.scene
    if schedule.stopped:
        raise NoProgram("it takes a process that is stopped for longer than another one waits for it")
    if at is None and (scene.first, scene.second, scene.late) == ("claim", "claim", False):
        return write_turns(clause, facts)
    if at is None or at.step or schedule.second_at is not None or scene.third:
        raise NoProgram("it takes a client that stands still within a line, two that do, or three clients")
    if schedule.how in ("fork", "coroutines"):
        raise NoProgram("it takes one client that several use at once")
    if "close" in (scene.first, scene.second):
        raise NoProgram("it takes a client that closes while others work")
    if not {"cancel", "redrive", "dead_letter"}.isdisjoint((scene.first, scene.second)):
        raise NoProgram("it takes a task that is named by its id, or set aside")
    in_threads = schedule.how == "threads" or "processes" not in facts.promises
    pool = "ThreadPoolExecutor" if in_threads else "ProcessPoolExecutor"
    script, calls = script_of(scene), Calls(facts)
    prepare, before = write_preparation(script.before, calls)
    ending = steps_of(script.after[:1])
    body = Template(SCHEDULE).substitute(
        opens=facts.opens,
        claim=calls.claim("client"),
        prepare=prepare,
        other_call=calls.line(script.calls[1], "other").removeprefix("held = "),
        finish=f"\ndef finish():\n{calls.lines(ending, 'other', 4)}\n" if ending else "",
        line=at.line,
        file=repr(f"/{at.file or file_of(clause)}"),
        time=at.time,
        pool=f"{pool}(1)" if in_threads else f"{pool}(1, get_context('fork'))",
        before=before,
        call=calls.line(script.calls[0], "client").removeprefix("held = "),
        third=("        pool.submit(finish).result()\n" if ending else "")
        + calls.lines(steps_of(script.after[1:]), "client", 8),
    )
    imports = {"import sys", f"from concurrent.futures import {pool}, wait", "from itertools import count"}
    imports |= set() if in_threads else {"from multiprocessing import get_context"}
    return finish(clause, facts, body, imports)


def write_preparation(parts: Iterable[Part], calls: Calls) -> tuple[str, str]:
    """What is prepared: the functions in which the other client does its parts, and the lines of the client, which
    asks for these."""
    functions, lines = "", ""
    for number, (client, steps) in enumerate(parts, 1):
        if client == 0:
            lines += calls.lines(steps, "client", 8)
            continue
        body = calls.lines(steps, "other", 4)
        named = f"prepare_{number}"
        known = "    global held\n" if "held = " in body else ""
        functions += f"def {named}():\n{known}{body}\n\n"
        lines += f"        pool.submit({named}).result()\n"
    return functions, lines


def steps_of(parts: Iterable[Part]) -> list[Step]:
    """The steps of one client in these parts, one after the other."""
    return [step for _, steps in parts for step in steps]


def write_turns(clause: ClauseReport, facts: Facts) -> str:
    """Two clients claim one after the other, and get different tasks, in order where that is the clause."""
    calls = Calls(facts)
    body = Template(TURNS).substitute(
        opens=facts.opens,
        claim=calls.claim("client"),
        other_claim=calls.claim("other"),
        right="works == ['two', 'one']" if clause.id.startswith("ORDER") else "None in works or works[0] != works[1]",
        expected="them as they were pushed: 'two', 'one'" if clause.id.startswith("ORDER") else "two different works",
    )
    return finish(clause, facts, body, ())


def file_of(clause: ClauseReport) -> str:
    """The end of the path of the file in which the first call stands still, as the evidence names it."""
    found = re.search(r"stood still before `([^`:]+):\d+", clause.evidence)
    if found is None:
        raise NoProgram("the file in which it stands still is not told")
    return found[1]


class Calls:
    """The steps of a client as calls of the harness."""

    def __init__(self, facts: Facts) -> None:
        over = facts.seconds * OUTLIVES
        self.passes = (
            f"harness.pass_time(place, timedelta(seconds={over:g}))" if facts.pass_time else f"time.sleep({over:g})"
        )
        self._lease = f"lease_for=timedelta(seconds={facts.seconds:g})" if facts.lease else ""

    def claim(self, client: str) -> str:
        """A claim."""
        return f"{client}.claim({self._lease})"

    def lines(self, steps: list[Step], client: str, deep: int) -> str:
        """The steps as lines, so far from the margin."""
        return indent("".join(f"{self.line(step, client)}\n" for step in steps), " " * deep)

    def line(self, step: Step, client: str) -> str:
        """One step; what is settled is what was claimed last. Raises NoProgram."""
        match step:
            case ["push", work]:
                return f"{client}.push({work!r})"
            case ["push", work, _, _, key]:
                return f"{client}.push({work!r}, key={key!r})"
            case ["batch", items]:
                return f"{client}.push_many([{', '.join(f'Item({item[0]!r})' for item in items)}])"
            case ["claim"]:
                return f"held = {self.claim(client)}"
            case ["ack" | "release" as verb, _]:
                return f"{client}.{verb}(held)"
            case ["extend", _]:
                return f"held = {client}.extend(held{self._lease and f', {self._lease}'})"
            case ["work_off", many]:
                through = f"{client}.push(f'worn {{number}}')\n    {client}.ack({self.claim(client)})"
                return f"for number in range({many}):\n    {through}"
            case ["open"]:
                return "pass"  # it is open
            case ["pass", _]:
                return self.passes
            case ["drop"]:
                return "held = None"
        raise NoProgram(f"{step[0]} is no call of a client")


def finish(clause: ClauseReport, facts: Facts, body: str, given: Iterable[str]) -> str:
    """The whole program."""
    if facts.asynchronous:
        raise NoProgram("its methods are async, and two clients would be on one event loop")
    imports = {*given}
    imports |= {"import time"} if "time.sleep(" in body else set()
    imports |= {"from datetime import timedelta"} if "timedelta(" in body else set()
    imports |= {"from lowq import Item"} if "Item(" in body else set()
    return f"{write_head(clause, facts, imports)}\n{body}"
