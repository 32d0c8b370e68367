"""The program of a clause that some calls in a row break: those of its evidence, and an assertion."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable

from lowq_conformance.report.report import ClauseReport
from lowq_conformance.run.harness_facts import Facts, NoProgram, write_head

REMARK = re.compile(r"(?P<code>.*?) *  # (?P<said>.*)")
EXPECTED = re.compile(r"(?:(?P<got>.*), )?expected (?P<right>.*)")
TIMES = re.compile(r"(?:(?P<got>.*), )?(?P<times>[\d,]+) times")
PLACE = re.compile(r"place\d+")
"""The places after the first one."""
MORE = {
    "start(": "workers of the queue's own",
    "the next turn of the handler": "workers of the queue's own",
    "transaction(": "a transaction of the application's",
    "address=": "a server that goes away",
    "server.": "a server that goes away",
}
"""What else some calls of evidence are made of, by how they are written."""
MOMENT = re.compile(r"\s*[\d,.]+ (ns|µs|ms|s) ")
"""How the lines of a history begin that has many clients."""
MET = "it was seen where many clients met, at instants that no program can choose"
NAMES = frozenset("open pass_time now place time timedelta datetime timezone Item UTC nan inf".split())
"""What the calls of evidence are made of, beside the names that they assign."""
AWAITED = (
    "open close pass_time push push_many claim peek tasks count cancel redrive ack release extend"
    " dead_letter next_due"
).split()
HANDED_OUT = ("claim", "peek")
"""What they answer is None, or has a work."""
FIELDS = {"push": "added"}
"""What of an answer is told; a client may also answer with the bare value."""
MANY = {"push_many": "added", "tasks": "work"}
"""The same of lists of answers."""
WORDS = {"": "None", "a task": "not None", "added": "True", "not added": "False"}
"""How evidence says these values."""
REFUSED = "it to be refused"
NONE_TASK = "a task whose work is None"
ONE_OF = "one of "
REASONED = re.compile(r"(added|not added|a task|None|True|False), .*")
"""A value and why it is expected."""
COUNTED = re.compile(r"(\d+) (scheduled|ready|leased|dead)")
ATTEMPTS = re.compile(r"attempts (\d+)(, not .*)?")
HEADER = re.compile(r"the header (?P<name>'[^']*'): (?P<value>'[^']*'), not .*")

CALL = """
loop = asyncio.new_event_loop()


def call(answer):
    return loop.run_until_complete(answer) if inspect.isawaitable(answer) else answer

