"""The program of a clause that a call breaks which is interrupted: by an exception that a signal's handler raises."""

from __future__ import annotations

import re
from string import Template

from lowq_conformance.report.report import ClauseReport
from lowq_conformance.run.call_program import REMARK, Translation, assert_returns
from lowq_conformance.run.call_program import finish as finish_calls
from lowq_conformance.run.client_programs import Calls
from lowq_conformance.run.harness_facts import Facts, NoProgram

INTERRUPTED = "  # interrupted "
"""Is in the evidence of such a clause."""
CUT = re.compile(r"interrupted at (?P<file>[^:]+):(?P<line>\d+)(, time \d+,)? in .*")
WAITED = "interrupted by a signal, as it waited"
WORK = r"'[a-z]+( \d+)?'"
LOST = re.compile(
    rf"(?P<works>{WORK}( and {WORK})*)(, [a-z' ]+,)?"
    r"(: lost| is lost, of which .*| did not come out, also .*| was acknowledged.*, and is not kept)"
)
TOO_OFTEN = re.compile(rf"(?P<work>{WORK}) came out (?P<times>twice|\d+ times)(, and was pushed .*)?")
COMES_BACK = re.compile(rf"(?P<work>{WORK}) came out, after it was acknowledged that it is gone")
REFUSED = re.compile(
    r"(another client was refused|the client works no more, and does not say so"
    r"|the queue, opened again, refused a push): (?P<error>.*)"
)
WAITS = " waits for ever"
NUMBER = re.compile(r"'\d+ (?=(first|second|cut|other|after)\b)")
"""What tells the works of one scene from those of the others before it."""

AT_A_LINE = """
def interrupt(call):
    \"\"\"The call is interrupted as by Ctrl-C, when line $line of $file has run.\"\"\"
    lines = {}

    def trace(frame, event, _):
        last, lines[frame] = lines.get(frame), frame.f_lineno
        if last == $line and event in ('line', 'return') and frame.f_code.co_filename.endswith('/$file'):
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
"""
AS_IT_WAITS = """
def interrupt(call):
    \"\"\"The call is interrupted as by Ctrl-C, a moment after it began.\"\"\"
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
"""
TAKE = """
def take(client, most):
    while len(works) < most and (task := $claim) is not None:
        works.append(task.work)
        with suppress(Exception):
            client.ack(task)

"""
MUST_RETURN = """
def must_return(call):
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive(), $said

"""
MOST = 99
"""Tasks that are taken at most, of a queue that goes on handing them out."""


def write_interrupted(clause: ClauseReport, facts: Facts) -> str:
    """The calls of the evidence, one of which is interrupted, and what is wrong afterwards. Raises NoProgram."""
    if facts.asynchronous:
        raise NoProgram("it takes a coroutine that is cancelled while it awaits something")
    program, _, sentence = NUMBER.sub("'", clause.evidence).partition("\n\n")
    told = [read_line(line) for line in program.splitlines()]
    translation = Translation(facts)
    lines, helper, after = ["works = []"], "", False
    for number, (code, said) in enumerate(told):
        client, verb = client_of(code), verb_of(code)
        if said == "did not return":
            call = f"take({client}, {MOST})" if verb == "claim" else translation.translate(code)[1]
            lines.append(f"must_return(lambda: {call})")
            return finish(clause, facts, lines, helper, must_return(sentence, client, verb))
        if code.startswith("#") or "…" in code:
            raise NoProgram("it takes more than the calls that are told")
        label, call, _ = translation.translate(code)
        if said.startswith("interrupted "):
            helper, after = write_helper(said), True
            lines.append(f"interrupt(lambda: {call})")
        elif after and verb == "claim":
            if claims_on(told[number:]):
                lines.append(f"take({client}, {MOST})")
                passed = [translation.translate(each)[1] for each, _ in told[number:] if verb_of(each) == "pass_time"]
                lines += [line for each in passed for line in (each, f"take({client}, {MOST})")]
                break
            lines += suppress(f"take({client}, len(works) + 1)", said)
        elif after and verb == "ack" and verb_of(told[number - 1][0]) == "claim":
            continue  # taken
        elif after and said.startswith("raised ") and is_accused(sentence, said):
            return finish(clause, facts, [*lines, *assert_returns(call)], helper)
        else:
            lines += suppress(f"{label}{call}", said)
    return finish(clause, facts, [*lines, assert_works(sentence, program)], helper)


