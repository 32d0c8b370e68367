"""The one codec of tasks, leases, answers and errors as JSON: for ``--json``, the HTTP interface and its client.

``write_…`` makes a dict that `json.dumps` takes, ``read_…`` makes of it the value that was written. Instants are
RFC 3339 in UTC with up to six digits of a second. What is read is checked: InvalidMessage names the field that is
wrong. An answer may have fields that are not known here, so that a newer server can say more; an item may not, so
that no misspelt field goes unread.

An error is a problem detail (RFC 9457): its type is ``urn:lowq:error:`` and the name of our error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeAlias, TypeVar

from lowq.backend import (
    NO_HEADERS,
    Acked,
    BackendUnavailable,
    CorruptQueue,
    Counts,
    Damaged,
    Headers,
    InvalidLocation,
    InvalidWork,
    Item,
    Lease,
    LeaseLost,
    LowqError,
    NotAllowed,
    NoTransaction,
    Pushed,
    QueueClosed,
    QueueGone,
    State,
    Task,
)
from lowq.clock import to_micros
from lowq.process.handlers import let_through
from lowq.rules.canonical import refuse_twice, surrogate_fault

Json: TypeAlias = dict[str, Any]
"""A JSON object."""

T = TypeVar("T")
Reader: TypeAlias = Callable[[Any, str], T]
"""Makes a value of JSON; the text is where the JSON stands, for the error."""


class InvalidMessage(LowqError, ValueError):
    """What was read is not what it should be; names the field, what was expected and what was found."""


# values


def write_task(task: Task) -> Json:
    """The task; a work that cannot be read is null, and `damaged` says what stands there instead."""
    damaged = isinstance(task.work, Damaged)
    written = {
        "id": task.id,
        "work": None if damaged else task.work,
        "key": task.key,
        "priority": task.priority,
        "not_before": write_instant(task.not_before),
        "attempts": task.attempts,
        "state": str(task.state),
        "reason": task.reason,
        "pushed_at": write_instant(task.pushed_at),
        "headers": dict(task.headers),
    }
    return {**written, "damaged": task.work.text} if damaged else written


def read_task(value: Any, where: str = "task") -> Task:
    """The task that `write_task` wrote."""
    fields = Fields(value, where)
    damaged = fields.take("damaged", read_text, None)
    return Task(
        id=fields.take("id", read_text),
        work=fields.take("work", _anything) if damaged is None else Damaged(damaged),
        key=fields.take("key", optional(read_text)),
        priority=fields.take("priority", read_number()),
        not_before=fields.take("not_before", optional(read_instant)),
        attempts=fields.take("attempts", read_number(0)),
        state=fields.take("state", _state),
        reason=fields.take("reason", optional(read_text)),
        pushed_at=fields.take("pushed_at", read_instant),
        headers=fields.take("headers", read_headers),
    )


def write_lease(lease: Lease) -> Json:
    """The lease with its task."""
    return {"task": write_task(lease.task), "token": lease.token, "expires": write_instant(lease.expires)}


def read_lease(value: Any, where: str = "lease") -> Lease:
    """The lease that `write_lease` wrote."""
    fields = Fields(value, where)
    return Lease(
        fields.take("task", read_task), fields.take("token", read_text), fields.take("expires", read_instant)
    )


def write_item(item: Item) -> Json:
    """The item, whole."""
    return {
        "work": item.work,
        "key": item.key,
        "priority": item.priority,
        "not_before": write_instant(item.not_before),
        "headers": dict(item.headers),
    }


def read_item(value: Any, where: str = "item") -> Item:
    """The item; of its fields only `work` must be there, and none that is not known."""
    fields = Fields(value, where)
    item = Item(
        work=fields.take("work", _anything),
        key=fields.take("key", optional(read_text), None),
        priority=fields.take("priority", read_number(), 0),
        not_before=fields.take("not_before", optional(read_instant), None),
        headers=fields.take("headers", read_headers, NO_HEADERS),
    )
    fields.refuse_others()
    return item


def write_pushed(pushed: Pushed) -> Json:
    """The answer to a push."""
    return {"id": pushed.id, "added": pushed.added}


def read_pushed(value: Any, where: str = "pushed") -> Pushed:
    """The answer that `write_pushed` wrote."""
    fields = Fields(value, where)
    return Pushed(fields.take("id", read_text), fields.take("added", read_bool))


def write_acked(acked: Acked) -> Json:
    """The answer to an `ack_many`."""
    return {"lost": list(acked.lost), "claimed": [write_lease(lease) for lease in acked.claimed]}


def read_acked(value: Any, where: str = "acked") -> Acked:
    """The answer that `write_acked` wrote."""
    fields = Fields(value, where)
    return Acked(
        tuple(fields.take("lost", read_list(optional(read_text)))),
        tuple(fields.take("claimed", read_list(read_lease))),
    )


def write_counts(counts: Counts) -> Json:
    """How many tasks are in each state."""
    return {str(state): getattr(counts, state) for state in State}


def read_counts(value: Any, where: str = "counts") -> Counts:
    """The counts that `write_counts` wrote."""
    fields = Fields(value, where)
    return Counts(**{str(state): fields.take(state, read_number(0)) for state in State})


def read_headers(value: Any, where: str = "headers") -> Headers:
    """The headers: an object whose values are all text."""
    if not isinstance(value, dict):
        _refuse(where, "an object of strings", value)
    pairs = {read_text(name, where): read_text(text, f"{where}[{_show(name)}]") for name, text in value.items()}
    return Headers(pairs) if pairs else NO_HEADERS


def write_instant(instant: datetime | None) -> str | None:
    """The instant as RFC 3339 in UTC, or None."""
    return None if instant is None else instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def read_instant(value: Any, where: str = "instant") -> datetime:
    """The instant of an RFC 3339 text, with whatever offset, in UTC."""
    expected = "a time such as 2030-01-01T12:00:00.123456Z, with Z or an offset and six digits of a second at most"
    if not isinstance(value, str) or _RFC3339.fullmatch(value) is None:
        _refuse(where, expected, value)
    try:
        found = datetime.fromisoformat(value.upper()).astimezone(UTC)
        to_micros(found, where)
    except (ValueError, OverflowError) as error:
        let_through(error)
        _refuse(where, "a time of the years 1970 to 9999 (UTC)", value)
    return found


def read_bool(value: Any, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        _refuse(where, "true or false", value)
    return value


def read_list(reader: Reader[T]) -> Reader[list[T]]:
    """A reader of lists whose every element `reader` reads."""

    def read(value: Any, where: str) -> list[T]:
        if not isinstance(value, list):
            _refuse(where, "a list", value)
        return [reader(each, f"{where}[{index}]") for index, each in enumerate(value)]

    return read


# text


def read_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises InvalidMessage for anything else, NaN and cut texts included.

    An object that has a name twice is refused: readers differ in which of the two they lose.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_as_object)
    except UnicodeDecodeError as error:
        let_through(error)
        raise InvalidMessage(f"byte {error.start + 1} is not UTF-8") from None
    except json.JSONDecodeError as error:
        let_through(error)
        raise InvalidMessage(f"not JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError as error:
        let_through(error)
        raise InvalidMessage("nested too deeply") from None
    except InvalidMessage:
        raise
    except ValueError as error:  # a number of more digits than this interpreter reads
        let_through(error)
        raise InvalidMessage(str(error)) from None


# errors

_TYPE = "urn:lowq:error:"
_ERRORS: Mapping[type[Exception], tuple[int, str]] = {
    LeaseLost: (409, "The lease is no longer yours"),
    QueueClosed: (503, "The queue was closed"),
    InvalidWork: (422, "The work is not JSON"),
    InvalidLocation: (404, "There is no queue of this kind"),
    NotAllowed: (403, "A right is missing"),
    QueueGone: (410, "The queue was deleted or replaced"),
    BackendUnavailable: (503, "The storage cannot be used now"),
    CorruptQueue: (500, "The storage is damaged"),
    NoTransaction: (400, "A push cannot be part of that transaction"),
    InvalidMessage: (400, "The message is not what it should be"),
    LowqError: (500, "The queue refused"),
    TypeError: (400, "An argument is of another type"),
    ValueError: (400, "An argument is not among what is possible"),
}
_BY_NAME = {kind.__name__: kind for kind in _ERRORS}


def status_of(error: BaseException) -> int:
    """The HTTP status of an error; 500 for one that is none of ours."""
    return _ERRORS[kind][0] if (kind := _kind_of(error)) else 500


def write_error(error: BaseException) -> Json:
    """The error as a problem detail; of one that is none of ours nothing is told but that there was one."""
    kind = _kind_of(error)
    if kind is None:
        return {"type": "about:blank", "title": "The server failed", "status": 500, "detail": "its log says why"}
    status, title = _ERRORS[kind]
    return {"type": f"{_TYPE}{kind.__name__}", "title": title, "status": status, "detail": str(error)}


def read_error(value: Any, where: str = "problem") -> Exception:
    """The error that a problem detail tells of, to be raised; a LowqError where its type is not known here."""
    fields = Fields(value, where)
    name = fields.take("type", read_text, "about:blank").removeprefix(_TYPE)
    told = fields.take("detail", read_text, "") or fields.take("title", read_text, "") or name
    return _BY_NAME.get(name, LowqError)(told)


def _kind_of(error: BaseException) -> type[Exception] | None:
    return next((kind for kind in type(error).__mro__ if kind in _ERRORS), None)


# reading one field after another

_HOUR = r"([01]\d|2[0-3]):[0-5]\d"
_RFC3339 = re.compile(rf"\d{{4}}-\d\d-\d\d[Tt ]{_HOUR}:[0-5]\d(\.\d{{1,6}})?([Zz]|[+-]{_HOUR})", flags=re.ASCII)
_MISSING: Any = object()


class Fields:
    """The fields of a JSON object that stands at `where`."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            _refuse(where, "an object", value)
        self._fields = value
        self._where = where
        self._known: set[str] = set()

    def take(self, name: str, reader: Reader[T], default: Any = _MISSING) -> T:
        """The value of a field, or `default` where there is no such field."""
        self._known.add(name)
        if name in self._fields:
            return reader(self._fields[name], f"{self._where}.{name}")
        if default is _MISSING:
            raise InvalidMessage(f"{self._where}.{name}: missing; there is {_names(self._fields)}")
        return default  # type: ignore[no-any-return]

    def whole(self) -> Any:
        """The object itself."""
        self._known.update(self._fields)
        return self._fields

    def refuse_others(self) -> None:
        """There is no field that was not taken."""
        for name in self._fields:
            if name not in self._known:
                raise InvalidMessage(f"{self._where}: unknown field {_show(name)}; known are {_names(self._known)}")


