"""A harness may be written against types, and has only the methods that it brings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lowq_conformance
import pytest
from lowq_conformance.contract.harness import Client, Harness, brings
from lowq_conformance.contract.promises import HARNESS_NAMES, METHODS, PROMISES, TRAITS, BrokenHarness, Traits
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.run.runner import run
from lowq_conformance.subject.loading import load

TYPED = Path(__file__).parents[1] / "typed_harness.py"


def test_a_harness_of_types_is_a_harness() -> None:
    subject = load(f"{TYPED}:Typed")

    assert subject.promises == {"fifo", "prompt"}
    assert not subject.can_pass_time
    assert load(f"{TYPED}:Named").promises == {"fifo", "prompt", "names"}


def test_a_typed_harness_is_checked_like_any_other() -> None:
    (report,) = run([f"{TYPED}:Typed"], only=["DELIVER", "ORDER"], seed=1)

    assert {clause.verdict for clause in report.clauses} == {Verdict.KEPT, Verdict.NOT_PROMISED}


def test_what_the_types_say_is_still_looked_at() -> None:
    with pytest.raises(BrokenHarness, match="patience: expected a timedelta, got 5"):
        load(f"{TYPED}:NotALength")


@pytest.mark.parametrize("method", [name for name in METHODS if name != "open"])
def test_a_method_that_is_not_its_own_is_none(method: str) -> None:
    class Mine(Harness):
        def open(self, place: Path) -> Path:
            return place

    class Brings(Mine):
        pass

    setattr(Brings, method, lambda *_: None)

    assert not brings(Mine(), method)
    assert brings(Brings(), method)


def test_the_types_know_every_trait_and_method_with_its_default() -> None:
    stated = {name: getattr(Harness, name) for name in TRAITS}

    assert stated == {name: getattr(Traits(), name) for name in TRAITS}
    assert {name for name in vars(Harness) if not name.startswith("_")} == {*HARNESS_NAMES}


def test_the_types_know_every_method_that_a_promise_takes() -> None:
    taken = {method for promise in PROMISES.values() for method in promise.methods}

    assert taken <= {name for name in vars(Client) if not name.startswith("_")}


@pytest.mark.parametrize("name", lowq_conformance.__all__)
def test_the_public_names_are_there(name: str) -> None:
    assert getattr(lowq_conformance, name).__name__ == {"check": "run"}.get(name, name)


def test_an_unknown_name_is_said_to_be_unknown() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Harnes'"):
        _ = lowq_conformance.Harnes


def test_the_command_loads_nothing_that_runs_tests() -> None:
    """The process that shows a run starts others for it; it shall be there at once, also for `--history`."""
    program = (
        "import sys, lowq_conformance.run.command; rooms = ['cases', 'storm', 'sweep.sweep', 'subject.subject'];"
        "print({'pytest', 'hypothesis', *(f'lowq_conformance.{room}' for room in rooms)} & {*sys.modules})"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert said.stdout.strip() == "set()"


def test_importing_the_suite_loads_neither_pytest_nor_hypothesis() -> None:
    program = (
        "import sys, lowq_conformance; lowq_conformance.Harness; print({'pytest', 'hypothesis'} & {*sys.modules})"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert said.stdout.strip() == "set()"
