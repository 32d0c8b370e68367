"""What a request says: its query and its body, each field read once, and none left unread."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Request, abort

from lowq.backend import NO_HEADERS, Lease, State, Task
from lowq.clock import to_datetime
from lowq.wire import Fields, InvalidMessage, Reader, T, read_instant, read_json, read_text

_FOREVER = to_datetime(0)


def body_of(request: Request) -> Fields:
    """The fields of the JSON object that the request brings; none where it brings nothing. Aborts for other kinds."""
    data = request.get_data()
    if not data:
        return Fields({}, "body")
    if request.mimetype != "application/json":
        abort(415, f"expected Content-Type: application/json, got {request.mimetype or 'none'}")
    return Fields(read_json(data), "body")


class Query:
    """The parameters of the query, each given once. Raises InvalidMessage."""

    def __init__(self, request: Request) -> None:
        self._given = request.args
        self._known: set[str] = set()

    def take(self, name: str, reader: Reader[T], default: T) -> T:
        """The value of a parameter, or `default` where it is not given."""
        self._known.add(name)
        values = self._given.getlist(name)
        if len(values) > 1:
            raise InvalidMessage(f"{name}: given {len(values)} times; give it once")
        return reader(values[0], name) if values else default

    def refuse_others(self) -> None:
        """Every parameter was taken."""
        for name in self._given:
            if name not in self._known:
                known = ", ".join(sorted(self._known)) or "none"
                raise InvalidMessage(f"{name[:80]!a}: there is no such parameter here; known are {known}")


def seconds(value: Any, where: str) -> timedelta:
    """A span of seconds, with fractions to the microsecond."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidMessage(f"{where}: expected a number of seconds, got {type(value).__name__}")
    try:
        return timedelta(seconds=value)
    except (OverflowError, ValueError):
        raise InvalidMessage(f"{where}: expected a number of seconds, got {str(value)[:40]}") from None


def seconds_text(value: Any, where: str) -> timedelta:
    """A span of seconds in a query."""
    return seconds(_number(value, where, float), where)


def whole_text(value: Any, where: str) -> int:
    """A whole number in a query."""
    return int(_number(value, where, int))


def state_text(value: Any, where: str) -> State | None:
    """A state in a query; the empty text is none."""
    if value and value not in tuple(State):
        raise InvalidMessage(f"{where}: expected one of {', '.join(State)}, got {value[:80]!a}")
    return State(value) if value else None


def read_lease(value: Any, where: str) -> Lease:
    """The lease that a request names by the id of its task and its token; `expires` is for the words of an error."""
    fields = Fields(value, where)
    id, token = fields.take("id", read_text), fields.take("token", read_text)
    expires = fields.take("expires", read_instant, _FOREVER)
    fields.refuse_others()
    return Lease(Task(id, None, None, 0, None, 0, State.LEASED, None, expires, NO_HEADERS), token, expires)


def _number(text: str, where: str, kind: type[int] | type[float]) -> float:
    try:
        if not text.isascii() or "_" in text or len(text) > 40:
            raise ValueError
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number of seconds"
        raise InvalidMessage(f"{where}: expected {what}, got {text[:80]!a}") from None
