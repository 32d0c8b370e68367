from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.report.tally import Tally
from lowq_conformance.run.hosts import Host, Hosts, SuiteFailed
from lowq_conformance.run.interrupt import Interruption
from lowq_conformance.run.scheduler import Scheduler
from lowq_conformance.support.channel import Channel


@pytest.fixture
def ends() -> Iterator[tuple[Host, Channel]]:
    """A host as the runner sees it, and the end that speaks for it."""
    mine, theirs = map(Channel, socket.socketpair())
    yield Host(mine, Path("journal"), Path("stacks")), theirs
    mine.close()
    theirs.close()


@pytest.mark.parametrize(
    ("trouble", "error"),
    [({"broken_harness": "claim: got str"}, BrokenHarness), ({"trouble": "a test is wrong"}, SuiteFailed)],
)
def test_a_host_that_ended_as_it_told_of_trouble_is_waited_for_no_more(
    tmp_path: Path, ends: tuple[Host, Channel], trouble: dict[str, str], error: type[Exception]
) -> None:
    host, speaks = ends
    with Interruption() as interruption:
        scheduler = Scheduler(
            Hosts(tmp_path, 1, interruption, [host]), Tally("memory", 1, frozenset(), ()), seed=1, bound=60.0
        )
        plan: dict[str, object] = {"planned": {}, "lacks": {}, "known": {}, "lots": [], "hint": ""}
        events: list[dict[str, object]] = [{**plan}, {"start": "test"}, {**trouble}, {"ended": 1}]
        for event in events:
            assert speaks.tell(event)

        with pytest.raises(error, match=next(iter(trouble.values()))):
            scheduler.carry_out()
        scheduler.stop()

    assert all(share.over for share in scheduler.shares)
