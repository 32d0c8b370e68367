"""Queues that lose or change the headers of a work, let them decide what is equal, or keep what is no header."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from lowq import Headers, Item, Lease, Pushed, Task
from lowq_conformance.queues.broken.keep import Forgetful
from lowq_conformance.queues.broken.register import breaks
from lowq_conformance.queues.sound.journal import DAY, Queue
from lowq_conformance.queues.sound.rows import Row
from lowq_conformance.queues.sound.values import check_headers


@breaks("HEADERS-1")
class ReleaseDropsHeaders(Queue):
    """A released task waits again without its headers."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        with self.alone():
            self.held(lease).headers = {}
        super().release(lease, not_before=not_before)


@breaks("HEADERS-1")
class ExtendDropsHeaders(Queue):
    """A task whose lease is made longer is written without its headers, which shows when it is handed out again."""

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        longer = super().extend(lease, lease_for=lease_for)
        with self.alone():
            row = self.held(longer)
            row.headers = {}
            self.write(row)
        return longer


@breaks("HEADERS-1")
class ExpiryDropsHeaders(Queue):
    """A task whose lease ran out is handed on without its headers."""

    def hold(self, row: Row, until: int) -> None:
        if row.token is not None:
            row.headers = {}
        super().hold(row, until)


@breaks("HEADERS-1")
class BuriesWithoutHeaders(Queue):
    """A task that is set aside leaves its headers behind."""

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        with self.alone():
            self.held(lease).headers = {}
        super().dead_letter(lease, reason=reason)


@breaks("HEADERS-1")
class RedriveDropsHeaders(Queue):
    """A redriven task is made anew from its work, key and priority."""

    def redrive(self, id: str) -> bool:
        redriven = super().redrive(id)
        if redriven:
            with self.alone():
                row = self.find(id)
                if row is not None:
                    self.write(replace(row, headers={}))
        return redriven


@breaks("HEADERS-1")
class ForgetsHeaders(Forgetful):
    """Opened again, the queue has forgotten the headers."""

    def forget(self, row: Row) -> None:
        row.headers = {}


@breaks("HEADERS-1")
class BatchesWithoutHeaders(Queue):
    """Of a batch of several only the works, keys, priorities and times are kept."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        batch = list(items)
        return super().push_many([replace(item, headers={}) for item in batch] if len(batch) > 1 else batch)


@breaks("HEADERS-1")
class ListsWithoutHeaders(Queue):
    """Listed tasks have no headers."""

    def tasks(self, *, state: str | None = None) -> list[Task]:
        return [replace(task, headers=Headers()) for task in super().tasks(state=state)]


@breaks("HEADERS-1")
class HeadersStick(Queue):
    """A task that has no headers is claimed with those of the task before."""

    last_claimed = Headers()

    def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
        lease = super().claim(lease_for=lease_for)
        if lease is None:
            return None
        self.last_claimed = Headers(lease.task.headers or self.last_claimed)
        return replace(lease, task=replace(lease.task, headers=self.last_claimed))


@breaks("HEADERS-1")
class LowersHeaderNames(Queue):
    """Names of headers are kept in lower case."""

    def row(self, item: Item) -> Row:
        row = super().row(item)
        row.headers = {name.lower(): value for name, value in row.headers.items()}
        return row


@breaks("HEADERS-1")
class CutsHeaders(Queue):
    """Values of headers are cut after 255 characters."""

    def row(self, item: Item) -> Row:
        row = super().row(item)
        row.headers = {name: value[:255] for name, value in row.headers.items()}
        return row


@breaks("HEADERS-1")
class KeepsTheCallersHeaders(Queue):
    """The mapping that was pushed is kept itself, and whoever changes it changes the task."""

    def row(self, item: Item) -> Row:
        row = super().row(item)
        row.headers = item.headers
        return row


@breaks("HEADERS-2")
class HeadersDistinguish(Queue):
    """Equal works with different headers are different."""

    def identity(self, row: Row) -> Hashable:
        return super().identity(row), frozenset(row.headers.items())


@breaks("HEADERS-2")
class HeadersIdentify(Queue):
    """Works with the same headers are taken for equal, as if these were a key."""

    def identity(self, row: Row) -> Hashable:
        return frozenset(row.headers.items()) if row.headers and row.key is None else super().identity(row)


@breaks("HEADERS-2")
class DuplicateReplacesHeaders(Queue):
    """A refused duplicate gives the standing task its own headers."""

    def standing(self, row: Row) -> Row | None:
        standing = super().standing(row)
        if standing is not None and row.headers:
            self.write(replace(standing, headers=row.headers))
        return standing


@breaks("HEADERS-2")
class DuplicateAddsHeaders(Queue):
    """A refused duplicate adds to the standing task the headers that it lacks."""

    def standing(self, row: Row) -> Row | None:
        standing = super().standing(row)
        if standing is not None:
            self.write(replace(standing, headers={**row.headers, **standing.headers}))
        return standing


@breaks("HEADERS-2")
class DuplicateClearsHeaders(Queue):
    """A refused duplicate without headers takes those of the standing task away."""

    def standing(self, row: Row) -> Row | None:
        standing = super().standing(row)
        if standing is not None and not row.headers and standing.state != "dead":
            self.write(replace(standing, headers={}))
        return standing


@breaks("HEADERS-2")
class DuplicateChangesTheRunning(Queue):
    """A duplicate that is refused because an equal task is running gives it its own headers."""

    def standing(self, row: Row) -> Row | None:
        standing = super().standing(row)
        if standing is not None and standing.state == "leased":
            self.write(replace(standing, headers=row.headers))
        return standing


@breaks("HEADERS-3")
class CoercesHeaders(Queue):
    """Names and values that are no strings are written as if they were."""

    def row(self, item: Item) -> Row:
        headers = {str(name): str(value) for name, value in item.headers.items()}
        return super().row(replace(item, headers=headers))


@breaks("HEADERS-3")
class LeavesOddHeadersOut(Queue):
    """Headers that are no strings are left out, and the task is kept."""

    def row(self, item: Item) -> Row:
        odd: Any = item.headers
        headers = {name: value for name, value in odd.items() if isinstance(name, str) and isinstance(value, str)}
        return super().row(replace(item, headers=headers))


@breaks("HEADERS-3")
class HeadersOfAnything(Queue):
    """Only the names of headers are looked at; a value may be anything that JSON has."""

    def row(self, item: Item) -> Row:
        names: Any = dict.fromkeys(item.headers, "")
        row = super().row(replace(item, headers=names))
        row.headers = dict(item.headers)
        return row


@breaks("HEADERS-3")
class WritesThenChecksHeaders(Queue):
    """Headers are checked when their task is written already, which stays."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        batch = list(items)
        pushed = super().push_many([replace(item, headers={}) for item in batch])
        for item, answer in zip(batch, pushed, strict=True):
            check_headers(item.headers)
            with self.alone():
                row = self.find(answer.id)
                if row is not None and answer.added:
                    self.write(replace(row, headers=dict(item.headers)))
        return pushed


@breaks("HEADERS-3")
class ChecksHeadersOneByOne(Queue):
    """Of a batch, the items before the one whose header is refused are kept."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        return [Queue.push_many(self, [item])[0] for item in items]
