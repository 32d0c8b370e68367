"""Looks for a random program that a queue answers wrongly, and makes it minimal."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from lowq_conformance.cases.findings import Finding, ProgramSearch, Spent
from lowq_conformance.cases.judged_calls import SECOND, micros
from lowq_conformance.cases.programs import QueueMachine
from lowq_conformance.checker.model_tasks import Mismatch
from lowq_conformance.contract.outcomes import NotPromised
from lowq_conformance.history.spec import Spec
from lowq_conformance.subject.subject import Subject
from lowq_conformance.support import local_constants

STEPS = 25


def spec_of(subject: Subject) -> Spec:
    """What the queue promises, in microseconds."""
    loose = timedelta(0) if subject.knows_now else SECOND
    return subject.spec(grace=micros(subject.traits.grace), eps=micros(subject.resolution + loose))


def explore(
    subject: Subject,
    folder: Path,
    number: int,
    *,
    seconds: float = 30.0,
    shrinking: float = 5.0,
    examples: int = 60,
) -> Finding | None:
    """What random programs, drawn from seed `number`, find wrong with the queue: the shortest of them, or None.

    The number of programs bounds the search, so that a seed finds the same on a busy machine; `seconds` is for queues
    that make one wait. When something was found, it is made small for `shrinking` seconds at most.
    """
    if subject.only_pushes:
        raise NotPromised("its own worker claims, one task after the other")
    ids = _tells_ids(subject, folder)
    search = ProgramSearch(subject, folder, spec_of(subject), ids, time.monotonic() + seconds, shrinking)
    machine = seed(number)(type("Machine", (QueueMachine,), {"search": search}))
    set_hypothesis_home_dir(folder)  # it would leave a folder where the user stands
    try:
        with local_constants.ignore():
            run_state_machine_as_test(
                machine,
                settings=settings(
                    database=None,
                    deadline=None,
                    max_examples=examples,
                    stateful_step_count=STEPS,
                    suppress_health_check=list(HealthCheck),
                    phases=(Phase.generate, Phase.shrink),
                    verbosity=Verbosity.quiet,
                    print_blob=False,
                    report_multiple_bugs=False,
                ),
            )
    except (Mismatch, Flaky, ExceptionGroup, Spent):
        if not search.found and not search.spent:
            raise
    finally:
        set_hypothesis_home_dir(None)
    return min(search.found.values(), key=lambda found: (found.calls, len(found.program)), default=None)


def _tells_ids(subject: Subject, folder: Path) -> bool:
    """Whether both push and claim say which task it is."""
    pilot = subject.fresh()
    try:
        client = pilot.open(Path(mkdtemp(dir=folder)).resolve())
        answer = client.push("a")
        held = client.claim()
        return held is not None and None not in (answer.id, held.id) and answer.id == held.id
    finally:
        pilot.close()
