"""What every backend checks of a lease, an id and a reason, and what it says of a lease that was lost."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from lowq.backend import Lease, State, Task
from lowq.clock import deadline, is_datetime
from lowq.excerpt import excerpt
from lowq.rules.canonical import find_surrogate, surrogate_fault
from lowq.rules.entry import iterate


def check_lease(lease: Lease, what: str = "lease") -> None:
    """Raise TypeError or ValueError unless `lease` is a Lease with an id, a token and an end."""
    if not isinstance(lease, Lease):
        raise TypeError(f"{what}: expected the Lease that claim gave, got {type(lease).__name__}")
    if not isinstance(lease.task, Task) or not isinstance(lease.task.id, str):
        raise TypeError(f"{what}: expected a Lease of a Task with an id, got one of {excerpt(lease.task)}")
    if not isinstance(lease.token, str):
        raise TypeError(f"{what}: expected a Lease whose token is a string, got {excerpt(lease.token)}")
    if not lease.token.isascii() and (fault := surrogate_fault(lease.token)) is not None:
        raise ValueError(f"{what}: expected the token that claim gave, got one that no storage keeps: {fault}")
    if not is_datetime(lease.expires):
        raise TypeError(f"{what}: expected a Lease that expires at a datetime, got {excerpt(lease.expires)}")


def check_leases(leases: Iterable[Lease]) -> list[Lease]:
    """The leases as a list. Raises TypeError, with the index, where one is no Lease."""
    found = list(iterate(leases, "leases: expected Leases, one after another"))
    for index, lease in enumerate(found):
        check_lease(lease, f"lease {index}")
    return found


def check_number(number: int, what: str, *, least: int) -> int:
    """How many tasks are asked for, cut to what any storage counts. Raises TypeError or ValueError."""
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"{what}: expected an int, got {type(number).__name__}")
    if number < least:
        raise ValueError(f"{what}: expected {least} or more, got {excerpt(number)}")
    return min(number, 2**31 - 1)


def deadline_of_next(claim: int, lease_for: timedelta | None, now: int) -> int:
    """The microsecond at which leases end that an `ack_many` takes `now`; `now` where it takes none.

    Raises TypeError or ValueError where the two arguments do not say how many and for how long.
    """
    if lease_for is not None:
        return deadline(now, lease_for)
    if claim:
        raise TypeError("lease_for: missing; with claim=… say for how long, lease_for=timedelta(…)")
    return now


def check_id(id: str) -> None:
    """Raise TypeError unless `id` is a string."""
    if not isinstance(id, str):
        raise TypeError(f"id: expected a string, got {type(id).__name__}")


def check_reason(reason: str | None) -> None:
    """Raise TypeError or ValueError unless `reason` is None or text that UTF-8 can hold."""
    if reason is None:
        return
    if not isinstance(reason, str):
        raise TypeError(f"reason: expected a string, got {type(reason).__name__}")
    if (found := find_surrogate(reason)) is not None:
        raise ValueError(f"reason: expected text that UTF-8 can hold, got the lone surrogate {found!a}")


def explain_lost(lease: Lease, now: Task | None) -> str:
    """What happened to the holder of `lease`, now that its task is `now`."""
    if now is None:
        return f"task {lease.id} is gone: this lease or a later one was settled already, or it was cancelled"
    if now.state is State.LEASED:
        ended = f"{lease.expires:%H:%M:%S} UTC"
        return f"the lease on task {lease.id} was settled, or ran out at {ended}, and another worker has the task now"
    return (
        f"the lease on task {lease.id} was settled already, or another worker had the task since: it is {now.state}"
    )
