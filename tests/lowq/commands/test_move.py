"""`lowq move`: what it says, what it refuses before anything is written, and its exit codes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any, cast

import pytest
from backends import BOUND, served

from lowq import Counts, open_backend
from lowq.backend import Adopting
from lowq.cli import main
from lowq.moving import Mover, survey

MINUTE = timedelta(minutes=1)

Answer = tuple[int, str, str]
Lowq = Callable[..., Answer]


@pytest.fixture
def lowq(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lowq:
    """Run the command in this process, in an empty directory: its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        code = main(arguments)
        captured = capsys.readouterr()
        assert len(captured.err.splitlines()) <= 2
        return code, captured.out, captured.err

    return run


def opened(location: str, **options: Any) -> Adopting:
    return cast(Adopting, open_backend(location, **options))


def works(location: str, **options: Any) -> list[Any]:
    with closing(open_backend(location, create=False, **options)) as queue:
        return [task.work for task in queue.tasks()]


def test_a_queue_goes_over_to_another_file(lowq: Lowq, tmp_path: Path) -> None:
    lowq("push", "a.db", "1", "2")

    code, out, err = lowq("move", "a.db", "b.db")

    assert (code, out, err) == (0, f"moved 2 from {tmp_path}/a.db to {tmp_path}/b.db\n", "")
    assert (works("a.db"), works("b.db")) == ([], [1, 2])


def test_a_dry_run_says_what_would_be_moved_and_writes_nothing(lowq: Lowq, tmp_path: Path) -> None:
    lowq("push", "a.db", "1", "2")

    said = [lowq("move", "a.db", "b.db", "--dry-run", "--json"), lowq("move", "a.db", "b.db", "--dry-run")]

    assert [code for code, *_ in said] == [0, 0]
    assert json.loads(said[0][1]) == {"would_move": 2, "left": {"leased": 0, "damaged": 0}, "new": True}
    assert said[1][1].startswith(f"would move 2 from {tmp_path}/a.db to {tmp_path}/b.db: there is none yet")
    assert (works("a.db"), (tmp_path / "b.db").exists()) == ([1, 2], False)
    lowq("push", "b.db", "3")
    assert "it is there already" in lowq("move", "a.db", "b.db", "--dry-run")[1]


def test_an_equal_work_that_stands_there_is_told(lowq: Lowq) -> None:
    lowq("push", "a.db", "1", "2")
    lowq("push", "b.db", "2")

    code, out, _ = lowq("move", "a.db", "b.db", "--json")

    assert (code, json.loads(out)) == (
        0, {"moved": 1, "equal": 1, "left": {"leased": 0, "damaged": 0}, "doubtful": []},
    )  # fmt: skip
    assert works("b.db") == [2, 1]


def test_names_go_over_one_by_one_and_may_change(lowq: Lowq) -> None:
    lowq("push", "a.db", "1", "--name", "mail")
    lowq("push", "a.db", "2")

    code, out, _ = lowq("move", "a.db", "a.db", "--name", "mail", "--to-name", "post")

    assert (code, out.count("(mail)"), out.count("(post)")) == (0, 1, 1)
    assert [works("a.db", name=name) for name in ("default", "mail", "post")] == [[2], [], [1]]


def test_moving_nothing_is_done_and_leaves_nothing(lowq: Lowq) -> None:
    with closing(open_backend("a.db")), closing(open_backend("b.db")):
        pass

    assert lowq("move", "a.db", "b.db")[0] == 0
    assert (works("a.db"), works("b.db")) == ([], [])


