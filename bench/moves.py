"""`lowq move` between all kinds of locations, killed at random and run again: python -m bench.moves --rounds 3.

Each move is a process that gets SIGKILL somewhere on its way, twice, and is then run to its end. What lies at the
target afterwards is what lay at the source, in its order, with all that belongs to a task; a task that a worker has
stays with it, and is acknowledged at last. Prints one figure, and ends with exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from bench.http import serving
from lowq import Backend, State, Task, moving, open_backend
from lowq.cli import main as lowq
from lowq.testing.servers.postgres import postgres_server
from lowq.testing.servers.valkey import valkey_server

HOUR = timedelta(hours=1)
KINDS = ("sqlite", "files", "postgres", "valkey", "http")
LATER = datetime(2035, 1, 1, tzinfo=UTC)

Places = Callable[[str, str], str]


def fill(queue: Backend, amount: int) -> None:
    """Tasks of every kind: scheduled, dead, urgent, keyed, tried before, with headers; none of them leased."""
    for number in range(amount):
        kind = number % 7
        queue.push(
            {"number": number, "text": "ü\0" * kind},
            key=f"key {number}" if kind == 1 else None,
            priority=kind - 3,
            not_before=LATER if kind == 2 else None,
            headers={"trace": str(number)} if kind == 4 else None,
        )
    for number, lease in enumerate(queue.claim_many(amount // 4, lease_for=HOUR)):
        if number % 2:
            queue.dead_letter(lease, reason="gave up")
        else:
            queue.release(lease, reason="again", not_before=LATER if number % 3 == 0 else None)


def content(queue: Backend) -> dict[State, list[Task]]:
    """What can be moved, in order: by state."""
    states = (State.READY, State.SCHEDULED, State.DEAD)
    return {state: [replace(task, id="") for task in queue.tasks(state=state)] for state in states}


def move(source: str, target: str, name: str, *more: str, kill_after: float | None = None) -> int:
    """The exit code of a `lowq move` in a process of its own; less than zero where it was killed first."""
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os._exit(lowq(["move", source, target, "--name", name, *more]))
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def trial(source: str, target: str, name: str, random: Random) -> tuple[list[str], int]:
    """What went wrong, and how many moves were killed on their way."""
    faults, killed = [], 0
    with closing(open_backend(source, name=name)) as old:
        fill(old, 60)
        lease = old.claim(lease_for=HOUR)
        assert lease is not None
        wanted = content(old)
        if move(source, target, name) != 1 or content(old) != wanted:
            faults.append("moved while a worker had a task")
        for _ in range(2):
            killed += move(source, target, name, "--leased", "leave", kill_after=random.uniform(0.02, 0.4)) < 0
        if (code := move(source, target, name, "--leased", "leave")) != 1:  # 1: one is left
            faults.append(f"exit code {code}")
        if [task.id for task in old.tasks()] != [lease.id]:
            faults.append(f"left at the source: {old.tasks()}")
        old.ack(lease)
        if (code := move(source, target, name)) != 0:
            faults.append(f"exit code {code} with nothing left")
    with closing(open_backend(target, name=name)) as new:
        came = content(new)
        for state, tasks in wanted.items():
            if came[state] != tasks:
                faults.append(f"{state}: {len(tasks)} tasks became {len(came[state])}, or others")
        if new.push({"number": 1, "text": "another"}, key="key 1").added:
            faults.append("a key that stands was not known")
    return faults, killed


def main() -> int:
    choices = _arguments()
    moving.TOGETHER = 10  # so that a move has many steps
    random = Random(choices.seed)
    killed = moved = 0
    broken: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kinds = choices.kind or KINDS
        urls = {kind: [f"{kind}://{folder}/{kind}-{part}?durability=process" for part in range(2)] for kind in kinds}
        if "postgres" in kinds:
            postgres = stack.enter_context(postgres_server())
            urls["postgres"] = [postgres.url(postgres.fresh()) for _ in range(2)]
        if "valkey" in kinds:
            valkey = stack.enter_context(valkey_server())
            urls["valkey"] = [valkey.fresh() for _ in range(2)]
        if "http" in kinds:
            urls["http"] = [stack.enter_context(serving(str(folder / f"{part}-served.db"))) for part in range(2)]
        for round in range(choices.rounds):
            for source in kinds:
                for target in kinds:
                    name = f"{source}-{target}-{round}"
                    faults, more = trial(urls[source][0], urls[target][1], name, random)
                    broken += [f"{source} to {target}: {fault}" for fault in faults]
                    killed += more
                    moved += 1
    for line in broken:
        print(line, file=sys.stderr)
    print(f"{moved} queues moved, {killed} moves killed on their way, {len(broken)} faults (seed {choices.seed})")
    return int(bool(broken))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.moves", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=1, help="how often each pair has its turn")
    parser.add_argument("--kind", action="append", choices=KINDS, help="only between these; repeatable")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
