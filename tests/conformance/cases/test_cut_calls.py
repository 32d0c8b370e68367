"""Calls that are cut off: one that does not come back in time is tried once more before anybody is accused."""

from __future__ import annotations

from typing import Any

import pytest
from lowq_conformance.cases.cut_calls import CutStage
from lowq_conformance.cases.waiting import Missed
from lowq_conformance.support.proxy import Fault

LOST = Fault("client", 1, "lose")


class Proxy:
    """Who is told that nothing is cut any more."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def plan(self, fault: Fault | None) -> None:
        """What comes next is kept."""
        self.told.append(fault)

    def cut(self) -> None:
        """As `plan`."""
        self.told.append("cut")


@pytest.mark.parametrize(
    ("late", "said"),
    [(0, ["lost"]), (1, ["lost"]), (2, ["q.push did not come back within 5.0 s"])],
    ids=["in time", "late once", "late twice"],
)
def test_who_is_late_once_is_asked_again(monkeypatch: pytest.MonkeyPatch, late: int, said: list[str]) -> None:
    stage, made, renewed = CutStage.__new__(CutStage), list[tuple[str, Fault, bool]](), list[None]()
    stage.proxy = Proxy()  # type: ignore[assignment]

    def play(verb: str, fault: Fault, *, again: bool) -> list[str] | None:
        made.append((verb, fault, again))
        if len(made) <= late:
            raise Missed("q.push did not come back within 5.0 s")
        return ["lost"]

    monkeypatch.setattr(stage, "play", play)
    monkeypatch.setattr(stage, "renew", lambda: renewed.append(None))

    assert stage.confirm("push", LOST, again=True) == said
    assert made == [("push", LOST, True)] * min(late + 1, 2)
    assert len(renewed) == late
    assert stage.proxy.told == [None, "cut"] * late  # type: ignore[attr-defined]
