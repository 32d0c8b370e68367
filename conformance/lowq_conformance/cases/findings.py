"""The faults that random programs found in one queue, the shortest of each kind, and how long they may still look."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from lowq_conformance.checker.model_tasks import Mismatch
from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.history.spec import Spec
from lowq_conformance.subject.subject import Subject


@dataclass(slots=True)
class Finding:
    """A clause that is broken, the sentence that says by what, and the shortest program seen that shows it."""

    clause: str
    said: str
    program: str
    calls: int


@dataclass(slots=True)
class ProgramSearch:
    """One queue, the model's view of its promises, and what was found out about it so far."""

    subject: Subject
    folder: Path
    spec: Spec
    ids: bool
    ends: float
    shrinking: float
    found: dict[int, Finding] = field(default_factory=dict)

    @property
    def spent(self) -> bool:
        """The time to look for a fault is over, or, once there is one, the time to make it small."""
        return time.monotonic() > self.ends

    def keep(self, error: Mismatch, subject: Subject) -> None:
        """The program breaks a clause; of those that fail at one place in the model the shortest is kept."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = 0 if trace is None else trace.tb_lineno
        clause = find_promised(error.clause, subject)
        new = Finding(clause, error.said, subject.journal.program(), len(subject.journal.calls))
        if not self.found:
            self.ends = time.monotonic() + self.shrinking
        known = self.found.get(place)
        if known is None or (new.calls, len(new.program)) < (known.calls, len(known.program)):
            self.found[place] = new


class Spent(BaseException):
    """The time is over; no Exception, so that Hypothesis lets it through."""


def find_promised(clause: str, subject: Subject) -> str:
    """The clause, or where the queue does not promise it, the plainer one that its words are a case of."""
    while CLAUSES[clause].missing(subject.promises, subject.traits) is not None:
        clause = {"ORDER-2": "ORDER-1", "ORDER-8": "ORDER-1", "LEASE-7": "LEASE-1", "LEASE-10": "LEASE-1"}.get(
            clause, "DELIVER-1"
        )
    return clause
