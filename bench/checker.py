"""How long the judge takes: `python bench/checker.py [operations …]`; the least seconds of the processor."""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from random import Random
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

sys.path[0] = str(Path(__file__).parents[1] / "tests")  # where this file stands, `checker` would be itself

from conformance.checker.mutants import mutated  # noqa: E402  # beside the repository's own tests, not installed
from conformance.checker.simulator import BUGS, Load, simulate, varied  # noqa: E402
from lowq_conformance.checker.bad_patterns import fast_check  # noqa: E402
from lowq_conformance.checker.partition import search_each_work  # noqa: E402
from lowq_conformance.checker.shrink import minimise  # noqa: E402
from lowq_conformance.checker.wgl import wgl  # noqa: E402
from lowq_conformance.history.jsonlines import write  # noqa: E402
from lowq_conformance.history.operation import Op, check  # noqa: E402
from lowq_conformance.history.spec import Spec  # noqa: E402
from lowq_conformance.history.work_text import work_text  # noqa: E402
from lowq_conformance.support.gc_pause import not_collected  # noqa: E402

SPEC = Spec("until_done", grace=30.0)


def long_history(ops: int, unknown: float = 0.0) -> list[Op]:
    """What a sound queue did for several processes, with hot works and works pushed once."""
    load = Load(
        processes=6, ops=ops, works=50, unique=0.6, lease=60.0, kills=unknown, delays=0.05, drain=True, pushes=0.4
    )
    gc.disable()
    history = sorted(simulate(Random(1), SPEC, load), key=lambda op: op.call)
    gc.enable()
    return history


def large(count: int, rounds: int) -> None:
    """The parts of a judgement on a long history, and the whole of it as it is typed, from a file."""
    for unknown in (0.0, 0.0002):
        history = long_history(count, unknown)
        gc.collect()
        gc.freeze()
        parts = [judged(history) for _ in range(rounds)]
        formed, fast, keys = (min(each) for each in zip(*parts, strict=True))
        lost = sum(op.result is None for op in history)
        print(
            f"{len(history):>9,} operations, {lost} unknown: well-formed {formed:.2f} s, "
            f"fast conditions {fast:.2f} s, works alone {keys:.2f} s, together {min(map(sum, parts)):.2f} s"
        )
        typed(history)


def judged(history: list[Op]) -> tuple[float, float, float]:
    """Seconds of the processor: whether it is well-formed, the fast conditions, each work alone."""
    with not_collected():
        start = time.process_time()
        check(history)
        formed = time.process_time()
        if fast_check(history, SPEC):
            sys.exit("a sound queue was accused")
        fast = time.process_time()
        if search_each_work(history, SPEC).bad:
            sys.exit("a sound queue was accused")
        return formed - start, fast - formed, time.process_time() - fast


def typed(history: list[Op]) -> None:
    """`lowq check --history FILE` in a process of its own: seconds, and the most memory that it had."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "history.jsonl"
        with open(file, "w", encoding="utf-8") as lines:
            lines.writelines(f"{line}\n" for line in write(map(spelled_out, history), SPEC))
        size = file.stat().st_size / 1e6
        before, start = getrusage(RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-m", "lowq", "check", "--history", str(file)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after, wall = getrusage(RUSAGE_CHILDREN), time.perf_counter() - start
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = after.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    print(f"{'':>9} lowq check --history, {size:,.0f} MB: {wall:.1f} s, {cpu:.1f} s of the processor, {peak:,.0f} MB")


def spelled_out(op: Op) -> Op:
    """The operation with its work as JSON, which the simulator leaves bare."""
    work = work_text(op.work) if op.work else ""
    return replace(op, work=work, equal=work if op.kind == "push" else "")


def small(histories: int) -> None:
    """The complete search of small histories of sound and buggy queues, a quarter of them mutated, and the proofs of
    the bad ones: as the checker's tests draw them, and an eighth as many with 60 operations or more, of which up to
    an eighth is unknown."""
    searched("as drawn for the tests", (drawn(seed) for seed in range(histories)))
    searched("harder", (drawn(seed, hard=True) for seed in range(histories // 8)))


def drawn(seed: int, hard: bool = False) -> tuple[list[Op], Spec]:
    """What some queue did for some load."""
    random = Random(seed)
    bug = random.choice(["", "", *BUGS])
    words: dict[str, Any] = {}
    if hard:
        words = {"ops": 60, "kills": random.choice([0, 0.02, 0.05, 0.1]), "raises": random.choice([0, 0.05])}
    spec, load = varied(random, bug=bug, **words)
    history = simulate(random, spec, load)
    return mutated(random, history) if random.random() < 0.25 else history, spec


def searched(kind: str, histories: Iterable[tuple[list[Op], Spec]]) -> None:
    """Seconds of the processor for each history, and for the proof of some."""
    times: dict[str, list[float]] = {"at most 60": [], "more": []}
    given_up = {"at most 60": 0, "more": 0}
    proofs, sizes = [], []
    for number, (history, spec) in enumerate(histories):
        start = time.process_time()
        found = wgl(history, spec)
        length = "more" if len(history) > 60 else "at most 60"
        times[length].append(time.process_time() - start)
        given_up[length] += found.verdict is None
        if found.verdict is False and number % 10 == 0:
            start = time.process_time()
            sizes.append(len(minimise(history, spec)))
            proofs.append(time.process_time() - start)
    for length, each in times.items():
        each.sort()
        p50, p99 = (each[int(len(each) * part)] * 1e3 for part in (0.5, 0.99))
        print(
            f"complete search of {len(each):,} histories of {length} operations, {kind}: p50 {p50:.1f} ms, "
            f"p99 {p99:.0f} ms, most {each[-1]:.2f} s, {given_up[length]} given up"
        )
    print(f"proofs: median {median(sizes):g} operations in {median(proofs) * 1e3:.0f} ms, most {max(proofs):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("operations", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3, help="of each the least is shown")
    parser.add_argument("--histories", type=int, default=16_000, help="small ones")
    asked = parser.parse_args()
    for count in asked.operations:
        large(count, asked.rounds)
    if asked.histories:
        small(asked.histories)


if __name__ == "__main__":
    main()
