"""What every backend checks of a lease, an id and a reason, and what it says of a lease that was lost."""

from __future__ import annotations

from lowq.backend import Lease, State, Task


def check_lease(lease: Lease) -> None:
    """Raise TypeError unless `lease` is a Lease."""
    if not isinstance(lease, Lease):
        raise TypeError(f"lease: expected the Lease that claim gave, got {type(lease).__name__}")


def check_id(id: str) -> None:
    """Raise TypeError unless `id` is a string."""
    if not isinstance(id, str):
        raise TypeError(f"id: expected a string, got {type(id).__name__}")


def number(id: str) -> int:
    """The number of the task with that id; 0, which none has, for a text that is no id of ours."""
    return int(id) if id.isascii() and id.isdigit() and len(id) < 19 and id[0] != "0" else 0


def check_reason(reason: str | None) -> None:
    """Raise TypeError or ValueError unless `reason` is None or text that UTF-8 can hold."""
    if reason is None:
        return
    if not isinstance(reason, str):
        raise TypeError(f"reason: expected a string, got {type(reason).__name__}")
    try:
        reason.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"reason: the lone surrogate {reason[error.start]!a} cannot be kept") from None


def lost(lease: Lease, now: Task | None) -> str:
    """What happened to the holder of `lease`, now that its task is `now`."""
    if now is None:
        return f"task {lease.id} is gone: this lease or a later one was settled already, or it was cancelled"
    if now.state is State.LEASED:
        ended = f"{lease.expires:%H:%M:%S} UTC"
        return f"the lease on task {lease.id} was settled, or ran out at {ended}, and another worker has the task now"
    return (
        f"the lease on task {lease.id} was settled already, or another worker had the task since: it is {now.state}"
    )