class TestLeasedTasks:
    @pytest.fixture
    def held(self, lowq: Lowq) -> None:
        lowq("push", "a.db", "1", "2")
        with closing(open_backend("a.db")) as queue:
            assert queue.claim(lease_for=60 * MINUTE) is not None

    @pytest.mark.usefixtures("held")
    def test_keep_all_where_it_is(self, lowq: Lowq, tmp_path: Path) -> None:
        code, out, err = lowq("move", "a.db", "b.db")

        assert (code, out) == (1, "")
        assert "a worker has 1 task; nothing was moved" in err
        assert "--leased wait" in err
        assert (works("a.db"), (tmp_path / "b.db").exists()) == ([2, 1], False)

    @pytest.mark.usefixtures("held")
    def test_may_be_left_behind(self, lowq: Lowq) -> None:
        code, out, err = lowq("move", "a.db", "b.db", "--leased", "leave")

        assert (code, out.startswith("moved 1 "), "left: a worker has 1 task" in err) == (1, True, True)
        assert (works("a.db"), works("b.db")) == ([1], [2])

    def test_may_be_waited_for(self, lowq: Lowq) -> None:
        lowq("push", "a.db", "1", "2", "3")
        with closing(open_backend("a.db")) as queue:
            done, fails = queue.claim(lease_for=60 * MINUTE), queue.claim(lease_for=60 * MINUTE)
            assert done is not None
            assert fails is not None
            codes: list[int] = []
            moving = Thread(target=lambda: codes.append(main(["move", "a.db", "b.db", "--leased", "wait"])))
            moving.start()
            queue.ack(done)
            queue.release(fails, reason="x")
            moving.join(BOUND)

        assert codes == [0]
        assert (works("a.db"), sorted(works("b.db"))) == ([], [2, 3])

    def test_whose_lease_ran_out_go_over_like_others(self, lowq: Lowq) -> None:
        lowq("push", "a.db", "1")
        with closing(open_backend("a.db")) as queue:
            assert queue.claim(lease_for=timedelta(microseconds=1)) is not None

        assert lowq("move", "a.db", "b.db")[0] == 0
        with closing(open_backend("b.db")) as queue:
            assert [(task.work, task.attempts) for task in queue.tasks()] == [(1, 1)]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["a.db", "a.db"], 2, "are one queue: nothing to move"),
        (["a.db", "link.db"], 2, "are one queue: nothing to move"),
        (["a.db", "sqlite://{here}/a.db?patience=3"], 2, "are one queue: nothing to move"),
        (["none.db", "b.db"], 2, "there is no queue here"),
        (["a.db", "b.db", "--name", "none"], 2, "there is no queue 'none' here"),
        (["a.db", "other.db"], 2, "was made with dedupe='off', the one to move with 'until_done'"),
        (["a.db", "other.db", "--dry-run"], 2, "say --dedupe off to have its rule"),
        (["a.db", "newer.db"], 2, "newer"),
        (["newer.db", "b.db"], 2, "newer"),
        (["a.db", "foreign.db"], 2, "foreign.db"),
        (["a.db", "memory://x"], 2, "a memory queue lives in the process that made it"),
        (["memory://x", "a.db"], 2, "a memory queue lives in the process that made it"),
        (["a.db", "gopher://x"], 2, "unknown kind of queue"),
        (["a.db", "http://127.0.0.1:9?patience=0"], 3, "127.0.0.1:9"),
        (["a.db", "postgresql://u:secret@127.0.0.1:9/x?patience=0"], 3, "127.0.0.1:9"),
        (["a.db"], 2, "Missing argument 'TO'"),
        (["a.db", "b.db", "--leased", "kill"], 2, "'kill' is not one of"),
    ],
)
def test_what_cannot_be_moved_is_refused_before_anything_is_written(
    lowq: Lowq, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    lowq("push", "a.db", "1")
    lowq("push", "newer.db", "2")
    (tmp_path / "link.db").symlink_to(tmp_path / "a.db")
    with closing(open_backend("other.db", dedupe="off")):
        pass
    with closing(sqlite3.connect("newer.db")) as newer, closing(sqlite3.connect("foreign.db")) as foreign:
        newer.execute("PRAGMA user_version = 99")
        foreign.execute("CREATE TABLE mine (x)")

    answer = lowq("move", *(each.replace("{here}", str(tmp_path)) for each in arguments))

    assert (answer[0], answer[1]) == (code, "")
    assert says in answer[2]
    assert "secret" not in answer[2]
    assert works("a.db") == [1]
    assert not (tmp_path / "b.db").exists()


def test_the_same_queue_behind_a_server_is_found_out(lowq: Lowq, tmp_path: Path) -> None:
    lowq("push", "a.db", "1")

    with served(tmp_path / "a.db") as url:
        code, _, err = lowq("move", "a.db", url)

    assert (code, "are one queue" in err) == (2, True)
    assert works("a.db") == [1]


def test_a_server_that_one_may_only_look_at_is_refused_and_all_is_as_it_was(lowq: Lowq, tmp_path: Path) -> None:
    lowq("push", "a.db", "1")
    lowq("push", "b.db", "2")

    with served(tmp_path / "b.db", name="default", read_only=True) as url:
        code, _, err = lowq("move", "a.db", url)

    assert (code in (2, 3), "read-only" in err) == (True, True)
    assert (works("a.db"), works("b.db")) == ([1], [2])


def test_another_rule_of_dedupe_is_taken_where_it_is_asked_for(lowq: Lowq) -> None:
    lowq("push", "a.db", "1")
    with closing(open_backend("b.db", dedupe="off")) as queue:
        queue.push(1)

    assert lowq("move", "a.db", "b.db", "--dedupe", "off")[0] == 0
    assert works("b.db") == [1, 1]


def test_a_new_queue_dedupes_as_the_old_one_did(lowq: Lowq) -> None:
    with closing(open_backend("a.db", dedupe="until_claimed")) as queue:
        queue.push(1)

    assert lowq("move", "a.db", "b.db")[0] == 0
    with closing(open_backend("b.db")) as queue:
        assert queue.dedupe == "until_claimed"


def test_a_worker_of_the_queue_is_told_to_be_stopped_first(lowq: Lowq, tmp_path: Path) -> None:
    from lowq.worker.lock import WorkerLock

    lowq("push", "a.db", "1")
    lock = WorkerLock(tmp_path / "a.db-lock", tmp_path / "a.db")
    assert lock.take()

    code, _, err = lowq("move", "a.db", "b.db")
    lock.let_go()

    assert (code, "a worker runs this queue, or another lowq move does" in err) == (1, True)
    assert works("a.db") == [1]


class Cut(BaseException):
    """Where the mover is killed."""


class CutMover(Mover):
    """Is killed between adopting a batch and taking it out."""

    def _take_out(self, id: str) -> bool | None:  # noqa: ARG002  the mover's
        raise Cut


def cut_off(source: str, target: str, target_at: str = "") -> None:
    with closing(opened(source)) as old, closing(opened(target)) as new:
        mover = CutMover(old, new, source_at="here", target_at=target_at or str(Path(target).absolute()))
        with pytest.raises(Cut):
            next(mover.run(survey(old)))


class TestAMoveThatWasCutOff:
    def test_goes_on_where_it_was(self, lowq: Lowq) -> None:
        lowq("push", "a.db", "1", "2")
        cut_off("a.db", "b.db")
        assert "a move to" in lowq("move", "a.db", "b.db", "--dry-run")[1]

        code, out, _ = lowq("move", "a.db", "b.db", "--json")

        assert (code, json.loads(out)["moved"]) == (0, 2)
        assert (works("a.db"), works("b.db")) == ([], [1, 2])

    def test_says_in_the_list_what_to_do(self, lowq: Lowq) -> None:
        lowq("push", "a.db", "1")
        cut_off("a.db", "b.db")

        with closing(open_backend("a.db")) as queue:
            assert [task.reason for task in queue.tasks() if task.reason] == [
                f"its queue is being moved to {Path('b.db').absolute()}, or that was cut off: run lowq move again"
            ]

    def test_is_to_be_finished_before_another(self, lowq: Lowq) -> None:
        lowq("push", "a.db", "1")
        cut_off("a.db", "b.db")

        onward, elsewhere = lowq("move", "b.db", "c.db"), lowq("move", "a.db", "c.db")

        assert [onward[0], elsewhere[0]] == [1, 1]
        assert "was cut off (lowq move from here): run that one again first" in onward[2]
        assert "b.db was cut off, not to" in elsewhere[2]
        assert not Path("c.db").exists()
        assert lowq("move", "a.db", "b.db")[0] == 0
        assert lowq("move", "b.db", "c.db")[0] == 0
        assert works("c.db") == [1]

    def test_of_another_machine_is_taken_over_only_where_that_is_said(
        self, lowq: Lowq, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lowq("push", "a.db", "1")
        with monkeypatch.context() as there:
            there.setattr("socket.gethostname", lambda: "elsewhere")
            cut_off("a.db", "b.db")

        code, _, err = lowq("move", "a.db", "b.db")

        assert (code, "runs on the machine elsewhere, or was cut off there" in err) == (1, True)
        assert lowq("move", "a.db", "b.db", "--take-over")[0] == 0
        assert (works("a.db"), works("b.db")) == ([], [1])

    def test_waits_for_a_worker_that_has_one_of_its_tasks(self, lowq: Lowq) -> None:
        lowq("push", "a.db", "1")
        cut_off("a.db", "b.db")
        with closing(open_backend("a.db")) as queue:
            lease = queue.claim(lease_for=MINUTE)
            assert lease is not None

            code, _, err = lowq("move", "a.db", "b.db", "--leased", "leave")
            assert (code, f"a worker has task {lease.id}, which went over before" in err) == (1, True)
            queue.release(lease)
        assert lowq("move", "a.db", "b.db")[0] == 0
        assert (works("a.db"), works("b.db")) == ([], [1])


def test_a_task_that_cannot_be_read_stays_and_is_told(lowq: Lowq) -> None:
    lowq("push", "a.db", "1", "2")
    with closing(sqlite3.connect("a.db")) as damaged:
        damaged.execute("UPDATE task SET work = '{' WHERE id = 1")
        damaged.commit()

    code, out, err = lowq("move", "a.db", "b.db")

    assert (code, out.startswith("moved 1 "), "left: 1 of which the work cannot be read" in err) == (1, True, True)
    assert works("b.db") == [2]
    with closing(open_backend("a.db")) as queue:
        assert sum(vars_of(queue.count())) == 1


def vars_of(counts: Counts) -> list[int]:
    return [counts.scheduled, counts.ready, counts.leased, counts.dead]


def test_more_than_one_batch_goes_over_in_order(lowq: Lowq, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lowq.moving.TOGETHER", 7)
    monkeypatch.setattr("lowq.moving.MOST_BYTES", 100)
    with closing(open_backend("a.db")) as queue:
        for number in range(30):
            queue.push([number, "x" * (number if number != 20 else 200)], priority=number % 2)
        pushed = [replace(task, id="") for task in queue.tasks()]

    assert lowq("move", "a.db", "b.db")[0] == 0

    with closing(open_backend("b.db")) as queue:
        assert [replace(task, id="") for task in queue.tasks()] == pushed
