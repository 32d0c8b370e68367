"""The runner: verdicts of a sound queue and a broken one, and what becomes of a queue that takes its process down."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from lowq_conformance.runner import run
from lowq_conformance.words import BrokenHarness

HARNESSES = Path(__file__).with_name("harnesses.py")


@pytest.mark.parametrize("name", ["Sound", "Async"])
def test_a_sound_queue_that_promises_little_is_kept(name: str) -> None:
    (report,) = run([f"{HARNESSES}:{name}"], only=["ORDER", "DELIVER-1"], seed=1)

    assert report.ids("kept") == ("DELIVER-1", "ORDER-1", "ORDER-11")
    assert report.ids("broken") == report.ids("not observed") == ()
    assert (report.verdict, report.exit_code) == ("kept", 0)


def test_a_broken_clause_is_shown_as_the_calls_that_break_it() -> None:
    target = f"{HARNESSES}:LastFirst"
    (report,) = run([target], only=["ORDER-1"], seed=7)

    assert (report.verdict, report.exit_code) == ("broken", 1)
    assert "q.push('b')" in report["ORDER-1"].evidence
    assert "expected 'a'" in report["ORDER-1"].evidence
    assert shlex.split(report["ORDER-1"].rerun) == ["lowq", "check", target, "--only", "ORDER-1", "--seed", "7"]


def test_a_queue_that_ends_the_process_is_broken_and_the_rest_is_checked() -> None:
    (report,) = run([f"{HARNESSES}:Dies"], only=["DELIVER-2", "DELIVER-5"], seed=1)

    assert set(report.ids("broken")) == {"DELIVER-2", "DELIVER-5"}
    assert "did not return" in report["DELIVER-2"].evidence
    assert "the Python process left by exit(7)" in report["DELIVER-2"].evidence


def test_a_queue_that_hangs_is_broken() -> None:
    (report,) = run([f"{HARNESSES}:Hangs"], only=["DELIVER-4"], seed=1, bound=5)

    assert report.ids("broken") == ("DELIVER-4",)
    assert "q.claim()        # did not return" in report["DELIVER-4"].evidence
    assert "did not return within 5 seconds" in report["DELIVER-4"].evidence


def test_what_a_claim_hands_out_must_have_a_work() -> None:
    with pytest.raises(BrokenHarness, match=r"expected None or something with \.work, got str"):
        run([f"{HARNESSES}:NoWork"], only=["ORDER-1"])


def test_several_targets_are_reported_in_their_order() -> None:
    reports = run(["memory", f"{HARNESSES}:LastFirst"], only=["ORDER-1"], seed=1)

    assert [report.verdict for report in reports] == ["kept", "broken"]
