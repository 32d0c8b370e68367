"""How well the suite bites: `python -m bench.power`, `--help` for the choices.

Every broken queue is looked at with many seeds, the clauses that it breaks only, and every sound queue as a whole,
all in the default profile unless `--profile` says otherwise; with `--less`, sound queues that lack one thing that
others have, or two. A broken queue is caught at a seed when each clause that it breaks is found broken. The suite is
good enough when every one is caught in 19 of 20 seeds, and of no sound queue anything is ever found broken or not
observed; of one that lacks something, nothing is ever found broken.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

from lowq_conformance.contract.profile import DEFAULT, PROFILES
from lowq_conformance.contract.promises import PROMISES
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.queues.broken import BROKEN, BrokenQueue
from lowq_conformance.queues.sound import less
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.report import machine
from bench.trials import Outcome, Outcomes, Trial, carry_out

SOUND = {
    "memory": "memory",
    "sqlite": "sqlite",
    "journal": "lowq_conformance.queues.sound.journal:Journal",
    "folder": "lowq_conformance.queues.sound.folder:Folder",
    "table": "lowq_conformance.queues.sound.table:Table",
    "spool": "lowq_conformance.queues.sound.spool:Spool",
    "with room": "lowq_conformance.queues.sound.bounded:WithRoom",
    "waits": "lowq_conformance.queues.sound.waiting:Waits",
    "transactional": "lowq_conformance.queues.sound.transactional:Transactional",
    "asyncio": "lowq_conformance.queues.sound.strangers:Async",
    "loop of its own": "lowq_conformance.queues.sound.strangers:AsyncOnALoopOfItsOwn",
    "locked files": "lowq_conformance.queues.sound.locked_files:LockedFiles",
    "TCP": "lowq_conformance.queues.sound.served:Served",
    "ends leases": "lowq_conformance.queues.sound.strangers:EndsLeases",
    "ids are keys": "lowq_conformance.queues.sound.strangers:IdsAreKeys",
    "ids of rows": "lowq_conformance.queues.sound.strangers:IdsOfRows",
    "fixed lease": "lowq_conformance.queues.sound.strangers:FixedLease",
    "one at a time": "lowq_conformance.queues.sound.strangers:OneAtATime",
    "keys only": "lowq_conformance.queues.sound.strangers:KeysOnly",
    "sets aside": "lowq_conformance.queues.sound.limited:SetsAside",
    "sets aside soon": "lowq_conformance.queues.sound.limited:SetsAsideSoon",
    "gives one try": "lowq_conformance.queues.sound.limited:GivesOneTry",
    "drops": "lowq_conformance.queues.sound.limited:Drops",
    "fences by client": "lowq_conformance.queues.sound.manners:FencesByClient",
    "counts the lost": "lowq_conformance.queues.sound.limited:CountsTheLost",
    "looks at claims": "lowq_conformance.queues.sound.limited:LooksAtClaims",
    "main thread": "lowq_conformance.queues.sound.strangers:MainThread",
    "bulk": "lowq_conformance.queues.sound.bulk:Bulk",
    "two workers": "lowq_conformance.queues.sound.forked:Pair",
    "finds nothing at first": "lowq_conformance.queues.sound.manners:FindsNothingAtFirst",
    "redrives as new": "lowq_conformance.queues.sound.dead:RedrivesAsNew",
}
KINDS = {
    "race": "races",
    "race_changes": "races",
    "race_keys": "races",
    "listing": "races",
    "drivers": "races",
    "crash": "kills",
    "crash_keys": "kills",
    "worker": "workers",
    "lasting": "workers",
    "waiting": "waits",
    "interrupt": "interrupts",
    "served": "servers",
    "standing": "stopped",
    "coroutines": "coroutines",
}
"""What the broken queues of a module are called; all others are broken for one client at a time."""
ALONE = "one client"
ENOUGH = 19 / 20
WIDTH = 150
"""Columns of a table that goes to a file."""


@dataclass(frozen=True, slots=True)
class Catch:
    """A broken queue, and what was seen of it, one outcome for each seed."""

    queue: BrokenQueue
    outcomes: tuple[Outcome, ...]

    @property
    def kind(self) -> str:
        return kind_of(self.queue)

    def times(self, *clauses: str) -> int:
        """At how many seeds all these clauses were found broken."""
        return sum({*clauses} <= {*outcome.has(Verdict.BROKEN)} for outcome in self.outcomes)

    @property
    def caught(self) -> int:
        """At how many seeds everything was found that is wrong."""
        return self.times(*self.queue.clauses)

    @property
    def enough(self) -> bool:
        return self.caught >= ENOUGH * len(self.outcomes)

    def as_json(self) -> dict[str, Any]:
        return {
            "queue": self.queue.name,
            "fault": self.queue.fault,
            "kind": self.kind,
            "seeds": len(self.outcomes),
            "caught": self.caught,
            "clauses": {clause: self.times(clause) for clause in self.queue.clauses},
            "missed": [o.seed for o in self.outcomes if not {*self.queue.clauses} <= {*o.has(Verdict.BROKEN)}],
        }


@dataclass(frozen=True, slots=True)
class Trust:
    """A sound queue, and what was seen of it, one outcome for each run."""

    name: str
    outcomes: tuple[Outcome, ...]

    def saw(self, verdict: Verdict) -> list[tuple[int, str]]:
        """The seeds and clauses of that verdict."""
        return [(outcome.seed, clause) for outcome in self.outcomes for clause in outcome.has(verdict)]

    @property
    def enough(self) -> bool:
        return not self.saw(Verdict.BROKEN) and not self.saw(Verdict.NOT_OBSERVED)

    def as_json(self) -> dict[str, Any]:
        return {
            "queue": self.name,
            "runs": len(self.outcomes),
            "seeds": sum(outcome.seeds for outcome in self.outcomes),
            "clauses": max((len(outcome.has(Verdict.KEPT)) for outcome in self.outcomes), default=0),
            "accused": self.saw(Verdict.BROKEN),
            "not observed": self.saw(Verdict.NOT_OBSERVED),
        }


@dataclass(frozen=True, slots=True)
class TrustOfLess(Trust):
    """A sound queue that lacks something; what its runs did not come to see is no fault of theirs."""

    @property
    def enough(self) -> bool:
        return not self.saw(Verdict.BROKEN)


def main() -> int:
    choices = arguments()
    outcomes = Outcomes(choices.results)
    both = not choices.broken and not choices.sound and not choices.less
    queues = chosen(choices) if both or choices.broken else []
    catching = {queue: catches(queue, choices) for queue in queues}
    trusting = {name: runs(name, choices) for name in sounds(choices.only)} if both or choices.sound else {}
    lacking = matrix_of_less(choices) if choices.less else {}
    by_seed = sorted(
        (trial for trials in catching.values() for trial in trials),
        key=lambda trial: (trial.seed, trial.target),
    )
    interrupted = False
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        make([*by_seed, *in_turn(trusting.values()), *in_turn(lacking.values())], outcomes, choices.jobs)
    except KeyboardInterrupt:
        interrupted = True
    caught = [Catch(queue, tuple(outcomes.all(trials))) for queue, trials in catching.items()]
    trusted = [Trust(name, tuple(outcomes.all(trials))) for name, trials in trusting.items()]
    trusted += [TrustOfLess(name, tuple(outcomes.all(trials))) for name, trials in lacking.items()]
    console = Console()
    tell(console if console.is_terminal else Console(width=WIDTH), caught, trusted)
    if choices.json:
        told = {
            "machine": machine(),
            "broken": [c.as_json() for c in caught],
            "sound": [t.as_json() for t in trusted],
        }
        choices.json.write_text(json.dumps(told, indent=2) + "\n")
    if interrupted:
        print(
            "interrupted; the same command goes on from here" if choices.results else "interrupted", file=sys.stderr
        )
        return 130
    enough = all(catch.enough for catch in caught) and all(trust.enough for trust in trusted)
    return 0 if enough else 1


def kind_of(queue: BrokenQueue) -> str:
    """What it takes to see that the queue is broken."""
    return KINDS.get(queue.module.rpartition(".")[2], ALONE)


def chosen(choices: argparse.Namespace) -> list[BrokenQueue]:
    """The broken queues that are asked for."""
    return [
        queue
        for queue in BROKEN.values()
        if (not choices.only or queue.name in choices.only) and choices.kind in (None, kind_of(queue))
    ]


def sounds(only: Sequence[str]) -> list[str]:
    """The sound queues of these names, or all."""
    return [name for name in SOUND if not only or name in only]


def catches(queue: BrokenQueue, choices: argparse.Namespace) -> list[Trial]:
    """The trials of a broken queue."""
    seeds = range(choices.first, choices.first + choices.seeds)
    return [Trial(queue.target, seed, queue.clauses, (Verdict.BROKEN,), choices.profile) for seed in seeds]


def runs(name: str, choices: argparse.Namespace) -> list[Trial]:
    """The trials of a sound queue."""
    return looks(SOUND[name], choices)


def looks(target: str, choices: argparse.Namespace) -> list[Trial]:
    """The trials of a queue of which nothing should be found broken."""
    seeds = range(choices.first, choices.first + choices.runs)
    return [Trial(target, seed, tuple(choices.clauses), profile=choices.profile) for seed in seeds]


def matrix_of_less(choices: argparse.Namespace) -> dict[str, list[Trial]]:
    """The trial of each sound queue without one thing, and with `--pairs` without two, with so many seeds; with
    `--once` of the first queue that can lack it only, promises before what else can be lacked."""
    lacking: dict[str, tuple[str, ...]] = {}
    known: set[frozenset[str]] = set()
    for queue in less.QUEUES:
        if choices.only and queue.__name__.lower() not in choices.only:
            continue
        words = list(dict.fromkeys(less.words_of(queue)))
        for lacks in [*combinations(words, 1), *(combinations(words, 2) if choices.pairs else ())]:
            if not (choices.once and frozenset(lacks) in known):
                lacking[less.lacking(queue, lacks)] = lacks
            known.add(frozenset(lacks))
    targets = sorted(lacking, key=lambda target: choices.once and not {*lacking[target]} <= PROMISES.keys())
    return {
        target.partition(":")[2]: [
            Trial(target, choices.first, tuple(choices.clauses), profile=choices.profile, seeds=choices.runs)
        ]
        for target in targets
    }


def in_turn(all: Iterable[Sequence[Trial]]) -> list[Trial]:
    """The trials of several queues, one of each after the other."""
    return [trial for trials in zip(*all, strict=True) for trial in trials]


def make(trials: Sequence[Trial], outcomes: Outcomes, jobs: int) -> None:
    """All trials were made, and how far they are was shown."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        known = len(list(outcomes.all(trials)))
        bar = progress.add_task("runs of the suite", total=len(trials), completed=known)
        carry_out(trials, outcomes, jobs, lambda seen: progress.advance(bar, len(seen)))


