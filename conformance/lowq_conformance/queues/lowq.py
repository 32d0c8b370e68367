"""The harnesses that come with the suite: lowq's own backends, any class of backends, and any callable."""

from __future__ import annotations

import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from lowq import FakeClock, LowqError, Retry, TaskQueue, UnattendedWarning, open_backend
from lowq_conformance.contract.promises import BrokenHarness, Traits
from lowq_conformance.queues import http_server, postgres_places, valkey_places
from lowq_conformance.queues.http_places import url_of
from lowq_conformance.support.processes import is_gone
from lowq_conformance.support.signatures import keywords


class FakeTime:
    """The clock of a harness: one fake clock per place, in a file apart from the queue, for every process."""

    def __init__(self) -> None:
        self._clocks: dict[Path, FakeClock] = {}

    def clock(self, place: Path) -> FakeClock:
        """The clock of the place."""
        if place not in self._clocks:
            self._clocks[place] = FakeClock(path=place / "clock")
        return self._clocks[place]

    def pass_time(self, place: Path, how_long: timedelta) -> None:
        """The clock of the place stands `how_long` later, or earlier where that is negative."""
        clock = self.clock(place)
        if how_long < timedelta(0):
            clock.move_to(clock.now() + how_long, back=True)
        else:
            clock.advance(how_long)

    def now(self, place: Path) -> datetime:
        """The instant of the clock of the place."""
        return self.clock(place).now()


class LowqHarness(FakeTime):
    """A lowq backend of one scheme, with fresh files at each place and a clock that is moved."""

    redriven = "alone"
    attempts = Retry().max_attempts
    retry_after = Retry().first / 2  # a delay is drawn from its upper half

    def __init__(self, scheme: str, options: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__()
        self._scheme = scheme
        self._options = options

    def open(self, place: Path, name: str = "default") -> Any:
        """A client of the queue `name` at `place`."""
        url, dedupe = self._located(place)
        return open_backend(url, name=name, dedupe=dedupe, clock=self.clock(place))

    def start(self, place: Path, handler: Callable[[Any], object]) -> list[int]:
        """lowq's own worker runs in the background until nothing is left to do; none is made where one runs."""
        queue = self._running(place, handler)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UnattendedWarning)  # the suite starts another when it is time
                started = queue.start()
            if not started:
                return []
            pid, end = queue.active_pid, time.monotonic() + 0.1
            # It has not signed yet, so that there is none or one that was killed, or it came and went.
            while (pid is None or is_gone(pid)) and time.monotonic() < end:
                time.sleep(0.001)
                pid = queue.active_pid
            return [] if pid is None or is_gone(pid) else [pid]
        finally:
            queue.close()

    @contextmanager
    def transaction(self, place: Path) -> Iterator[Any]:
        """A client in a transaction on a connection of the application's own."""
        url, dedupe = self._located(place)
        with closing(self._connect(place)) as connection:
            with closing(open_backend(url, dedupe=dedupe, clock=self.clock(place))) as queue:
                try:
                    with queue.within(connection):
                        yield queue
                except BaseException:
                    connection.rollback()
                    raise
            connection.commit()

    def _connect(self, place: Path) -> Any:
        """A connection to the database that the queue is in, beside the queue's own."""
        return sqlite3.connect(place / "queue" / "queue.db")

    def _running(self, place: Path, handler: Callable[[Any], object]) -> TaskQueue:
        """The queue at `place` as an application holds it, whose tasks are run by the handler."""
        harness, (url, dedupe) = self, self._located(place)

        class Running(TaskQueue):
            path = url
            clock = harness.clock(place)
            lease_for = Traits().shortest_lease
            linger = timedelta(0)

            def process(self, work: Any) -> None:
                handler(work)

        Running.dedupe = dedupe
        return Running(TaskQueue.SILENT)

    def _located(self, place: Path) -> tuple[str, Any]:
        """The URL of the queue at `place`, and its dedupe."""
        folder = place / "queue"
        folder.mkdir(exist_ok=True)
        options = dict(self._options)
        dedupe = options.pop("dedupe", None)
        return f"{self._scheme}://{quote(str(folder / 'queue.db'))}?{urlencode(options)}".rstrip("?"), dedupe


class SQLite(LowqHarness):
    """lowq's queue in one SQLite file."""

    def __init__(self) -> None:
        super().__init__("sqlite")


class Files(LowqHarness):
    """lowq's queue in a directory."""

    def __init__(self) -> None:
        super().__init__("files")


class Memory(LowqHarness):
    """lowq's queue in memory."""

    def __init__(self) -> None:
        super().__init__("memory")


