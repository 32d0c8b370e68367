"""Timelines of characters: what was cut off, who was killed, and what must not be obeyed or would not fit."""

from __future__ import annotations

from math import inf

from lowq_conformance.history.operation import Op
from lowq_conformance.history.timeline import label, timeline
from lowq_conformance.history.units import NANOSECONDS, format_length
from lowq_conformance.support.text import excerpt, printable


def test_an_open_end_a_kill_and_a_culprit_have_their_signs() -> None:
    ops = [
        Op(0, "a", "push", 0, 1, "added", '"w"', '"w"'),
        Op(1, "b", "claim", 2, inf, killed=3),
        Op(2, "a", "claim", 4, 5, "empty"),
    ]

    assert timeline(ops, ops[-1:]).splitlines() == [
        '   a: |push "w" added|           |claim:empty!|',
        "   b:                 |claim:?--X-------------->",
        "time  0              1          3             5",
    ]


def test_a_long_time_is_written_out() -> None:
    assert [format_length(0), format_length(0.0123456789), format_length(1_332_000.4), format_length(1e20)] == [
        "0",
        "0.0123457",
        "1,332,000",
        "1e+20",
    ]


def test_a_kill_after_everything_that_is_shown_is_not_shown() -> None:
    ops = [Op(0, "a", "push", 0, 1, "added", '"w"', '"w"', killed=60), Op(1, "b", "claim", 2, 3, "empty")]

    assert "X" not in timeline(ops)


def test_names_and_works_are_cut_and_spelt_out() -> None:
    ops = [Op(0, "\x1b[31m" + "n" * 300, "push", 0, 1, "added", "w" * 1_000_000, "w")]
    drawn = timeline(ops)

    assert max(map(len, drawn.splitlines())) < 200
    assert drawn.startswith("\\x1b[31…294 more…nnnnnnn: |push www")
    assert "more…" in drawn


def test_an_excerpt_says_how_much_it_leaves_out() -> None:
    assert excerpt("x" * 30, 30) == "x" * 30
    assert excerpt("a" * 50 + "b" * 50, 30) == "a" * 10 + "…80 more…" + "b" * 10


def test_what_is_printable_stays_and_the_rest_is_spelt_out() -> None:
    assert printable("grün 漢\t\n") == "grün 漢\t\n"
    assert printable("\x00\x7f\x9b\u202e\ud800\u200b") == "\\x00\\x7f\\x9b\\u202e\\ud800\\u200b"


def test_a_time_has_its_unit_and_four_digits_at_most() -> None:
    times = [0, 199_275, 11_564_433, 999_960_000, 3_600_000_000_000, 5_976_000_000_000, 4e14, 9e15]

    assert [NANOSECONDS.length(time) for time in times] == [
        *("0 ms", "0.1993 ms", "11.56 ms", "1000 ms", "60 min", "99.6 min", "4.63 days", "104.2 days")
    ]


def test_the_length_of_a_lease_is_drawn() -> None:
    claims = [
        Op(0, "a", "claim", 0, 1, "task", "w", lease=3_600_000_000_000),
        Op(1, "b", "claim", 2, 3, "task", "v", lease=0, at_most=1e9),
        Op(2, "c", "claim", 4, 5, "task", "u"),
        Op(3, "d", "claim", 6, 7, "empty", lease=1e9),
    ]

    assert [label(op, NANOSECONDS) for op in claims] == [
        *("claim:w for 60 min", "claim:v for 0 ms to 1 s", "claim:u", "claim:empty")
    ]
