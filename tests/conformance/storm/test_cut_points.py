"""Where calls are interrupted: by no luck where a state lasts, and at each line where there is room."""

from __future__ import annotations

from random import Random

import pytest
from lowq_conformance.storm.cut_points import EVENLY, Cut, evenly, in_order


def a_call(verb: str, points: int, lines: int) -> list[Cut]:
    return [(verb, ["queue.py", n % lines, verb, n // lines + 1], None) for n in range(points)]


@pytest.mark.parametrize("points", [1, 2, 5, 6, 13, 60, 284])
def test_a_state_that_lasts_for_a_quarter_of_a_call_is_met_among_its_first_points(points: int) -> None:
    call = a_call("push_many", points, 40)
    for seed in range(200):
        first = sorted(call.index(cut) for cut in evenly(call, Random(seed))[:EVENLY])

        longest = max((after - before - 1 for before, after in zip([-1, *first], [*first, points], strict=True)))

        assert longest <= points / 4, f"with seed {seed} the first points were {first} of {points}"


@pytest.mark.parametrize("seed", range(5))
def test_each_point_comes_once_all_verbs_in_turn_and_new_lines_before_known_ones(seed: int) -> None:
    calls = [a_call("push", 50, 30), a_call("ack", 4, 4), a_call("tasks", 400, 60)]

    plan = in_order(calls, Random(seed))

    assert sorted(map(repr, plan)) == sorted(repr(cut) for call in calls for cut in call)
    assert [verb for verb, _, _ in plan[:9]] == ["push", "ack", "tasks"] * 3
    lines = [(verb, *point[:3]) for verb, point, _ in plan if point is not None]
    first = 2 * EVENLY + 4
    new = [line not in lines[:at] for at, line in enumerate(lines)][first:]
    assert new == sorted(new, reverse=True)
    assert len({*lines}) == 30 + 4 + 60