class ServedHarness(LowqHarness):
    """A lowq backend that a server keeps. A place with a server of its own gives up as soon as the harness states."""

    def __init__(self, scheme: str, options: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(scheme, options)
        self._served: set[Path] = set()

    def open(self, place: Path, name: str = "default", address: str | None = None) -> Any:
        """A client of the queue `name` at `place`, whose server is reached by that address or its own."""
        url, dedupe = self._located(place, address)
        return open_backend(url, name=name, dedupe=dedupe, clock=self.clock(place))

    def server(self, place: Path) -> Any:
        """The server of the place, which may be stopped."""
        self._served.add(place)
        return self._own_server(place)

    def _located(self, place: Path, address: str | None = None) -> tuple[str, Any]:
        options = dict(self._options)
        dedupe = options.pop("dedupe", None)
        if place in self._served:
            options.setdefault("patience", f"{Traits().patience.total_seconds():g}")
        url = self._url(place, address)
        return f"{url}{'&' if '?' in url else '?'}{urlencode(options)}".rstrip("?&"), dedupe

    def _own_server(self, place: Path) -> Any:
        raise NotImplementedError

    def _url(self, place: Path, address: str | None) -> str:
        raise NotImplementedError


class HTTP(ServedHarness):
    """lowq's queue in an SQLite file, over HTTP: each place has a server of its own."""

    def __init__(self, options: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__("http", options)

    def close_place(self, place: Path) -> None:
        """A server that may be stopped is gone; the others end when the folder is."""
        http_server.close_server(place)

    def _own_server(self, place: Path) -> Any:
        return http_server.server_of(place)

    def _url(self, place: Path, address: str | None) -> str:
        return url_of(place, address)


class Valkey(ServedHarness):
    """lowq's queue in a Valkey server, which is started for the run and keeps each change before it answers."""

    def __init__(self, options: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__("redis+unix", options)

    def close_place(self, place: Path) -> None:
        """Nothing of the place is left in the server."""
        valkey_places.forget(place)

    def _own_server(self, place: Path) -> Any:
        return valkey_places.server_of(place)

    def _url(self, place: Path, address: str | None) -> str:
        return valkey_places.url_of(place, address)


class Postgres(ServedHarness):
    """lowq's queue in PostgreSQL: each place has a database of its own, on a server that the suite starts."""

    def __init__(self, options: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__("postgresql", options)
        postgres_places.load_client()

    def close_place(self, place: Path) -> None:
        """The place's database is gone."""
        postgres_places.drop(place)

    def _connect(self, place: Path) -> Any:
        import psycopg

        return psycopg.connect(postgres_places.url_of(place))

    def _own_server(self, place: Path) -> Any:
        return postgres_places.server_of(place)

    def _url(self, place: Path, address: str | None) -> str:
        return postgres_places.url_of(place, address)


BUNDLED: dict[str, Callable[[], Any]] = {
    "sqlite": SQLite,
    "files": Files,
    "http": HTTP,
    "valkey": Valkey,
    "postgres": Postgres,
    "memory": Memory,
}


_SERVERS: dict[str, tuple[str, Callable[[tuple[tuple[str, str], ...]], ServedHarness]]] = {
    "http": ("http", HTTP),
    **dict.fromkeys(("redis", "valkey"), ("valkey", Valkey)),
    **dict.fromkeys(("postgresql", "postgres"), ("postgres", Postgres)),
}
"""The schemes of queues that a server keeps, with the short name and the harness of each."""


class BackendHarness(FakeTime):
    """A class of backends: called with a path in the place, and with `name` and `clock` where it takes them."""

    def __init__(self, backend: Callable[..., Any]) -> None:
        super().__init__()
        self._backend = backend
        if not _takes(backend, "clock"):
            self.pass_time = None  # type: ignore[assignment,method-assign]  # no clock of ours: time really passes
            self.now = None  # type: ignore[assignment,method-assign]
        if not _takes(backend, "name"):
            self.open = self._unnamed  # type: ignore[assignment,method-assign]  # and so names are not promised

    def open(self, place: Path, name: str = "default") -> Any:
        """A client of the queue `name` at `place`."""
        return self._made(place, name=name)

    def _unnamed(self, place: Path) -> Any:
        return self._made(place)

    def _made(self, place: Path, **name: str) -> Any:
        clock = {"clock": self.clock(place)} if _takes(self._backend, "clock") else {}
        return self._backend(self._where(place), **clock, **name)

    def _where(self, place: Path) -> Any:
        folder = place / "queue"
        folder.mkdir(exist_ok=True)
        return str(folder / "queue")


class FactoryHarness(BackendHarness):
    """A callable that takes a place and gives a client."""

    def _where(self, place: Path) -> Any:
        return place


def of_url(url: str) -> Callable[[], LowqHarness]:
    """What makes the harness of a backend URL, whose place does not matter. Raises BrokenHarness."""
    scheme, _, rest = url.partition("://")
    try:
        query = rest.partition("?")[2]
        options = tuple(parse_qsl(query, keep_blank_values=True, strict_parsing=True)) if query else ()
        if scheme not in BUNDLED and scheme not in _SERVERS:
            with TemporaryDirectory(prefix="lowq-") as folder:  # as it will be opened at each place
                open_backend(f"{scheme}://{quote(folder)}/queue.db").close()
    except LowqError as error:
        raise BrokenHarness(str(error) if "@" in url else f"{url}: {error}") from error
    except ValueError as error:
        raise BrokenHarness(f"{url}: expected ?option=value&…: {error}") from error
    if scheme in _SERVERS:
        name, harness = _SERVERS[scheme]
        if rest.partition("?")[0]:
            raise BrokenHarness(
                f"{scheme}://: the suite needs an empty queue at each place: lowq check {name} starts servers"
            )
        return lambda: harness(options)
    return lambda: LowqHarness(scheme, options)


def _takes(function: Callable[..., Any], keyword: str) -> bool:
    known = keywords(function)
    return known is not None and keyword in known