def tell(console: Console, caught: Sequence[Catch], trusted: Sequence[Trust]) -> None:
    """The tables were printed."""
    console.print(machine())
    if caught:
        console.print(details(caught))
        console.print(summary(caught))
    if trusted:
        console.print(soundness(trusted))
        for trust in trusted:
            for outcome in trust.outcomes:
                for clause, evidence in outcome.evidence.items():
                    said = outcome.verdicts[clause]
                    console.print(f"\n{trust.name}, seed {outcome.seed}, {clause}: {said}", style="bold")
                    console.print(evidence, markup=False, highlight=False, soft_wrap=True)


def details(caught: Sequence[Catch]) -> Table:
    """One line for each queue and clause."""
    table = plain("broken queue", "clause", "caught", "of seeds", "seconds", "what is wrong with it")
    for catch in caught:
        for number, clause in enumerate(catch.queue.clauses):
            times = catch.times(clause)
            style = "" if times >= ENOUGH * len(catch.outcomes) else "bold red"
            took = f"{median(o.seconds for o in catch.outcomes):.1f}" if catch.outcomes else ""
            first = number == 0
            table.add_row(
                catch.queue.name if first else "",
                clause,
                str(times),
                str(len(catch.outcomes)),
                took if first else "",
                catch.queue.fault if first else "",
                style=style,
            )
    return table


