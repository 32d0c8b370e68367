"""No exception that a signal handler raises is taken for damage: a sound task is never set aside because of it."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cutoff import PACKAGE, at_instruction
from scenes import VERBS, Scene

from lowq import FakeClock, State, Task, open_backend
from lowq.backends.files import content
from lowq.backends.sqlite.rows import as_held
from lowq.clock import shift
from lowq.rules.adoption import adoptions
from lowq.rules.damage import read_headers, read_text, read_work
from lowq.rules.entry import checksum, entry
from lowq.rules.leases import check_reason
from lowq.rules.options import length_of

STEP = 1 if "LOWQ_EXHAUSTIVE" in os.environ else 151
READING = (PACKAGE, f"{Path(json.__file__).parent}/")

TEXT = '{"a":[1,2.5,"\u00e9",null]}'
HEADERS = '{"trace":"1"}'
FILE = content.of_entry(entry({"a": ["\u00e9"]}, "k", 3, None, {"b": "c"}), 5)
LATEST = datetime(9999, 12, 31, tzinfo=UTC)
TASK = Task("1", {"a": ["\u00e9"]}, "k", 3, None, 2, State.DEAD, None, datetime(2020, 1, 1, tzinfo=UTC))

KINDS: dict[str, Callable[[], Exception]] = {
    "ValueError": lambda: ValueError("the alarm's"),
    "RecursionError": lambda: RecursionError("the alarm's"),
    "TypeError": lambda: TypeError("the alarm's"),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "the alarm's"),
    "OverflowError": lambda: OverflowError("the alarm's"),
    "UnicodeEncodeError": lambda: UnicodeEncodeError("utf-8", "\ud800", 0, 1, "the alarm's"),
}

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Callable[[], Exception]:
    """What the handler raises."""
    return KINDS[request.param]


def strike(kind: Callable[[], Exception]) -> None:
    raise kind()


def is_alarm(error: Exception, kind: Callable[[], Exception]) -> bool:
    return type(error) is type(kind()) and error.args == kind().args


@pytest.mark.parametrize(
    "read",
    [
        lambda: read_work(TEXT, "k", HEADERS, checksum(TEXT, "k", HEADERS)),
        lambda: read_work(TEXT, None, None, None),  # of an older queue
        lambda: read_headers(HEADERS),
        lambda: read_text("\u00e9".encode()),
        lambda: as_held((1, "\u00e9", None)),
        lambda: content.read(FILE),
        lambda: content.read(FILE).data(),
        lambda: content.read(FILE).entry(),
        lambda: adoptions([TASK]),
        lambda: check_reason("\u00e9"),
        lambda: length_of("2.5", "patience"),
        lambda: shift(LATEST, timedelta(hours=1)),
    ],
    ids=[
        "work",
        "older work",
        "headers",
        "text",
        "row",
        "file",
        "file again",
        "entry",
        "task of another queue",
        "reason",
        "option",
        "time",
    ],
)
def test_at_every_instruction_of_reading_a_handlers_error_stays_its_own(
    read: Callable[[], object], kind: Callable[[], Exception]
) -> None:
    wanted, index, reached = read(), 0, True
    while reached:
        answers: list[object] = []
        try:
            reached = at_instruction(index, lambda: answers.append(read()), partial(strike, kind), READING)  # noqa: B023
        except Exception as error:
            assert is_alarm(error, kind), f"at instruction {index} it became {error!r}"  # noqa: PT017
        else:
            assert answers == [wanted], f"at instruction {index}"
        index += 1
    assert index > 3


@pytest.mark.parametrize("location", ["{}/q.db?durability=none", "files://{}/q?durability=none", "memory://"])
@pytest.mark.parametrize("name", sorted(VERBS.keys() - {"claim_wait"}))
def test_a_handlers_error_in_the_middle_of_any_call_sets_no_sound_task_aside(
    location: str, name: str, tmp_path: Path
) -> None:
    clock, verb = FakeClock(), VERBS[name]
    scene = Scene(clock=clock, start=clock.now())
    index, reached, heard = random.randrange(STEP), True, 0
    with closing(open_backend(location.format(tmp_path), clock=clock)) as queue:
        verb.prepare(queue, scene)
        verb.call(queue, scene)  # what JSON's encoder can do is found out once, whatever is raised meanwhile
        while reached:
            clock.advance(timedelta(hours=1))  # what was leased has run out
            for task in queue.tasks():
                assert queue.cancel(task.id)
            clock.move_to(scene["start"], back=True)
            verb.prepare(queue, scene)
            kind = random.choice(list(KINDS.values()))
            try:
                reached = at_instruction(index, partial(verb.call, queue, scene), partial(strike, kind))
            except Exception as error:
                heard += 1
                assert is_alarm(error, kind), f"at instruction {index} it became {error!r}"  # noqa: PT017
            dead = [task for task in queue.tasks(state=State.DEAD) if task.reason != "wrong"]
            assert dead == [], f"an exception came at instruction {index}"
            bad = tmp_path / "q" / "bad"
            assert not bad.is_dir() or list(bad.iterdir()) == [], f"an exception came at instruction {index}"
            index += STEP
        assert queue.push("afterwards").added
    assert heard or STEP > 1
