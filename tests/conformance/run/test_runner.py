"""The runner: verdicts of a sound queue and a broken one, and what becomes of a queue that takes its process down."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest
from lowq_conformance.contract.profile import QUICK
from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.queues.broken import BROKEN
from lowq_conformance.report.report import worst
from lowq_conformance.report.tally import Tally
from lowq_conformance.run.runner import run
from lowq_conformance.support.processes import is_gone

HARNESSES = Path(__file__).parent.with_name("harnesses.py")


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


def test_what_is_broken_is_asked_no_more_where_that_is_enough() -> None:
    queue, said = BROKEN["CountsOnce"], dict[bool, list[str]]()
    for until_broken in (True, False):

        def watch(found: Tally, _: str, key: bool = until_broken) -> None:
            said[key] = [side.verdict for sides in found.sides.values() for side in sides]

        run([queue.target], only=queue.clauses, seed=1, watch=watch, jobs=1, profile=QUICK, until_broken=until_broken)

    assert "broken" in said[True]
    assert said[True] == said[False][: len(said[True])]
    assert len(said[True]) < len(said[False])


def test_what_is_broken_is_asked_no_more_of_what_waits_beside_the_rest() -> None:
    queue, said = BROKEN["DeafToItsOwnProcess"], list[str]()

    def watch(found: Tally, _: str) -> None:
        said[:] = [side.verdict for sides in found.sides.values() for side in sides]

    run([queue.target], only=queue.clauses, seed=1, watch=watch, jobs=2, profile=QUICK, until_broken=True)

    assert "broken" in said
    assert len(said) < 6, "all the tests of the clause were begun"


def test_a_queue_that_ends_the_process_is_broken_and_the_rest_is_checked() -> None:
    (report,) = run([f"{HARNESSES}:Dies"], only=["DELIVER-2", "DELIVER-5"], seed=1)

    assert set(report.ids("broken")) == {"DELIVER-2", "DELIVER-5"}
    assert "did not return" in report["DELIVER-2"].evidence
    assert "the Python process left by exit(7)" in report["DELIVER-2"].evidence


def test_nothing_is_left_of_a_test_whose_process_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / "left"
    monkeypatch.setenv("LEFT_BEHIND", str(left))
    (report,) = run([f"{HARNESSES}:DiesAndLeavesOneBehind"], only=["DELIVER-4"], seed=1)

    assert report.ids("broken") == ("DELIVER-4",)
    ends = time.monotonic() + 30
    pids = set(map(int, left.read_text().split()))
    while alive := {pid for pid in pids if not is_gone(pid)}:
        assert time.monotonic() < ends, f"{alive} of {pids} live on"
        time.sleep(0.01)


def test_a_queue_that_hangs_is_broken() -> None:
    (report,) = run([f"{HARNESSES}:Hangs"], only=["DELIVER-4"], seed=1, bound=5)

    assert report.ids("broken") == ("DELIVER-4",)
    assert "q.claim()        # did not return" in report["DELIVER-4"].evidence
    assert "did not return within 5 seconds" in report["DELIVER-4"].evidence


def test_a_queue_that_is_only_slow_is_not_accused() -> None:
    (report,) = run([f"{HARNESSES}:Slow"], only=["ORDER-1", "DELIVER-5"], seed=1, bound=2)

    assert report.ids("broken") == ()
    assert report["ORDER-1"].evidence == "the test did not return within 2 seconds, at slow calls"
    assert report["DELIVER-5"].verdict == "kept"


def test_a_batch_may_be_too_large_for_a_queue() -> None:
    (report,) = run([f"{HARNESSES}:SmallBatches"], only=["ORDER-10", "ORDER-11"], seed=1)

    assert report.verdict == "kept"


def test_a_harness_that_turns_out_to_be_none_is_said_to_be_so_and_the_others_are_checked() -> None:
    targets = [f"{HARNESSES}:NoWork", f"{HARNESSES}:MisspeltTrait", "memory"]
    none, misspelt, memory = run(targets, only=["ORDER-1"], seed=1)

    assert "claim: expected None or something with .work, got str" in none.trouble
    assert (none["ORDER-1"].verdict, none["ORDER-1"].evidence) == ("not observed", none.trouble)
    assert "unknown trait 'dedup'" in misspelt.trouble
    assert (memory.verdict, memory.trouble) == ("kept", "")
    assert [none.exit_code, misspelt.exit_code, memory.exit_code] == [2, 2, 0]
    assert worst([memory, none]) == 2


def test_where_no_target_can_be_loaded_nothing_is_reported() -> None:
    with pytest.raises(BrokenHarness, match="unknown trait 'dedup'"):
        run([f"{HARNESSES}:MisspeltTrait"], only=["ORDER-1"])


def test_the_tests_of_a_target_are_shared_out_and_its_verdicts_are_the_same() -> None:
    target, only = f"{HARNESSES}:Dies", ["DELIVER-2", "DELIVER-4", "DELIVER-5", "ORDER", "INPUT-1"]
    alone, shared = (run([target], only=only, seed=1, jobs=jobs)[0] for jobs in (1, 3))

    assert [(each.id, each.verdict) for each in shared.clauses] == [(each.id, each.verdict) for each in alone.clauses]
    assert "DELIVER-2" in shared.ids("broken")
    assert shared.ids("not observed") == ()


def test_a_budget_is_spent_on_further_seeds() -> None:
    seeds: set[int] = set()

    def watch(found: Tally, _: str) -> None:
        seeds.update(seed for _, seed in found.sides)

    for budget in (8, 30, 100):  # a busy machine needs longer for the first one
        (report,) = run(["memory"], only=["ORDER-5"], seed=7, budget=budget, watch=watch)
        if report.seeds > 1:
            break

    assert report.seeds > 1
    assert seeds == set(range(7, 7 + report.seeds))
    assert (report.verdict, report.ended) == ("kept", "")
    assert report.seconds < budget + 10


def test_what_the_budget_does_not_reach_is_not_observed_and_says_why() -> None:
    (report,) = run([f"{HARNESSES}:Hangs"], only=["DELIVER-4", "NAMES-1"], seed=1, budget=10)

    assert report["DELIVER-4"].verdict == "not observed"
    assert report["DELIVER-4"].evidence == "the budget was used up"
    assert (report.exit_code, report.ended) == (3, "the budget was used up")


def test_the_time_of_one_target_is_no_part_of_the_time_of_another() -> None:
    before = time.monotonic()
    reports = run(["memory"] * 3, only=["ORDER-1"], seed=1)
    whole = time.monotonic() - before

    assert sum(report.seconds for report in reports) <= whole


def test_several_targets_are_reported_in_their_order() -> None:
    reports = run(["memory", f"{HARNESSES}:LastFirst"], only=["ORDER-1"], seed=1)

    assert [report.verdict for report in reports] == ["kept", "broken"]
