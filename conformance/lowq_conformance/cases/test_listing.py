"""A listing and a count beside what others do: each is right at some instant, and none is an error."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import cast

import pytest

from lowq_conformance.cases.expect import claim
from lowq_conformance.cases.many import BRIEF, LONGEST
from lowq_conformance.contract.outcomes import Broken, NotPromised, Refused
from lowq_conformance.subject.client import Client
from lowq_conformance.subject.subject import Subject

BESIDE = 150
"""How many tasks go through beside it."""


class WorksOff(threading.Thread):
    """Another client claims and acks what there is, for some seconds at most."""

    def __init__(self, subject: Subject, place: Path) -> None:
        super().__init__(name="lowq-works-off", daemon=True)
        self._subject, self._place = subject, place
        self.error: BaseException | None = None
        self.done = 0

    def run(self) -> None:
        """One task after the other."""
        try:
            client, end = self._subject.open(self._place), time.monotonic() + BRIEF
            while time.monotonic() < end and (held := claim(client)) is not None:
                client.ack(held)
                self.done += 1
        except BaseException as error:
            self.error = error


@pytest.mark.clause("RACE-4")
@pytest.mark.needs("inspect")
@pytest.mark.needs("threads")
def test_to_list_and_count_while_others_ack_is_no_error(scout: Client) -> None:
    if scout.subject.traits.main_thread:
        raise NotPromised("its clients work in the main thread only")
    for number in range(min(BESIDE, scout.subject.traits.room or BESIDE)):
        scout.push(f"beside {number}")
    other = WorksOff(cast("Subject", scout.subject), scout.place)
    other.start()
    try:
        while other.is_alive():
            scout.tasks()
            scout.count()
    except Refused as refused:
        raise Broken(
            f"{refused}, while another client acked one task after the other ({other.done} by then)"
        ) from None
    finally:
        other.join(LONGEST)
    if other.error is not None:
        raise other.error
