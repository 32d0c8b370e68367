"""How slow the machine is, as the suite finds out while somebody is waited for, and what follows from it."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta

import pytest
from lowq_conformance.cases.away import find_bound
from lowq_conformance.cases.waiting import LEAST, Lateness
from lowq_conformance.contract.profile import QUICK

BESIDE_BURNING = """
import os, time
from lowq_conformance.cases.waiting import Lateness

os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
burning = []
for _ in range(3):
    if not (pid := os.fork()):
        while True:
            pass
    burning.append(pid)
late = Lateness()
try:
    end = time.monotonic() + 30
    while late.slowness < 1.5 and time.monotonic() < end:
        time.sleep(0.05)
finally:
    late.close()
    for pid in burning:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
print(late.slowness)
"""


@pytest.fixture
def late() -> Lateness:
    """One that measures nothing by itself any more, and has found nothing."""
    made = Lateness()
    made.close()
    made.worst = 0.0
    return made


def test_who_works_for_three_times_as_long_may_be_late_for_three_times_as_long(late: Lateness) -> None:
    before = find_bound(timedelta(seconds=1), QUICK, late)
    for _ in range(3):
        late.note(0.03, 0.01)

    assert late.slowness == pytest.approx(3)
    assert late.allowance == pytest.approx(3 * LEAST)
    assert find_bound(timedelta(seconds=1), QUICK, late) == pytest.approx(before + 2 * (QUICK.away + LEAST))


def test_one_slow_burst_is_weighed_with_all_others(late: Lateness) -> None:
    for took in (0.01, 0.04, 0.01):
        late.note(took, 0.01)

    assert late.slowness == pytest.approx(2)


def test_a_machine_is_never_quicker_than_one_whose_work_has_a_processor_of_its_own(late: Lateness) -> None:
    assert late.slowness == 1
    late.note(0.01, 0.0101)

    assert late.slowness == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a process cannot be kept to one processor here")
def test_beside_processes_that_never_wait_the_machine_is_found_slow() -> None:
    told = subprocess.run(
        [sys.executable, "-c", BESIDE_BURNING], capture_output=True, text=True, timeout=60, check=True
    )

    assert float(told.stdout) >= 1.5
