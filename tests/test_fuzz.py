"""Whatever a caller gives, what lowq refuses it refuses by name, and writes nothing: a short run of the fuzzers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from backends import BACKENDS, kept_at
from processes import BOUND

from lowq import (
    Backend,
    FakeClock,
    Headers,
    InvalidLocation,
    Lease,
    Retry,
    State,
    SystemClock,
    Task,
    Worker,
    open_backend,
)
from lowq.cli import main
from lowq.excerpt import excerpt
from lowq.worker.background import active_pid, start

ROOT = Path(__file__).parent.parent
THEN = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HUGE = 10**5000
TASK = Task("1", 1, None, 0, None, 0, State.READY, None, THEN)


@pytest.mark.parametrize(
    ("what", "examples"),
    [("api", 250), ("command", 60)] if "LOWQ_EXHAUSTIVE" in os.environ else [("api", 80), ("command", 20)],
)
def test_odd_values_are_refused_by_name(what: str, examples: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "bench.fuzz", what, "--examples", str(examples), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=4 * BOUND,
        check=False,
        stdin=subprocess.DEVNULL,
    )

    told = json.loads(ran.stdout)
    assert (ran.returncode, told["raw"]) == (0, 0), ran.stderr
    assert told["tried"] >= examples / 2
    assert told["refused"] > examples / 4


@pytest.fixture(params=[each for each in BACKENDS if each != "http"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    made = open_backend(kept_at(request, tmp_path, SystemClock()))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("lease", "said"),
    [
        (Lease(None, "x", THEN), "lease: expected a Lease of a Task with an id, got one of None"),  # type: ignore[arg-type]
        (Lease(TASK, 5, THEN), "lease: expected a Lease whose token is a string, got 5"),  # type: ignore[arg-type]
        (Lease(TASK, HUGE, THEN), "lease: .* got an int of some 4983 digits"),  # type: ignore[arg-type]
        (Lease(TASK, "\ud800", THEN), "lease: expected the token that claim gave"),
        (Lease(TASK, "x", None), "lease: expected a Lease that expires at a datetime, got None"),  # type: ignore[arg-type]
    ],
)
def test_a_lease_made_by_hand_is_refused_by_name(queue: Backend, lease: Lease, said: str) -> None:
    verbs: list[Callable[[], object]] = [
        lambda: queue.ack(lease),
        lambda: queue.extend(lease, lease_for=DAY),
        lambda: queue.release(lease),
    ]
    for verb in verbs:
        with pytest.raises((TypeError, ValueError), match=said):
            verb()
    with pytest.raises((TypeError, ValueError), match=said.replace("lease:", "lease 0:")):
        queue.ack_many([lease])


def test_huge_numbers_are_refused_by_name_or_taken(queue: Backend) -> None:
    queue.push(1)

    assert len(queue.tasks(limit=HUGE)) == 1
    assert len(queue.claim_many(2**70, lease_for=DAY)) == 1
    with pytest.raises(ValueError, match=r"priority: expected -2\*\*31 to 2\*\*31-1, got an int of some 4983 digits"):
        queue.push(2, priority=HUGE)
    with pytest.raises(ValueError, match="claim_for: expected a lease that ends before the year 10000"):
        queue.ack(Lease(TASK, "x", THEN), claim_for=timedelta.max)


def test_a_page_behind_what_is_no_task_of_a_page_is_refused_by_name(queue: Backend) -> None:
    for parts, said in (
        ({"id": 5}, "after: expected a Task whose id is a string, got 5"),
        ({"state": "x"}, "after: expected a Task whose state is a State, got 'x'"),
        ({"priority": "x"}, "after: priority: expected an int, got str"),
        ({"not_before": THEN.replace(tzinfo=None)}, "after: not_before: expected an aware datetime"),
    ):
        whole = {name: getattr(TASK, name) for name in Task.__dataclass_fields__}
        with pytest.raises((TypeError, ValueError), match=said):
            queue.tasks(after=Task(**{**whole, **parts}))


def test_a_clock_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    for clock in (0, "", SystemClock, THEN):
        for made in (f"memory://{tmp_path}", tmp_path / "q.db", f"files://{tmp_path}/q"):
            with pytest.raises(TypeError, match="clock: expected a Clock, such as SystemClock"):
                open_backend(made, clock=clock)  # type: ignore[arg-type]


def test_the_longest_patience_and_wait_are_taken(tmp_path: Path) -> None:
    for made in (tmp_path / "q.db", f"files://{tmp_path}/q"):
        queue = open_backend(made, patience=timedelta.max)
        queue.push(1)
        queue.close()

    assert SystemClock().countdown(timedelta.max)() > timedelta(days=800_000_000)
    assert FakeClock().countdown(timedelta.max)() > timedelta(days=2_000_000)


def test_what_is_no_clock_of_ours_is_not_overwritten(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"something else")

    with pytest.raises(InvalidLocation, match="holds something else than the instant of a FakeClock"):
        FakeClock(path=theirs)

    assert theirs.read_bytes() == b"something else"


@pytest.mark.parametrize("given", [5, {1: 2}, [("a",)], {"a": 1}, ["a"]])
def test_headers_of_other_types_are_refused_by_name(given: object) -> None:
    with pytest.raises(TypeError, match="headers: expected a mapping of strings to strings"):
        Headers(given)  # type: ignore[arg-type]


def test_what_a_worker_cannot_be_made_of_is_refused_by_name(tmp_path: Path) -> None:
    queue = open_backend(tmp_path / "q.db")
    with pytest.raises(TypeError, match="backend: expected an opened queue"):
        Worker("jobs.db", print)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="random: expected a Random"):
        Worker(queue, print, random=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="output: expected an open file, got 'x'"):
        start(Worker(queue, print), tmp_path / "q.db", output="x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name: expected a string"):
        active_pid(tmp_path / "q.db", None)  # type: ignore[arg-type]
    queue.close()


def test_the_next_attempt_of_an_endless_retry_is_the_last_instant(queue: Backend) -> None:
    queue.push(1)
    worker = Worker(queue, _fail, retry=Retry(first=timedelta.max, longest=timedelta.max))

    run = worker.run_one()

    assert run is not None
    assert (run.outcome, run.next_due) == ("retry", datetime.max.replace(tzinfo=UTC))


def _fail(work: object) -> None:
    raise OSError("again")


def test_a_claimed_work_on_a_terminal_has_no_invisible_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = open_backend(tmp_path / "q.db")
    queue.push({"\u202e": "\x85\x1b[31m"})
    queue.close()

    assert main(["claim", str(tmp_path / "q.db")]) == 0

    said = capsys.readouterr().out
    assert json.loads(said.splitlines()[1]) == {"\u202e": "\x85\x1b[31m"}
    assert said.replace("\n", "").isprintable()


def test_whatever_a_value_is_it_has_an_excerpt() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]

    assert excerpt(HUGE) == "an int of some 4983 digits"
    assert excerpt(deep) == "a value of type list"
    assert excerpt("a" * 200) == "'" + "a" * 78 + "…"
    assert excerpt("\u202e") == r"'\u202e'"


def test_a_push_makes_no_queue_where_its_url_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("false", "no", "off", "0"):
        assert main(["push", f"sqlite://{tmp_path}/q.db?create={word}", "1"]) == 2

    assert "there is no queue here" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
