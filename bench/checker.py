"""How long the judge takes: `python bench/checker.py [operations …]`; seconds of the processor, of one run each."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from pathlib import Path
from random import Random
from statistics import median

sys.path[0] = str(Path(__file__).parents[1] / "tests")  # where this file stands, `checker` would be itself

from checker.simulator import Load, simulate  # noqa: E402  # beside the repository's own tests, not installed
from lowq_conformance.history import Op, check  # noqa: E402
from lowq_conformance.judge import check as judge  # noqa: E402
from lowq_conformance.keys import per_key  # noqa: E402
from lowq_conformance.patterns import fast_check  # noqa: E402
from lowq_conformance.search import wgl  # noqa: E402
from lowq_conformance.shrink import minimise  # noqa: E402
from lowq_conformance.spec import Spec  # noqa: E402

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


def large(count: int) -> None:
    """The parts of a judgement on a long history."""
    for unknown in (0.0, 0.0002):
        history = long_history(count, unknown)
        gc.collect()
        gc.freeze()
        gc.disable()
        start = time.process_time()
        check(history)
        formed = time.process_time()
        accusations = fast_check(history, SPEC)
        fast = time.process_time()
        keys = per_key(history, SPEC)
        end = time.process_time()
        gc.enable()
        lost = sum(op.result is None for op in history)
        print(
            f"{len(history):>9,} operations, {lost} unknown: well-formed {formed - start:.2f} s, "
            f"fast conditions {fast - formed:.2f} s, {keys.searched:,} keys alone {end - fast:.2f} s, "
            f"together {end - start:.2f} s; {len(accusations) + len(keys.bad)} accusations, {keys.unknown} undecided"
        )
        start = time.process_time()
        verdict = judge(history, SPEC).verdict
        print(f"{'':>9} judged in {time.process_time() - start:.2f} s: {verdict}")


def small(histories: int) -> None:
    """The complete search of many histories of 60 operations, and the proofs of bad ones."""
    times, configs, given_up, proofs = [], [], 0, []
    sizes = []
    for seed in range(histories):
        bug = "" if seed % 2 else "lost push"
        load = Load(
            processes=4, ops=60, kills=0.02 if seed % 3 == 0 else 0.0, bug=bug, fault=0.1, drain=seed % 4 == 0
        )
        history = simulate(Random(seed), SPEC, load)
        start = time.process_time()
        found = wgl(history, SPEC)
        times.append(time.process_time() - start)
        configs.append(found.configs)
        given_up += found.verdict is None
        if found.verdict is False:
            start = time.process_time()
            sizes.append(len(minimise(history, SPEC)))
            proofs.append(time.process_time() - start)
    print(
        f"{histories} histories of 60 operations: median {median(times) * 1e3:.1f} ms, worst {max(times):.2f} s, "
        f"{sum(configs) / histories:.0f} configurations each, {given_up} given up"
    )
    print(f"proofs: median {median(sizes):g} operations in {median(proofs) * 1e3:.0f} ms, worst {max(proofs):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("operations", type=int, nargs="*", default=[100_000, 1_000_000])
    for count in parser.parse_args().operations:
        large(count)
    small(300)


if __name__ == "__main__":
    main()
