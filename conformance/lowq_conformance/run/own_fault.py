"""Whether an error is the suite's own: raised by its code, or by Python called from it, and not by the queue."""

from __future__ import annotations

from lowq_conformance.contract.outcomes import Refused, find_broken
from lowq_conformance.storm.fork_server import AgentFailed
from lowq_conformance.support.own_frames import where_of


def own_fault(error: BaseException) -> str | None:
    """Where in the suite it failed, or None where the error tells of the queue.

    What a test says (an assertion, a refusal where none may be) tells of the queue, whoever raised it.
    """
    if isinstance(error, AgentFailed):
        return error.where
    if isinstance(error, (AssertionError, Refused, BaseExceptionGroup)) or find_broken(error) is not None:
        return None
    return where_of(error)