"""


def write_call_program(clause: ClauseReport, facts: Facts) -> str:
    """The calls of the evidence, up to the one whose answer is wrong, which is asserted. Raises NoProgram."""
    if "cut off by a kill" in clause.evidence:
        raise NoProgram("a call was cut off by a kill, at an instant that no program can choose")
    if MOMENT.match(clause.evidence):
        raise NoProgram(MET)
    lines: list[str] = []
    emptied: tuple[str, int, int] | None = None
    """The call just before, its place among the lines, and how often it was made, where it only answered None."""
    translation = Translation(facts)
    program, _, sentence = clause.evidence.partition("\n\n")
    for line in program.splitlines():
        found = REMARK.fullmatch(line)
        code, said = (found["code"].rstrip(), found["said"]) if found else (line.rstrip(), "")
        if (more := next((word for word in MORE if word in code), None)) is not None:
            raise NoProgram(f"it takes more than clients: {MORE[more]}")
        if code.startswith("# …"):
            raise NoProgram("it takes more calls than are told")
        if code.startswith("#"):
            raise NoProgram(f"it takes more than calls: {code.removeprefix('# ')}")
        if "…" in code:
            raise NoProgram("it takes a value that is too long to be told whole")
        if said == "did not return":
            raise NoProgram("it takes a call that does not return")
        label, call, verb = translation.translate(code)
        wrong = EXPECTED.fullmatch(said)
        if wrong is not None:
            asking = [f"got = {call}"]
            if emptied and emptied[0] == call and wrong["got"] == "None":  # a sound queue may answer any of them
                lines, asking = lines[: emptied[1]], ask_again(call, emptied[2])
            lines += assert_answer(call, verb, wrong["got"] or "", wrong["right"], asking)
        elif said.startswith("raised ") and sentence.startswith(f"{code} raised "):
            lines += assert_returns(call)
        else:
            times = TIMES.fullmatch(said)
            emptied = None
            if times and times["got"] == "None":
                emptied = call, len(lines), int(times["times"].replace(",", ""))
            lines += repeat(f"{label}{call}", said)
            continue
        return finish(clause, facts, lines)
    raise NoProgram("no answer is wrong by itself: it comes of several answers together")


class Translation(ast.NodeTransformer):
    """Calls of evidence become calls of the harness."""

    def __init__(self, facts: Facts) -> None:
        self.asynchronous = facts.asynchronous
        self.known = set(NAMES)
        self.ours = {
            "open": facts.opens,
            "pass_time": "harness.pass_time",
            "now": "harness.now(place)" if facts.now else "datetime.now(UTC)",
            "nan": "float('nan')",
            "inf": "float('inf')",
        }

    def translate(self, code: str) -> tuple[str, str, str]:
        """What the line assigns to, with the sign of equality, its call, and the verb. Raises NoProgram."""
        try:
            body = ast.parse(code).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise NoProgram(f"`{code.strip()}` is no text of a program") from None
        match body:
            case [ast.Expr(value=ast.Call() as call)]:
                label = ""
            case [ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call)]:
                label = f"{name} = "
                self.known.add(name)
            case _:
                raise NoProgram(f"`{code}` is no call")
        verb = verb_of(call)
        return label, ast.unparse(ast.fix_missing_locations(self.visit(call))), verb

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id not in self.known and not PLACE.fullmatch(node.id):
            raise NoProgram(f"`{node.id}` is no text of a program")
        return ast.parse(self.ours.get(node.id, node.id), mode="eval").body

    def visit_Call(self, node: ast.Call) -> ast.AST:
        awaited = self.asynchronous and verb_of(node) in AWAITED
        self.generic_visit(node)
        return ast.Call(ast.Name("call"), [node], []) if awaited else node


def verb_of(call: ast.Call) -> str:
    """The name of what is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def repeat(line: str, said: str) -> list[str]:
    """The line, as often as it was made, and going on where it raised."""
    times = TIMES.fullmatch(said)
    lines = [line]
    if ((times["got"] or "") if times else said).startswith("raised"):
        lines = ["with suppress(Exception):", f"    {line}"]
    if times:
        lines = [f"for _ in range({times['times'].replace(',', '')}):", *(f"    {each}" for each in lines)]
    return lines


def assert_returns(call: str) -> list[str]:
    """The call is made, and raises nothing."""
    return [
        "try:",
        f"    {call}",
        "except Exception as error:",
        '    raise AssertionError(f"raised {error!r}") from error',
    ]


def ask_again(call: str, times: int) -> list[str]:
    """The call is made so often and once more, until it answers something."""
    return [
        f"for _ in range({times + 1}):",
        f"    got = {call}",
        "    if got is not None:",
        "        break",
        "    time.sleep(0.01)",
    ]