def read_line(line: str) -> tuple[str, str]:
    """A line of evidence: the call, and what is said of it."""
    found = REMARK.fullmatch(line)
    return (found["code"].rstrip(), found["said"]) if found else (line.rstrip(), "")


def client_of(code: str) -> str:
    """The name of the client that makes the call."""
    return code.rpartition(" = ")[2].partition(".")[0]


def verb_of(code: str) -> str:
    """The name of what the line calls."""
    return code.rpartition(" = ")[2].partition("(")[0].rpartition(".")[2]


def claims_on(told: list[tuple[str, str]]) -> bool:
    """Whether nothing but claims and their acks follow, and time that passes."""
    return all(verb_of(code) in ("claim", "ack", "pass_time") for code, _ in told)


def write_helper(said: str) -> str:
    """The function that interrupts a call, as it is said. Raises NoProgram."""
    if said.startswith(WAITED):
        return AS_IT_WAITS
    found = CUT.match(said)
    if found is None:
        raise NoProgram("it takes a coroutine that is cancelled while it awaits something")
    return Template(AT_A_LINE).substitute(line=found["line"], file=found["file"])


def suppress(line: str, said: str) -> list[str]:
    """The line, going on where it raised."""
    return ["with suppress(Exception):", f"    {line}"] if said.startswith("raised ") else [line]


def must_return(sentence: str, client: str, verb: str) -> str:
    """The function that fails where a call waits for ever, of which the sentence tells. Raises NoProgram."""
    who = sentence.removesuffix(WAITS)
    if who == sentence or (who == "its client" and client != "q") or (who == "a claim" and verb != "claim"):
        raise NoProgram("it takes a call that does not return")
    return Template(MUST_RETURN).substitute(said=repr(sentence))


def is_accused(sentence: str, said: str) -> bool:
    """Whether the sentence is about the error that was raised."""
    found = REFUSED.fullmatch(sentence)
    return found is not None and said.removeprefix("raised ").startswith(found["error"][:40])


def assert_works(sentence: str, program: str) -> str:
    """What is true of the works that came out, unless the sentence is. Raises NoProgram."""
    if (lost := LOST.fullmatch(sentence)) is not None:
        works = re.findall(r"'[^']*'", lost["works"])
        among = f"{works[0]} in works" if len(works) == 1 else f"{{{', '.join(works)}}} <= {{*works}}"
        return f'assert {among}, f"{{works}} came out, expected {lost["works"]}, too"'
    if (back := COMES_BACK.fullmatch(sentence)) is not None:
        return f'assert {back["work"]} not in works, f"{{works}} came out, and {back["work"]} was gone"'
    if (often := TOO_OFTEN.fullmatch(sentence)) is not None:
        work = often["work"]
        pushed = max(1, program.count(f"push({work})"))
        return f'assert works.count({work}) <= {pushed}, f"{{works}} came out, and {work} too often"'
    raise NoProgram("no answer is wrong by itself: it comes of several answers together")


def finish(clause: ClauseReport, facts: Facts, lines: list[str], helper: str, other: str = "") -> str:
    """The whole program, which has the `other` function, too."""
    imports = {"import sys"} if "settrace" in helper else {"import signal"}
    imports |= {"import threading"} if other else set()
    if any("take(" in line for line in lines):
        other += "\n" * bool(other) + Template(TAKE).substitute(claim=Calls(facts).claim("client"))
        imports |= {"from contextlib import suppress"}
    else:
        lines = lines[1:]
    return finish_calls(clause, facts, lines, f"\n{helper}\n{other}".rstrip() + "\n\n", imports)
