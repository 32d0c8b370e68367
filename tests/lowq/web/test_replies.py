"""Requests that come again: answered as before, and not done again; also after the server was killed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from processes import answer, python

from lowq.web.replies import IdReused, OutcomeUnknown, Replies, Reply

HOUR = timedelta(hours=1)
BOUND = 60


def counting() -> tuple[list[int], Callable[[], Reply]]:
    done: list[int] = []

    def act() -> Reply:
        done.append(1)
        return Reply(200, f"answer {len(done)}")

    return done, act


def test_a_request_that_comes_again_is_answered_and_not_done(tmp_path: Path) -> None:
    done, act = counting()
    replies = Replies(str(tmp_path / "r"), HOUR)

    answers = [replies.once("id", "push 1", act) for _ in range(3)]

    assert (answers, done) == ([Reply(200, "answer 1")] * 3, [1])


def test_a_reply_is_known_after_a_restart(tmp_path: Path) -> None:
    done, act = counting()
    first = Replies(str(tmp_path / "r"), HOUR)
    first.once("id", "push 1", act)
    first.close()

    assert Replies(str(tmp_path / "r"), HOUR).once("id", "push 1", act) == Reply(200, "answer 1")
    assert done == [1]


def test_without_an_id_each_is_done(tmp_path: Path) -> None:
    done, act = counting()
    replies = Replies(str(tmp_path / "r"), HOUR)

    assert [replies.once(None, "push 1", act).body for _ in range(2)] == ["answer 1", "answer 2"]
    assert done == [1, 1]


def test_an_id_is_of_one_request(tmp_path: Path) -> None:
    done, act = counting()
    replies = Replies(str(tmp_path / "r"), HOUR)
    replies.once("id", "push 1", act)

    with pytest.raises(IdReused, match="'id'"):
        replies.once("id", "push 2", act)
    assert done == [1]


@pytest.mark.parametrize("again", [True, False])
def test_what_failed_or_is_not_kept_is_done_again(tmp_path: Path, again: bool) -> None:
    done, act = counting()
    replies = Replies(str(tmp_path / "r"), HOUR)

    def fail() -> Reply:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        replies.once("id", "push", fail, again=again)
    replies.once("id", "push", lambda: Reply(200, "nothing due", keep=False), again=again)

    assert replies.once("id", "push", act, again=again).body == "answer 1"
    assert done == [1]


def test_a_retry_while_the_first_call_runs_waits_for_its_reply(tmp_path: Path) -> None:
    replies = Replies(str(tmp_path / "r"), HOUR)
    begun, go = threading.Event(), threading.Event()
    done: list[int] = []
    answers: list[str] = []

    def slow() -> Reply:
        begun.set()
        assert go.wait(BOUND)
        done.append(1)
        return Reply(200, "slow")

    threads = [
        threading.Thread(target=lambda: answers.append(replies.once("id", "x", slow, again=True).body))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    assert begun.wait(BOUND)
    go.set()
    for thread in threads:
        thread.join(BOUND)

    assert (answers, done) == (["slow"] * 5, [1])


KILLED_WITHIN = """
    import os, signal, sys
    from datetime import timedelta
    from lowq.web.replies import Replies, Reply
    def act():
        os.kill(os.getpid(), signal.SIGKILL)
    Replies(sys.argv[1], timedelta(hours=1)).once("id", "push 1", act, again=sys.argv[2] == "again")
"""


def test_what_a_killed_server_had_begun_is_of_unknown_outcome_and_not_done_again(tmp_path: Path) -> None:
    process = python(KILLED_WITHIN, tmp_path / "r", "once")
    process.communicate(timeout=BOUND)
    done, act = counting()

    with pytest.raises(OutcomeUnknown, match="it was done or it was not"):
        Replies(str(tmp_path / "r"), HOUR).once("id", "push 1", act)
    assert done == []


def test_a_claim_that_a_killed_server_had_begun_is_made_again(tmp_path: Path) -> None:
    process = python(KILLED_WITHIN, tmp_path / "r", "again")
    process.communicate(timeout=BOUND)
    _, act = counting()

    assert Replies(str(tmp_path / "r"), HOUR).once("id", "push 1", act, again=True).body == "answer 1"


def test_processes_that_serve_together_share_the_answers(tmp_path: Path) -> None:
    done, act = counting()
    Replies(str(tmp_path / "r"), HOUR).once("id", "push 1", act)

    other = python(
        """
        import sys
        from datetime import timedelta
        from lowq.web.replies import Replies
        print(Replies(sys.argv[1], timedelta(hours=1)).once("id", "push 1", lambda: 1 / 0).body)
        """,
        tmp_path / "r",
    )

    assert (answer(other), done) == ("answer 1", [1])


def test_a_forked_process_opens_the_file_by_itself(tmp_path: Path) -> None:
    _, act = counting()
    replies = Replies(str(tmp_path / "r"), HOUR)
    replies.once("id", "push 1", act)

    pid = os.fork()
    if pid == 0:
        os._exit(0 if replies.once("id", "push 1", act).body == "answer 1" else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert replies.once("id", "push 1", act).body == "answer 1"


def test_old_answers_are_forgotten(tmp_path: Path) -> None:
    done, act = counting()
    first = Replies(str(tmp_path / "r"), timedelta(microseconds=1))
    first.once("id", "push 1", act)
    first.close()

    Replies(str(tmp_path / "r"), timedelta(microseconds=1)).once("id", "push 1", act)

    assert done == [1, 1]


@pytest.mark.parametrize("junk", [b"this is no database, and never was one at all" * 100, b""])
def test_a_damaged_file_is_set_aside(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "r").write_bytes(junk)
    _, act = counting()

    assert Replies(str(tmp_path / "r"), HOUR).once("id", "push 1", act).body == "answer 1"
