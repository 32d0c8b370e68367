"""No loop jumps back out of the `try` or `with` around it.

Since CPython 3.12 a condition that decides whether a loop goes round, at its end or in a comprehension, is compiled
to a jump of its own, which the table of handlers leaves out; since 3.13 signals are looked for right there. What a
signal's handler raises at that point passes by every `finally`, `except` and `with` of the function: a lock stays
locked, a change half done. A loop in a function of its own is safe, as the call is guarded; so is a `while True` that
ends in a plain statement.
"""

from __future__ import annotations

import ast
import dis
import sys
from collections.abc import Iterator
from itertools import pairwise
from types import CodeType

import pytest
from test_rooms import FILES

Span = tuple[int, int]
CONDITIONS = ("POP_JUMP", "NOT_TAKEN")
"""How the names of instructions begin that stand before a jump which a condition decides about."""


def guarded_blocks(tree: ast.AST) -> list[Span]:
    """The lines of each block after which something has to be done, whatever is raised in it."""
    spans = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            matters = bool(node.finalbody) or any(map(takes_all, node.handlers))
        elif isinstance(node, ast.With | ast.AsyncWith):
            matters = not all(map(suppresses, node.items))
        else:
            continue
        if matters:
            spans.append((node.body[0].lineno, last_line(node.body)))
    return spans


def takes_all(handler: ast.ExceptHandler) -> bool:
    """Whether what a signal's handler raises is caught by it: there is no saying what that is, but it is no error."""
    return handler.type is None or "BaseException" in ast.unparse(handler.type)


def suppresses(item: ast.withitem) -> bool:
    """Whether all that it does at the end is to forget some error."""
    return ast.unparse(item.context_expr).startswith(("suppress(", "Suppressed("))


def last_line(body: list[ast.stmt]) -> int:
    return body[-1].end_lineno or body[-1].lineno


def functions(tree: ast.AST) -> list[Span]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.GeneratorExp
    return [(node.lineno, node.end_lineno or node.lineno) for node in ast.walk(tree) if isinstance(node, kinds)]


def escapes(source: str) -> list[int]:
    """The lines in which a loop jumps back past the handler of a block that has to do something at its end."""
    tree = ast.parse(source)
    blocks, inner = guarded_blocks(tree), functions(tree)
    found = set()
    for line in jumps(compile(source, "", "exec")):
        around = [span for span in inner if span[0] <= line <= span[1]]
        start = max((span[0] for span in around), default=0)
        if any(max(start, first) <= line <= last and first > start for first, last in blocks):
            found.add(line)
    return sorted(found)


def jumps(code: CodeType) -> Iterator[int]:
    """The line of each jump back that another handler guards, or none, than the start of its loop."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from jumps(constant)
    if not code.co_exceptiontable:
        return
    table = dis._parse_exception_table(code)  # type: ignore[attr-defined]  # the only one who tells

    def guard(offset: int) -> int | None:
        return next((entry.target for entry in table if entry.start <= offset < entry.end), None)

    for before, jump in pairwise(dis.get_instructions(code)):
        if jump.opname != "JUMP_BACKWARD" or not before.opname.startswith(CONDITIONS) or jump.positions is None:
            continue
        if guard(int(jump.argval)) not in (None, guard(jump.offset)):
            yield jump.positions.lineno or 0


UNSAFE = """
with lock:
    for each in some:
        if each:
            print(each)
"""
SAFE = """
def all_of(some):
    for each in some:
        if each:
            print(each)

with lock:
    all_of(some)
with suppress(OSError):
    while some:
        print(some.pop())
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a condition jumps back by itself there, guarded as all else")
def test_a_loop_that_jumps_past_its_handler_is_found() -> None:
    assert escapes(UNSAFE) == [4]
    assert escapes(SAFE) == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a condition jumps back by itself there, guarded as all else")
def test_no_loop_jumps_past_the_handler_that_has_to_clean_up_behind_it() -> None:
    found = {}
    for name, file in FILES.items():
        if name.startswith("lowq_conformance."):  # it is no part of anybody's program
            continue
        if lines := escapes(file.read_text()):
            found[name] = lines

    assert found == {}
