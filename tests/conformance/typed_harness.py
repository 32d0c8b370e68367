"""A harness written against the suite's types: `mypy --strict` takes it, and says what does not fit."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from lowq_conformance import Client, Harness


class Claimed:
    def __init__(self, work: object) -> None:
        self.work = work


class Works(Client):
    def __init__(self, works: list[object]) -> None:
        self.works = works

    def push(self, work: object, *, priority: int = 0) -> bool:
        del priority
        self.works.append(work)
        return True

    def claim(self) -> Claimed | None:
        return Claimed(self.works.pop(0)) if self.works else None

    def ack(self, claimed: Claimed) -> None:
        pass


class Typed(Harness):
    promises = frozenset({"fifo", "prompt"})
    patience = timedelta(seconds=2)

    def __init__(self) -> None:
        self.places: dict[Path, list[object]] = {}

    def open(self, place: Path) -> Works:
        return Works(self.places.setdefault(place, []))


class Named(Typed):
    promises = frozenset({"fifo", "prompt", "names"})

    def open(self, place: Path, name: str = "default") -> Works:
        return Works(self.places.setdefault(place / name, []))


class NotALength(Typed):
    patience = 5  # type: ignore[assignment]


class NoSuchWindow(Typed):
    dedupe = "always"  # type: ignore[assignment]


class OpensWithoutAPlace(Typed):
    def open(self) -> Any:  # type: ignore[override]
        return Works([])
