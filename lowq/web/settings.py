"""The settings of the web application, what each means, and its default.

A setting is a field of `Settings`. The environment variable ``LOWQ_SETTINGS`` names a Python file
(``/etc/lowq.py``) or an importable module (``site_settings``) that assigns some of them in upper case::

    LOCATION = "/var/lib/jobs.db"
    TOKENS = ["the-workers-token"]
    READ_ONLY_TOKENS = ["the-dashboards-token"]

Other names in lower case, names that begin with an underscore, and imported modules are the file's own affair. Any
other name in upper case, a setting in lower case (``read_only``), and a value of the wrong kind, is a SettingsError
when the application starts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from importlib import import_module
from types import ModuleType
from typing import Any

from lowq.backend import LowqError
from lowq.clock import Clock
from lowq.rules.names import check_name
from lowq.rules.spelling import suggest

VARIABLE = "LOWQ_SETTINGS"
_MIN, _MAX = -(2**31), 2**31 - 1


class SettingsError(LowqError, ValueError):
    """A setting has no such name, or its value is of the wrong kind; the application did not start."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the application serves, to whom, and within what limits."""

    location: str = field(default="", repr=False)
    """The path or URL of the queue: ``/var/lib/jobs.db``. There is no default."""

    name: str = "default"
    """The queue of the location that pages show first, and that a request without ``name`` means."""

    default_priority: int = 100
    """The priority that the form for a new task begins with, as in the ancestor; higher comes first."""

    lease_for: timedelta = timedelta(minutes=5)
    """How long ``GET /api/next`` leases a task, and a claim that names no length."""

    longest_wait: timedelta = timedelta(seconds=30)
    """A claim waits this long at most in one request; who wants to wait longer asks again."""

    tokens: tuple[str, ...] = ()
    """The tokens that may do everything. Without any token, only this machine is answered."""

    read_only_tokens: tuple[str, ...] = ()
    """The tokens that may look, and change nothing."""

    no_auth: bool = False
    """True: whoever reaches the server may do everything, from other machines too, without a token."""

    read_only: bool = False
    """True: nobody can change anything here, whatever their token."""

    hosts: tuple[str, ...] = ()
    """Names under which the server is reached (``jobs.example.org``). Addresses, localhost and this machine's own
    name are known; a request for any other name is refused, because a name can be pointed at an address by anybody
    (DNS rebinding). ``*`` allows every name."""

    max_body: int = 16 * 1024 * 1024
    """Bytes of a request's body; a longer one is answered with 413."""

    page_size: int = 50
    """Tasks on a page."""

    secret_key: str = ""
    """What signs the cookies. By default one is made at each start, and whoever was logged in logs in again; several
    processes that serve together need the same."""

    requests_file: str = ""
    """The file that keeps the answers to requests that carry an id, so that a request sent again after a lost reply,
    or after a restart, is answered and not done again. By default ``jobs.db-requests`` beside a queue that is a
    file, and otherwise the memory of this process; ``memory`` asks for the latter."""

    keep_requests: timedelta = timedelta(hours=1)
    """How long such an answer is kept."""

    polls: int = 32
    """How many claims may wait at once on a server that gives each its thread; others are told to ask again in a
    moment. `lowq serve` does not need it: there waiting claims have no threads."""

    clock: Clock | None = field(default=None)
    """The clock of the queues, for tests; None: the backend's own."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in _TEXTS:
                object.__setattr__(self, each.name, _texts(each.name.upper(), value))
            elif each.name in _CHECKS:
                _CHECKS[each.name](each.name.upper(), value)
        if not self.location:
            raise SettingsError(
                f'LOCATION: no queue is named; set LOCATION = "/var/lib/jobs.db" in the file that {VARIABLE} '
                "names, or run: lowq serve /var/lib/jobs.db"
            )
        both = set(self.tokens) & set(self.read_only_tokens)
        if both:
            raise SettingsError("READ_ONLY_TOKENS: a token of these stands in TOKENS too; it cannot be both")
        if self.no_auth and (self.tokens or self.read_only_tokens):
            raise SettingsError("NO_AUTH: there are tokens, and NO_AUTH would let everybody in without one; choose")


def load(named: str | None = None, **changes: Any) -> Settings:
    """The settings of the file or module `named` (by default by ``LOWQ_SETTINGS``), with `changes` on top.

    Raises SettingsError.
    """
    named = os.environ.get(VARIABLE, "") if named is None else named
    found = _of_module(_import_settings(named)) if named else {}
    return of(found | changes)


def of(values: Mapping[str, Any]) -> Settings:
    """The settings with these values by lower-case names. Raises SettingsError."""
    known = {each.name for each in fields(Settings)}
    for name in values:
        if name not in known:
            raise SettingsError(_unknown(name, known))
    return Settings(**values)


def _of_module(module: ModuleType) -> dict[str, Any]:
    """What the module assigns, by lower-case names. Raises SettingsError for a setting in other letters."""
    said = {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    known = {each.name for each in fields(Settings)}
    for name, value in said.items():
        if not name.isupper() and name.lower() in known and name.upper() not in said and not callable(value):
            raise SettingsError(
                f"{name}: a setting is written in upper case, {name.upper()}; a name of the file's own that is spelt "
                f"like one begins with an underscore, _{name}"
            )
    return {name.lower(): value for name, value in said.items() if name.isupper()}


def _unknown(name: str, known: set[str]) -> str:
    there = "; there are " + ", ".join(sorted(known)).upper()
    return f"{name.upper()}: there is no such setting{suggest(name, [each.upper() for each in known]) or there}"


def _import_settings(named: str) -> ModuleType:
    """The module, or the file as one. Raises SettingsError, whatever the file does."""
    try:
        if not named.endswith(".py") and os.sep not in named:
            if os.getcwd() not in sys.path:
                sys.path.insert(0, os.getcwd())
            return import_module(named)
        module = ModuleType("lowq_settings")
        module.__file__ = named
        with open(named, encoding="utf-8") as file:
            exec(compile(file.read(), named, "exec"), vars(module))
        return module
    except (Exception, SystemExit) as error:
        raise SettingsError(
            f"{VARIABLE}={named}: the settings cannot be read: {type(error).__name__}: {error}\n"
            "expected a Python file (/etc/lowq.py) or an importable module"
        ) from None


def _texts(what: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, (list, tuple, set, frozenset)):
        texts = tuple(value)
        for each in texts:
            # Header fields hold printable ASCII.
            if not isinstance(each, str) or not each or not all("!" <= char <= "~" for char in each):
                shown = repr(each) if what == "HOSTS" else f"a {type(each).__name__}"
                raise SettingsError(f"{what}: expected texts of printable ASCII without spaces, got {shown}")
        return texts
    raise SettingsError(f"{what}: expected a list of texts, got {type(value).__name__}")


def _text(what: str, value: Any) -> None:
    if not isinstance(value, str):
        raise SettingsError(f"{what}: expected a text, got {type(value).__name__}")


def _location(what: str, value: Any) -> None:
    if not isinstance(value, (str, os.PathLike)):
        raise SettingsError(f"{what}: expected a path or URL, got {type(value).__name__}")


def _flag(what: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise SettingsError(f"{what}: expected True or False, got {value!r}")


def _queue_name(what: str, value: Any) -> None:
    try:
        check_name(value)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{what}: {str(error).removeprefix('name: ')}") from None


def _clock(what: str, value: Any) -> None:
    if value is not None and not all(hasattr(value, verb) for verb in ("now", "countdown", "wait")):
        raise SettingsError(f"{what}: expected a lowq.Clock or None, got {type(value).__name__}")


def _whole(least: int, most: int) -> Callable[[str, Any], None]:
    def check(what: str, value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise SettingsError(f"{what}: expected a whole number from {least} to {most}, got {value!r}")

    return check


def _span(what: str, value: Any) -> None:
    if not isinstance(value, timedelta) or not timedelta(0) < value <= timedelta(days=3650):
        raise SettingsError(
            f"{what}: expected a timedelta of more than zero, such as timedelta(seconds=30), got {value!r}"
        )


_TEXTS = ("tokens", "read_only_tokens", "hosts")
_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "location": _location,
    "name": _queue_name,
    "default_priority": _whole(_MIN, _MAX),
    "lease_for": _span,
    "longest_wait": _span,
    "no_auth": _flag,
    "read_only": _flag,
    "max_body": _whole(1024, 2**31),
    "page_size": _whole(1, 1000),
    "secret_key": _text,
    "requests_file": _text,
    "keep_requests": _span,
    "polls": _whole(0, 100_000),
    "clock": _clock,
}
