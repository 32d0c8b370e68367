"""The fuzzer of the API: any call with any odd values, on every backend; what is refused is refused by name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from bench.fuzz.applications import testing_calls, worker_calls
from bench.fuzz.calls import (
    Call,
    backend_calls,
    clock_calls,
    opening_calls,
)
from bench.fuzz.judge import RawError, judge
from bench.fuzz.values import odd, one_of_these


@contextmanager
def calls_in(folder: Path) -> Iterator[list[Call]]:
    """Every call, on queues in that folder, which is the working directory meanwhile."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        with ExitStack() as stack:
            calls = [
                *(
                    each
                    for kind in ("memory://q", str(folder / "q.db"), f"files://{folder}/q")
                    for each in backend_calls(kind)
                ),
                *opening_calls(folder),
                *clock_calls(folder),
                *worker_calls(folder),
            ]
            (folder / "tests").mkdir()
            yield [*calls, *testing_calls(stack, folder / "tests")]
    finally:
        os.chdir(before)


@st.composite
def call_with_values(draw: st.DrawFn, calls: list[Call]) -> tuple[Call, dict[str, Any]]:
    """A call and its arguments, of which one is odd, or now and then several."""
    call = draw(one_of_these(calls))
    names = sorted(call.usual) or ["message"]
    chosen = draw(
        st.lists(st.sampled_from(names), min_size=1, max_size=2 if draw(st.integers(0, 3)) else 4, unique=True)
    )
    given = {}
    for name in names:
        if name in chosen:
            also = call.also.get(name)
            given[name] = draw(odd if also is None else st.one_of(one_of_these(also), odd))
        elif call.usual.get(name) and draw(st.booleans()):
            given[name] = draw(one_of_these(call.usual[name]))
    return call, given


def check(call: Call, given: dict[str, Any]) -> bool:
    """Whether the call was refused. Raises RawError where it ended otherwise than it may."""
    names = {called for name in given for called in call.called.get(name, (name,))}
    if call.prepare is not None:
        call.prepare()
    try:
        if not call.usual:
            return judge(call.name, names, lambda: call.make(given["message"]), kept=call.kept)
        return judge(call.name, names, lambda: call.make(**given), kept=call.kept)
    except RawError as error:
        raise RawError(
            f"{error}\nwith {', '.join(f'{name}={_told(given[name])}' for name in given)}"
        ) from error.__cause__


def _told(value: object) -> str:
    try:
        return ascii(value)[:200]
    except BaseException:
        return f"a {type(value).__name__}"
