"""What all tests need of the process that they run in. (Not in tests/: mypy knows one module of that name.)"""

from __future__ import annotations

import os
import random
import signal
from typing import Any

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background so, and every process that a test starts would be as deaf.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What a test draws is the same in each run: the same command repeats a failure. Exhaustive ones draw anew."""
    if "LOWQ_EXHAUSTIVE" not in os.environ:
        random.seed(item.nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Half as many again as there are cores, for `-n auto`: many tests wait for processes, leases and servers."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + (cores + 1) // 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A process that has no test left takes half of another's: the long tests stand side by side, and pytest-xdist's
    first deal would give most of them to one process, which the others would wait for."""
    if config.getoption("dist") != "load":
        return None  # another way was asked for
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A peer that made a new release is said at the end: its verdicts in docs/peers.md were not looked at."""
    skipped = {
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    }
    if moved := sorted(reason for reason in skipped if reason.startswith("docs/peers.md")):
        terminalreporter.section("peers that were not looked at", yellow=True)
        for reason in moved:
            terminalreporter.write_line(reason)
