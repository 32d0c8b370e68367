"""Loading what is to be checked: every fault of a harness is said in one line, before anything is checked."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from lowq_conformance.contract.profile import QUICK
from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.queues.sound.strangers import OnAServer
from lowq_conformance.run.runner import run
from lowq_conformance.subject.loading import load

HARNESSES = Path(__file__).parent.with_name("harnesses.py")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("UnknownPromise", "unknown promise 'fiffo', did you mean 'fifo'?"),
        ("PromisesText", "promises: expected a set of words, got str"),
        ("MisspeltTrait", "unknown trait 'dedup', did you mean 'dedupe'?"),
        ("MisspeltPromises", "unknown trait 'promise', did you mean 'promises'?"),
        ("UnknownValue", "dedupe: expected 'until_done' or 'until_claimed' or 'off', got 'always'"),
        ("BareNumber", "patience: expected a timedelta, got 5"),
        ("NoMethod", "promises 'release', but the client has no method release"),
        ("NoCoroutines", "promises 'coroutines', but no method of the client is async"),
        ("NoKeyword", "promises 'priority', but the client's push takes no priority="),
        ("TakesArguments", "making the harness raised TypeError"),
        ("CannotOpen", "raised ConnectionError: no server at 10.0.0.1"),
        ("OpensNothing", "open: expected a client, got None"),
        ("CannotBeOpened", "a harness has a method open(self, place)"),
        ("instance", "expected a harness class or a callable that takes a place, got Sound"),
        ("Missing", "has no Missing"),
        ("MisspeltMethod", "unknown method 'closeplace', did you mean 'close_place'?"),
        ("MisspeltFlag", "unknown trait 'one_at_time', did you mean 'one_at_a_time'?"),
        ("MisspeltInTheInstance", "unknown trait 'fixed_leases', did you mean 'fixed_lease'?"),
        ("UnknownRefusal", "refuses: unknown word 'nil'; known are nul control astral empty bigint null"),
        ("UnknownMemory", "remembers: unknown word 'acked'; known are done dead cancelled"),
        ("RemembersWithoutDedupe", "remembers means nothing where dedupe is 'off'"),
        ("NoRoom", "room: expected a number from 1 on, or None, got 0"),
        ("KeysWithoutKeys", "dedupe_by: 'key' means nothing without the promise 'key'"),
        ("ThreadsOfTheMainThread", "a client of the main thread only cannot promise 'threads'"),
        ("FixedWithoutLease", "fixed_lease means nothing without the promise 'lease'"),
        ("LimitOfNone", "max_deliveries: expected a number from 1 on, or None, got 0"),
        ("LimitAsText", "max_deliveries: expected a number from 1 on, or None, got '3'"),
        ("MisspeltDeliveries", "unknown trait 'max_delivery', did you mean 'max_deliveries'?"),
        ("MisspeltLimit", "unknown trait 'maxdeliveries', did you mean 'max_deliveries'?"),
        ("ZeroOfNoLease", "zero_lease means nothing without the promise 'lease', or with fixed_lease"),
        ("ReleasesOfNoLimit", "counts_release means nothing without max_deliveries and the promise 'release'"),
        ("NotAFlag", "one_at_a_time: expected False or True, got 1"),
        ("CannotClose", "close_place raised ConnectionError: no server at 10.0.0.1"),
    ],
)
def test_a_fault_of_a_harness_is_said_in_one_line(name: str, said: str) -> None:
    with pytest.raises(BrokenHarness) as caught:
        load(f"{HARNESSES}:{name}")

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("memry", "expected module:Name, path/to/file.py:Name, a backend URL, or one of sqlite, "),
        ("nowhere.py:Harness", "there is no such file"),
        ("no_such_module:Harness", "raised ModuleNotFoundError"),
        ("redis2://", "unknown kind of queue"),
        ("memory://?nonsense=1", "unknown option 'nonsense'"),
        ("memory://?nonsense", "expected ?option=value"),
    ],
)
def test_a_target_that_is_none_is_refused_in_one_line(target: str, said: str) -> None:
    with pytest.raises(BrokenHarness) as caught:
        load(target)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_callable_promises_what_its_client_has_methods_for_and_what_is_added() -> None:
    assert load(f"{HARNESSES}:function").promises == frozenset()
    assert load(f"{HARNESSES}:function", ("fifo,threads",)).promises == {"fifo", "threads"}


def test_an_added_promise_that_is_unknown_is_refused() -> None:
    with pytest.raises(BrokenHarness, match="--promise: unknown promise 'fiffo'"):
        load(f"{HARNESSES}:function", ("fiffo",))


def test_a_backend_speaks_for_itself() -> None:
    subject = load("lowq.backends.memory.backend:MemoryBackend")

    assert {"fifo", "names", "clock", "lease"} <= subject.promises
    assert subject.traits.dedupe == "until_done"
    assert load("memory://?dedupe=off").traits.dedupe == "off"


def test_a_backend_url_never_opens_the_queue_it_names(tmp_path: Path) -> None:
    own = tmp_path / "own.db"
    subject = load(f"sqlite://{own}")
    (tmp_path / "place").mkdir()
    subject.open(tmp_path / "place").push("a")
    subject.close()

    assert not own.exists()


def test_calls_are_recorded_as_a_person_would_type_them(tmp_path: Path) -> None:
    subject = load("memory")
    q = subject.open(tmp_path)
    q.push("a", priority=3, not_before=subject.now(tmp_path) + timedelta(seconds=5))
    q.claim()
    subject.pass_time(tmp_path, timedelta(seconds=5))
    held = q.claim(lease_for=timedelta(seconds=60))
    assert held is not None
    q.ack(held)
    subject.close()

    assert [line.rstrip() for line in subject.journal.program().splitlines()] == [
        "q = open(place)",
        "q.push('a', priority=3, not_before=now + timedelta(seconds=5))  # added",
        "q.claim(lease_for=timedelta(seconds=60))                      # None",
        "pass_time(place, timedelta(seconds=5))",
        "lease = q.claim(lease_for=timedelta(seconds=60))              # 'a'",
        "q.ack(lease)",
    ]


def test_an_attribute_of_ones_own_that_resembles_nothing_is_no_error() -> None:
    assert load(f"{HARNESSES}:OwnAttributes").promises == {"fifo", "prompt"}


def test_a_place_is_closed_once_when_nobody_comes_there_any_more(tmp_path: Path) -> None:
    subject = load("lowq_conformance.queues.sound.strangers:OnAServer")
    first, second = tmp_path / "first", tmp_path / "second"
    for place in (first, first, second):
        subject.open(place).push("a")
    assert set(OnAServer.store) == {first, second}

    subject.close()

    assert OnAServer.store == {}


CLOSES = """
from lowq_conformance.queues.sound.strangers import OnAServer


class Closes(OnAServer):
    def close_place(self, place):
        with open({log!r}, "a") as log:
            print(place.is_dir(), file=log)
"""


def test_a_place_is_closed_while_its_folder_is_there(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "closes.py").write_text(CLOSES.format(log=str(log)))

    run([f"{tmp_path / 'closes.py'}:Closes"], only=["DELIVER-7"], seed=1, profile=QUICK)

    assert set(log.read_text().split()) == {"True"}


def test_the_places_of_a_whole_run_are_closed() -> None:
    (report,) = run(["lowq_conformance.queues.sound.strangers:OnAServer"], seed=1, profile=QUICK)

    assert report.trouble == ""
    assert report.verdict == "kept"