def summary(caught: Sequence[Catch]) -> Table:
    """One line for each kind of broken queue."""
    table = plain(
        "broken queues", "queues", "seeds each", "caught in 19 of 20", "runs", "runs in which caught", "worst"
    )
    for kind in dict.fromkeys(catch.kind for catch in caught):
        of_kind = [catch for catch in caught if catch.kind == kind]
        made = sum(len(catch.outcomes) for catch in of_kind)
        worst = min(of_kind, key=lambda catch: catch.caught - len(catch.outcomes))
        table.add_row(
            kind,
            str(len(of_kind)),
            span(len(catch.outcomes) for catch in of_kind),
            str(sum(catch.enough for catch in of_kind)),
            str(made),
            str(sum(catch.caught for catch in of_kind)),
            f"{worst.caught} of {len(worst.outcomes)}: {worst.queue.name}" if made else "",
        )
    return table


def soundness(trusted: Sequence[Trust]) -> Table:
    """One line for each sound queue."""
    table = plain("sound queue", "runs", "seeds", "seconds each", "clauses kept", "accusations", "not observed")
    for trust in trusted:
        told = trust.as_json()
        table.add_row(
            trust.name,
            str(told["runs"]),
            str(told["seeds"]),
            f"{median(o.seconds for o in trust.outcomes):.1f}" if trust.outcomes else "",
            str(told["clauses"]),
            str(len(told["accused"])),
            str(len(told["not observed"])),
            style="" if trust.enough else "bold red",
        )
    return table