def assert_answer(call: str, verb: str, got: str, right: str, asking: list[str]) -> list[str]:
    """The call is made, and its answer is the right one; `asking` are the lines that make it and know what it `got`.

    Raises NoProgram where that cannot be told in a line.
    """
    expected = f"expected {right}"
    if right.partition(":")[0] == REFUSED:
        return [
            "try:",
            f"    refused = {call} is False",
            "except Exception:",
            "    refused = True",
            f"assert refused, {quote(f'{call} was taken, {expected}')}",
        ]
    if got.startswith("raised "):
        name = got.removeprefix("raised ").partition(":")[0]
        return [
            "raised = ''",
            "try:",
            f"    {call}",
            "except Exception as error:",
            "    raised = type(error).__name__",
            f"assert raised != {name!r}, {quote(f'raised {name}, {expected}')}",
        ]
    told = f"f{quote('got {got!r}, ' + escape(expected))}"
    counted, attempts, value = COUNTED.fullmatch(right), ATTEMPTS.fullmatch(right), find_value(right)
    allowed = find_allowed(right)
    lines = [*asking]
    if counted is not None:
        return [*lines, f"assert got.{counted[2]} == {counted[1]}, {told}"]
    if attempts is not None:
        return [*lines, f"assert getattr(got, 'task', got).attempts == {attempts[1]}, {told}"]
    if (header := HEADER.fullmatch(right)) is not None:
        return [
            *lines,
            f"assert getattr(got, 'task', got).headers.get({header['name']}) == {header['value']}, {told}",
        ]
    if right == NONE_TASK:
        return [*lines, f"assert got is not None and got.work is None, {quote(expected)}"]
    if value is None and allowed is None:
        raise NoProgram("what is wrong with the answer cannot be said in a line of a program")
    if verb in MANY:
        lines += [f"got = [getattr(each, {MANY[verb]!r}, each) for each in got]"]
    elif verb in FIELDS:
        lines += [f"got = getattr(got, {FIELDS[verb]!r}, got)"]
    elif verb in HANDED_OUT and value == "None":  # a task whose work is None is a task
        return [*lines, f"assert got is None, f{quote('got {got.work!r}, ' + escape(expected))}"]
    elif verb in HANDED_OUT and value != "not None":
        lines += ["got = None if got is None else got.work"]
    if value is None:
        return [*lines, f"assert got in {allowed}, {told}"]
    return [*lines, f"assert {compare(value, find_value(got))}, {told}"]


def find_allowed(text: str) -> str | None:
    """The list of values of which the text says that it is one; None where it does not."""
    if not text.startswith(ONE_OF):
        return None
    try:
        return repr(json.loads(f"[{text.removeprefix(ONE_OF)}]"))
    except ValueError:
        return None


def find_value(text: str) -> str | None:
    """The value that the text says; None where it says none, or says more than a value."""
    if (reasoned := REASONED.fullmatch(text)) is not None:
        text = reasoned[1]
    if text in WORDS:
        return WORDS[text]
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return text


def compare(value: str, wrong: str | None) -> str:
    """What is true of an answer that is this value, and not of the wrong one, which may equal it: 1 and 1.0."""
    if value in ("True", "False", "None", "not None"):
        return f"got is {value}"
    if wrong not in (None, "not None") and ast.literal_eval(wrong or "") == ast.literal_eval(value):
        return f"repr(got) == {value!r}"
    return f"got == {value}"


def escape(text: str) -> str:
    """The text as a part of an f-string."""
    return text.replace("{", "{{").replace("}", "}}")


def quote(text: str) -> str:
    """The text as a literal in double quotes, which may be an f-string's."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def finish(clause: ClauseReport, facts: Facts, lines: list[str], helper: str = "", more: Iterable[str] = ()) -> str:
    """The whole program, which has these functions and imports, too."""
    body = "\n".join(lines)
    imports = {*more, *(["from contextlib import suppress"] if "suppress(" in body else [])}
    imports |= {"from lowq import Item"} if "Item(" in body else set()
    imports |= {"import time"} if "time.sleep(" in body else set()
    times = [
        name for name in ("UTC", "datetime", "timedelta", "timezone") if re.search(rf"\b{name}\b", body + helper)
    ]
    imports |= {f"from datetime import {', '.join(times)}"} if times else set()
    imports |= {"import asyncio", "import inspect"} if facts.asynchronous else set()
    head = write_head(clause, facts, imports)
    helper = CALL if facts.asynchronous else helper
    named = ["place", *sorted(set(re.findall(r"\bplace\d+\b", body)))]
    places = "\n".join(f"{name} = Path(tempfile.mkdtemp())" for name in named)
    return f"{head}\n{places}\n{helper}\n{body}\n"
