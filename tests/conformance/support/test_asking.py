"""Asking again: for so long, and often enough where a machine stood still meanwhile."""

from __future__ import annotations

import time

from lowq_conformance.support.asking import OFTEN, ask_again


def test_it_is_asked_until_the_time_is_over() -> None:
    began = time.monotonic()

    assert len(list(ask_again(0.2))) >= OFTEN
    assert time.monotonic() - began >= 0.2


def test_a_machine_that_stood_still_for_all_of_the_time_takes_no_chance_away() -> None:
    again = ask_again(0.01)
    next(again)
    time.sleep(0.1)

    assert len(list(again)) == OFTEN - 1


def test_where_there_is_no_time_it_is_not_asked_again() -> None:
    assert list(ask_again(0)) == []
