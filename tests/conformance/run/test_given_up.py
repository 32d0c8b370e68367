"""A call that is given up when its patience is over proves nothing once; a queue of which all are is broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conformance.run.test_command import check
from lowq_conformance.subject.loading import load

QUEUE = """\
import os
import time
from collections import deque
from datetime import timedelta
from pathlib import Path


class Unheard(ConnectionError):
    pass


class Task:
    def __init__(self, work):
        self.work = work


class Queue:
    def __init__(self, given_up):
        self.tasks, self.given_up = deque(), given_up

    def push(self, work):
        self.tasks.append(work)  # the server has it
        if self.given_up(work):
            time.sleep(0.25)
            raise Unheard("no answer within 0.2 s")

    def claim(self):
        return Task(self.tasks.popleft()) if self.tasks else None

    def ack(self, task):
        pass


class Now:
    promises = {"fifo", "prompt", "json"}
    patience = timedelta(seconds=0.2)

    def open(self, place):
        return Queue(self.given_up)

    def given_up(self, work):  # the first one only
        counted = Path(os.environ["COUNTED"])
        with counted.open("a") as file:
            file.write("x")
        return counted.stat().st_size == 1


class Always(Now):
    def given_up(self, work):
        return True


class LargeOnes(Now):
    def given_up(self, work):
        return len(work) > 1000


class Hasty(Always):
    patience = timedelta(seconds=5)  # it gives up long before
"""


@pytest.fixture
def strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COUNTED", str(tmp_path / "counted"))
    (tmp_path / "strangers.py").write_text(QUEUE)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "clause", "code"),
    [
        ("Now", "DELIVER-8", 0),
        ("Now", "ORDER-1", 0),
        ("Always", "ORDER-1", 1),
        ("LargeOnes", "DELIVER-8", 3),
        ("Hasty", "DELIVER-8", 1),
    ],
)
def test_what_is_given_up_is_made_again_before_it_is_believed(
    strangers: Path, name: str, clause: str, code: int
) -> None:
    done = check(f"strangers.py:{name}", "--only", clause, "--json", "said.json", cwd=strangers)

    assert done.returncode == code, done.stdout + done.stderr
    (told,) = json.loads((strangers / "said.json").read_text())["clauses"]
    if code == 3:
        assert "was given up after 0." in told["evidence"]
    if name == "Always":
        assert "no answer within 0.2 s" in told["evidence"]


def test_where_the_suite_itself_is_in_the_way_a_refusal_says_nothing_of_the_machine(strangers: Path) -> None:
    subject = load(f"{strangers / 'strangers.py'}:Always").fresh()
    error = ConnectionError("no answer")

    subject.disturbed = True
    subject.note_refusal("q.push(1)", error, 0.0)
    assert not subject.gave_up
    subject.disturbed = False
    subject.note_refusal("q.push(1)", ValueError("no answer"), 0.0)
    assert not subject.gave_up
    subject.note_refusal("q.push(1)", error, 0.0)
    assert subject.gave_up.startswith("q.push(1) was given up after ")
