"""Queues that take what they cannot keep, break when they refuse, or mix places and names up."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lowq import Clock, Item, Pushed
from lowq_conformance.queues.broken.register import breaks
from lowq_conformance.queues.sound.journal import Queue
from lowq_conformance.queues.sound.rows import Row
from lowq_conformance.queues.sound.values import (
    check,
    check_headers,
    check_key,
    check_priority,
    check_time,
    each_scalar,
)


@breaks("INPUT-1")
class AnythingByStr(Queue):
    """What is not JSON is kept as its str()."""

    def encode(self, work: Any) -> str:
        try:
            return super().encode(work)
        except ValueError:
            return json.dumps(work, default=str, sort_keys=True, allow_nan=False)


@breaks("INPUT-1")
class TakesNaN(Queue):
    """NaN and the infinities are taken, which only Python reads."""

    def encode(self, work: Any) -> str:
        check(each_scalar(work, lambda value: None if isinstance(value, float) else value), "work", 0)
        return json.dumps(work, sort_keys=True, ensure_ascii=False)


@breaks("INPUT-1")
class KeysBecomeText(Queue):
    """Object keys that are no strings become strings."""

    def encode(self, work: Any) -> str:
        return super().encode(json.loads(json.dumps(work, allow_nan=False)) if isinstance(work, dict) else work)


@breaks("INPUT-1")
class SurrogatesBecomeQuestions(Queue):
    """Lone surrogates become question marks."""

    def encode(self, work: Any) -> str:
        return super().encode(
            each_scalar(
                work, lambda value: value.encode(errors="replace").decode() if isinstance(value, str) else value
            )
        )


@breaks("INPUT-1")
class RefusesWhenClaimed(Queue):
    """What is not JSON is taken, and found out when it is claimed."""

    def encode(self, work: Any) -> str:
        try:
            return super().encode(work)
        except ValueError:
            return "not JSON"


@breaks("INPUT-1")
class RefusesAndKeeps(Queue):
    """A work that is refused leaves null in the queue."""

    def push(
        self,
        work: Any,
        *,
        key: str | None = None,
        priority: int = 0,
        not_before: datetime | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Pushed:
        try:
            self.encode(work)
        except ValueError:
            super().push(None)
            raise
        return super().push(work, key=key, priority=priority, not_before=not_before, headers=headers)


@breaks("INPUT-1")
class RefusesWithoutAName(Queue):
    """What is not JSON is refused by a bare Exception that does not say where it stands."""

    def encode(self, work: Any) -> str:
        try:
            return super().encode(work)
        except ValueError:
            raise Exception("bad input") from None


@breaks("INPUT-2")
class RefusedIsRemembered(Queue):
    """A work that was refused for its priority is known from then on, and refused as a duplicate."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.refused: dict[str, Row] = {}

    def row(self, item: Item) -> Row:
        try:
            return super().row(item)
        except (TypeError, ValueError):
            text = json.dumps(item.work, default=repr)
            self.refused[text] = Row(text, None, 0, None)
            raise

    def standing(self, row: Row) -> Row | None:
        return self.refused.get(json.dumps(json.loads(row.text))) or super().standing(row)


@breaks("INPUT-2")
class RefusalLeavesItBusy(Queue):
    """After a refused push the client takes itself for busy for ever."""

    busy = False

    def row(self, item: Item) -> Row:
        if self.busy:
            raise RuntimeError("a push is under way")
        self.busy = True
        row = super().row(item)
        self.busy = False
        return row


@breaks("INPUT-3")
class DeepWorkBreaksTheQueue(Queue):
    """A deeply nested work is taken, and whoever claims it gets an error, again and again."""

    def encode(self, work: Any) -> str:
        try:
            return super().encode(work)
        except ValueError as error:
            if "nested" in str(error) and is_list(work):
                return "[" * 100_000 + "]" * 100_000
            raise


@breaks("INPUT-3")
class IntsOf64Bits(Queue):
    """Integers keep their lowest 64 bits."""

    def encode(self, work: Any) -> str:
        return super().encode(
            each_scalar(work, lambda value: value if not is_int(value) else (value + 2**63) % 2**64 - 2**63)
        )


@breaks("INPUT-3")
class LargeIntsAreFloats(Queue):
    """Integers past 2**63 come out as floats, as from other JSON readers."""

    def decode(self, text: str) -> Any:
        return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 19 else float(digits))


@breaks("INPUT-4")
class NaiveIsUTC(Queue):
    """A time without a zone is taken for UTC."""

    def row(self, item: Item) -> Row:
        time = item.not_before
        if isinstance(time, datetime) and time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
        return super().row(replace(item, not_before=time))


@breaks("INPUT-4")
class PriorityByInt(Queue):
    """A priority of "7", 7.9 or True is turned into an int."""

    def row(self, item: Item) -> Row:
        return super().row(replace(item, priority=int(item.priority)))


@breaks("INPUT-4")
class WritesThenChecks(Queue):
    """A task is written first and its priority and time are checked then; what is refused stays."""

    def row(self, item: Item) -> Row:
        check_key(item.key)
        check_headers(item.headers)
        return Row(self.encode(item.work), item.key, 0, None, headers=dict(item.headers))

    def push(
        self,
        work: Any,
        *,
        key: str | None = None,
        priority: int = 0,
        not_before: datetime | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Pushed:
        pushed = super().push(work, key=key, headers=headers)
        check_priority(priority)
        check_time(not_before)
        return pushed


@breaks("NAMES-1")
class OnePlaceForAll(Queue):
    """Every place of a folder is the same queue."""

    def file(self, place: Path) -> Path:
        return super().file(place.parent)


@breaks("NAMES-1")
class SharedDefault(Queue):
    """The rows are a default made once, which the queues of one process share."""

    def __init__(self, place: Path, name: str, clock: Clock, rows: dict[int, Row] = {}) -> None:  # noqa: B006 the fault
        super().__init__(place, name, clock)
        self.rows = rows

    def first(self) -> Row | None:
        return min((row for row in self.rows.values() if row.state == "ready"), key=self.order, default=None)


@breaks("NAMES-2")
class IgnoresNames(Queue):
    """All names of a place are one queue."""

    def file(self, place: Path) -> Path:
        return place / "queue.jsonl"


@breaks("NAMES-2")
class NamesWithoutSigns(Queue):
    """Names become file names with everything but letters and digits taken out, and some of them meet."""

    def file(self, place: Path) -> Path:
        return place / f"{re.sub('[^a-z0-9]', '', self.name.lower())}.jsonl"


def is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_list(value: Any) -> bool:
    return isinstance(value, list)
