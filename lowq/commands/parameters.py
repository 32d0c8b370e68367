"""What the commands take: locations, names, durations and instants, checked before anything is opened."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from lowq.backend import Backend, InvalidLocation, InvalidWork
from lowq.clock import to_micros
from lowq.location import Location, locate, open_backend
from lowq.rules.headers import headers_text
from lowq.rules.names import check_name

_F = TypeVar("_F", bound=Callable[..., Any])

_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST = timedelta(days=1_000_000)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)


def duration(text: str) -> timedelta:
    """The span of 500ms, 30s, 1h30m or 2d; a bare number is refused, because its unit would be a guess."""
    if not _WHOLE.fullmatch(text):
        raise click.BadParameter(f"{text!r} is no duration; write 500ms, 30s, 5m, 1h30m or 2d")
    try:
        length = sum((timedelta(**{_UNITS[unit]: float(n)}) for n, unit in _PART.findall(text)), timedelta(0))
    except OverflowError:
        length = timedelta.max
    if length > _LONGEST:
        raise click.BadParameter(f"{text!r:.40} is too long; {_LONGEST.days} days is the longest")
    return length


def lasting(text: str) -> timedelta:
    """A duration of more than zero."""
    length = duration(text)
    if not length:
        raise click.BadParameter(f"{text!r}: expected more than zero")
    return length


def instant(text: str) -> datetime:
    """The aware datetime of an ISO 8601 time with its zone; one without a zone is refused."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no ISO 8601 time; write 2030-01-01T12:00:00Z") from None
    if found.tzinfo is None:
        whole = text if "T" in text or " " in text else f"{text}T00:00"
        raise click.BadParameter(f"{text!r} has no time zone; write {whole}Z for UTC, or {whole}+01:00")
    try:
        to_micros(found, text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is outside 1970 to 9999 (UTC)") from None
    return found


def header(text: str) -> tuple[str, str]:
    """The name and the value of NAME=VALUE."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise click.BadParameter(f"{text!r}: expected NAME=VALUE")
    try:
        headers_text({name: value})
    except InvalidWork as error:
        raise click.BadParameter(str(error).removeprefix("headers: ")) from None
    return name, value


def queue_name(text: str) -> str:
    """Which of the queues of a location."""
    try:
        check_name(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return text


location_argument = click.argument("location", metavar="LOCATION")
name_option = click.option(
    "--name",
    type=queue_name,
    metavar="NAME",
    default="default",
    show_default=True,
    help="Which of the queues of the location.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of a table.")


def of_a_queue(command: _F) -> _F:
    """What every command takes that looks at a queue: LOCATION, --name and --json."""
    return location_argument(name_option(json_option(command)))


@contextmanager
def open_or_make(where: Location, name: str, **options: Any) -> Iterator[tuple[Backend, bool]]:
    """The queue, closed afterwards, and whether it was made anew."""
    if where.scheme == "memory":
        raise InvalidLocation(f"{where}: a memory queue lives in the process that made it; name a file instead")
    try:
        backend, made = open_backend(where, name=name, **{**options, "create": False}), False
    except InvalidLocation:  # also for what is no queue at all, which the next try says
        backend, made = open_backend(where, name=name, **options), True
    try:
        yield backend, made
    finally:
        backend.close()


@contextmanager
def open_queue(location: str, name: str, *, create: bool = False) -> Iterator[Backend]:
    """The queue, closed afterwards; InvalidLocation where there is none, unless `create`."""
    where = locate(location)
    if where.scheme == "memory":
        raise InvalidLocation(f"{where}: a memory queue lives in the process that made it; name a file instead")
    options: dict[str, Any] = {} if create else {"create": False}  # which the URL may say, too
    backend = open_backend(where, name=name, **options)
    try:
        yield backend
    finally:
        backend.close()
