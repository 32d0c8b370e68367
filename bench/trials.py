"""Runs of the suite over many queues and seeds, several at once, each kept in a file as soon as it is over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Event

from lowq_conformance.contract.profile import DEFAULT, PROFILES
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.report.report import Report
from lowq_conformance.run.runner import run

TELLING = 4000
"""Characters that are kept of a clause's evidence."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A queue, the clauses or groups of it to look at (none: all), a seed, which verdicts need no explaining, the
    name of the profile, and how many seeds from that one on a run looks at: all but the first do again only what
    depends on the seed."""

    target: str
    seed: int
    only: tuple[str, ...] = ()
    expected: tuple[Verdict, ...] = (Verdict.KEPT, Verdict.NOT_PROMISED)
    profile: str = DEFAULT.name
    seeds: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the suite said at one trial: the verdict of each clause, and the evidence for those not expected."""

    target: str
    seed: int
    only: tuple[str, ...]
    seconds: float
    verdicts: dict[str, str]
    evidence: dict[str, str] = field(default_factory=dict)
    profile: str = DEFAULT.name
    seeds: int = 1

    @staticmethod
    def of(trial: Trial, report: Report) -> Outcome:
        """The outcome that a report tells of."""
        return Outcome(
            trial.target,
            trial.seed,
            trial.only,
            round(report.seconds, 2),
            {clause.id: clause.verdict.value for clause in report.clauses},
            {c.id: c.evidence[:TELLING] for c in report.clauses if c.verdict not in trial.expected},
            trial.profile,
            trial.seeds,
        )

    def has(self, verdict: Verdict) -> tuple[str, ...]:
        """The clauses of that verdict."""
        return tuple(id for id, each in self.verdicts.items() if each == verdict)


Key = tuple[str, int, tuple[str, ...], str, int]


class Outcomes:
    """What has been seen so far, kept in a file of JSON lines where there is one."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._seen: dict[Key, Outcome] = {}
        if file is not None and file.exists():
            for line in file.read_text().split("\n")[:-1]:  # a line that was cut is none
                told = json.loads(line)
                self._keep(Outcome(**{**told, "only": tuple(told["only"])}))

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """They are kept, and in the file."""
        for outcome in outcomes:
            self._keep(outcome)
            if self._file is not None:
                with self._file.open("a") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")

    def get(self, trial: Trial) -> Outcome | None:
        """What was seen at the trial, if it was made."""
        return self._seen.get((trial.target, trial.seed, trial.only, trial.profile, trial.seeds))

    def all(self, trials: Iterable[Trial]) -> Iterator[Outcome]:
        """What was seen at those of the trials that were made."""
        return (outcome for trial in trials if (outcome := self.get(trial)) is not None)

    def _keep(self, outcome: Outcome) -> None:
        key = outcome.target, outcome.seed, outcome.only, outcome.profile, outcome.seeds
        self._seen[key] = outcome


class Stopped(Exception):
    """Nobody wants to know any more."""


def carry_out(
    trials: Sequence[Trial], outcomes: Outcomes, jobs: int, each: Callable[[Sequence[Outcome]], None]
) -> None:
    """All trials were made that had not been, `jobs` at a time; `each` was told of what came of them.

    An interruption ends those that are running, and what was seen before it is kept.
    """
    stopping = Event()

    def watch(*_: object) -> None:
        if stopping.is_set():
            raise Stopped

    def made(batch: Sequence[Trial]) -> list[Outcome]:
        only = {trial.target: trial.only for trial in batch}
        targets = [trial.target for trial in batch]
        profile = replace(PROFILES[batch[0].profile], seeds=batch[0].seeds)
        reports = run(targets, only=only, seed=batch[0].seed, watch=watch, profile=profile)
        return [Outcome.of(trial, report) for trial, report in zip(batch, reports, strict=True)]

    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(jobs))
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        stack.callback(stopping.set)
        new = [trial for trial in trials if outcomes.get(trial) is None]
        for done in as_completed([pool.submit(made, batch) for batch in batches(new)]):
            seen = done.result()
            outcomes.add(seen)
            each(seen)


BATCH = 6
"""Trials of one seed that are made in one process, which saves its start."""


def batches(trials: Iterable[Trial]) -> Iterator[list[Trial]]:
    """The trials, those together that follow one another and have one seed, and are not of everything."""
    batch: list[Trial] = []
    for trial in trials:
        if batch and (len(batch) == BATCH or trial.seed != batch[0].seed or not trial.only or not batch[0].only):
            yield batch
            batch = []
        batch.append(trial)
    if batch:
        yield batch