def _anything(value: Any, _where: str) -> Any:
    return value


def read_text(value: Any, where: str) -> str:
    """Text that UTF-8 can hold."""
    if not isinstance(value, str):
        _refuse(where, "a string", value)
    if (fault := surrogate_fault(value)) is not None:
        raise InvalidMessage(f"{where}: {fault}")
    return value


def read_number(least: int | None = None, most: int | None = None) -> Reader[int]:
    """A reader of integers from `least` to `most`."""

    def read(value: Any, where: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            _refuse(where, "an integer", value)
        if least is not None and value < least:
            _refuse(where, f"{least} or more", value)
        if most is not None and value > most:
            _refuse(where, f"{most} at most", value)
        return value

    return read


def _state(value: Any, where: str) -> State:
    if not isinstance(value, str) or value not in tuple(State):
        _refuse(where, f"one of {', '.join(State)}", value)
    return State(value)


def optional(reader: Reader[T]) -> Reader[T | None]:
    """A reader that takes null as well."""
    return lambda value, where: None if value is None else reader(value, where)


def _refuse(where: str, expected: str, value: Any) -> NoReturn:
    raise InvalidMessage(f"{where}: expected {expected}, got {_show(value)}")


def _refuse_constant(constant: str) -> NoReturn:
    raise InvalidMessage(f"{constant} is not JSON")


_as_object = refuse_twice(InvalidMessage)


def _show(value: Any) -> str:
    """The value as one line of ASCII, cut where it is long."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        return type(value).__name__
    return text if len(text) <= 80 else f"{text[:79]}…"


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(_show(name) for name in names)) or "nothing"
