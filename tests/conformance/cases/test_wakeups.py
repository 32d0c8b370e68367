"""Where a client stands still on its way into a wait: evenly over the way, so that no luck decides what is met."""

from __future__ import annotations

from random import Random

import pytest
from lowq_conformance.cases.wakeups import OFTEN, in_order

WAY = [f"line {number}" for number in range(300)]


@pytest.mark.parametrize("seed", range(50))
def test_a_window_of_a_twentieth_of_the_way_is_met_among_the_first_34_lines(seed: int) -> None:
    first = sorted(in_order(WAY, Random(seed))[:34])

    assert max(after - before for before, after in zip([0, *first], [*first, 301], strict=True)) <= 300 / 20


def test_each_line_comes_once_and_one_of_a_loop_a_few_times() -> None:
    way = [*WAY[:10], *["looks again"] * 100, *WAY[10:]]

    found = sorted(in_order(way, Random(1)))

    assert found == [*range(1, 11 + OFTEN), *range(111, 401)]