def plain(*columns: str) -> Table:
    """A table without lines."""
    table = Table(box=None, pad_edge=False, title="")
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number < 2, overflow="fold")
    return table


def span(numbers: Iterable[int]) -> str:
    """The least to the largest of the numbers."""
    least, *_, largest = sorted({*numbers}) * 2
    return f"{least}" if least == largest else f"{least} to {largest}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.power", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=20, help="seeds for each broken queue (20)")
    parser.add_argument("--runs", type=int, help="runs of each sound queue (50); with --less seeds of one run (5)")
    parser.add_argument("--first", type=int, default=1, metavar="SEED", help="the first of these seeds (1)")
    parser.add_argument("--profile", choices=tuple(PROFILES), default=DEFAULT.name, help="how much a run looks at")
    parser.add_argument("--broken", action="store_true", help="the broken queues only")
    parser.add_argument("--sound", action="store_true", help="the sound queues only")
    parser.add_argument("--less", action="store_true", help="sound queues that lack something only")
    parser.add_argument("--pairs", action="store_true", help="with --less: those that lack two things, too")
    parser.add_argument("--once", action="store_true", help="with --less: each lack by one queue, promises first")
    parser.add_argument("--only", type=names, default=[], metavar="NAME,…", help="queues of these names only")
    parser.add_argument("--kind", choices=(ALONE, *KINDS.values()), help="of the broken queues, these only")
    parser.add_argument("--clauses", type=names, default=[], metavar="ID,…", help="of sound queues, these only")
    parser.add_argument("--jobs", type=int, default=1, help="how many run at once (1)")
    parser.add_argument("--results", type=Path, help="JSON lines, one for each run: what is there is not run again")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures as JSON")
    choices = parser.parse_args()
    choices.runs = choices.runs or (5 if choices.less else 50)
    known = {*SOUND, *BROKEN}
    if unknown := {*choices.only} - known:
        parser.error(f"--only: no queue is called {', '.join(sorted(unknown))}")
    return choices


def names(text: str) -> list[str]:
    return text.split(",")


if __name__ == "__main__":
    sys.exit(main())
