"""What a test may raise: a broken clause, an answer that the queue does not give, a refusal, or nothing observed."""

from __future__ import annotations

from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.history.counterexample import Counterexample
from lowq_conformance.support.text import describe_error


class Broken(AssertionError):
    """A clause is broken; without `clause` it is the one that the test is marked with, without `program` its calls.

    `shown`: the program says it all, and `said` need not be repeated below it. `fault` is the judge's finding, where
    a history is what broke the clause.
    """

    def __init__(
        self,
        said: str,
        *,
        clause: str | None = None,
        program: str | None = None,
        shown: bool = False,
        fault: Counterexample | None = None,
        schedule: str = "",
    ) -> None:
        super().__init__(said if clause is None else f"{clause}: {said}")
        assert clause is None or clause in CLAUSES, clause
        self.said, self.clause, self.program, self.shown, self.fault = said, clause, program, shown, fault
        self.schedule = schedule


class NotPromised(Exception):
    """The queue does not give the answer that the clause needs."""


class NotObserved(Exception):
    """The clause was promised, but the test did not come to see it."""


def find_broken(error: BaseException | None) -> Broken | None:
    """The first Broken in an exception: itself, within a group, or what caused it."""
    while error is not None:
        if isinstance(error, Broken):
            return error
        if isinstance(error, BaseExceptionGroup):
            for part in error.exceptions:
                if (found := find_broken(part)) is not None:
                    return found
        error = error.__cause__ or error.__context__
    return None


ACCIDENTS = (AttributeError, NameError, AssertionError, RecursionError, MemoryError, SystemError, UnboundLocalError)
"""Errors that no queue raises on purpose."""


class Refused(Exception):
    """The queue raised `cause`, or answered a settle with False (`cause` is None then).

    `stated`: the harness says that such a call is refused, in words that say why.
    """

    stated = ""

    def __init__(self, call: str, cause: Exception | None) -> None:
        said = "answered False" if cause is None else describe_error(cause)
        super().__init__(f"{call} {said}")
        self.call, self.cause = call, cause
