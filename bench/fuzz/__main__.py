"""Fuzz the API or the command: python -m bench.fuzz api --seconds 600.

api      every public call, with odd values for every argument and option, on queues in memory, SQLite and files
command  every command and option of lowq, with odd words, standard input and encodings

What is refused must be refused by one of lowq's errors, or a TypeError or ValueError that names the argument and what
was expected; the command ends with one of its exit codes, a message and no traceback. What was refused wrote nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from bench.fuzz import api, command
from bench.fuzz.judge import RawError
from lowq import SystemClock

ROUND = 500
"""Examples of one run of Hypothesis, each with another seed."""


class Fuzzer:
    """What draws an example, and what tries it; `tried` and `refused` count."""

    def __init__(self, stack: ExitStack, kind: str, folder: Path) -> None:
        self.tried = self.refused = 0
        self.found: Counter[str] = Counter()
        if kind == "api":
            calls = stack.enter_context(api.calls_in(folder))
            self.examples: Any = api.call_with_values(calls)
            self._check: Callable[..., bool] = api.check
        else:
            self.examples = command.command_lines(folder)
            self._check = command.Runner(folder).check

    def run(self, examples: int, seed: int) -> None:
        """So many examples were tried; of each kind that ended otherwise than it may, the first was written."""

        @hypothesis.seed(seed)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(self.examples)
        def attempt(example: Any) -> None:
            self.tried += 1
            try:
                self.refused += self._check(*example)
            except RawError as error:  # not raised: what a call meets depends on those before it, and shrinks badly
                kind = str(error).partition("\n")[0]
                self.found[kind] += 1
                if self.found[kind] == 1:
                    sys.stderr.write(f"{error}\n")

        attempt()


def main() -> int:
    """Fuzz for that long, or so many examples; 1 where something was not refused by name."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("api", "command"))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--examples", type=int, help="so many, however long that takes")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--json", action="store_true", help="the figures as one JSON object")
    asked = parser.parse_args()
    left = SystemClock().countdown(timedelta(seconds=asked.seconds))
    with tempfile.TemporaryDirectory(prefix="lowq-fuzz-") as folder, ExitStack() as stack:
        fuzzer, seed = Fuzzer(stack, asked.what, Path(folder).resolve()), asked.seed
        while fuzzer.tried < (asked.examples or sys.maxsize) and (asked.examples or left() > timedelta(0)):
            fuzzer.run(min(ROUND, asked.examples or ROUND), seed)
            seed += 1
    raw = len(fuzzer.found)
    if asked.json:
        print(json.dumps({"fuzz": asked.what, "tried": fuzzer.tried, "refused": fuzzer.refused, "raw": raw}))
    else:
        print(f"{asked.what}: {fuzzer.tried} calls, {fuzzer.refused} refused by name, {raw} otherwise")
    return int(raw > 0)


if __name__ == "__main__":
    sys.exit(main())
