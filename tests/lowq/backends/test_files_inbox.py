"""Tasks that other programs drop into a queue's directory."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from directory import MINUTE, WRONG, bad, claimed, drained, opened
from processes import answer, python

from lowq import Counts, FakeClock, Task


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "q"


OLD = (0, 0)
"""The times of a file that nobody is writing any more."""


# what other programs drop into new/


def drop(path: Path, name: str, fields: Any) -> Path:
    """As the README says: written under another name, then renamed."""
    writing = path / "new" / f"{name}.tmp"
    writing.write_text(fields if isinstance(fields, str) else json.dumps(fields))
    return writing.rename(path / "new" / f"{name}.json")


def test_what_is_dropped_is_pushed_with_all_it_says(path: Path) -> None:
    clock = FakeClock()
    due = clock.now() - MINUTE
    with closing(opened(path, clock=clock)) as queue:
        drop(path, "a", {"work": 1})
        drop(
            path,
            "b",
            {"work": [2], "key": "k", "priority": 3, "not_before": due.isoformat(), "headers": {"h": "v"}},
        )
        drop(path, "c", {"work": 3, "not_before": (clock.now() + MINUTE).isoformat()})
        assert queue.count() == Counts(ready=2, scheduled=1)
        assert list((path / "new").iterdir()) == []
        lease = claimed(queue)
        task = lease.task
        assert task == Task("2", [2], "k", 3, due, 1, task.state, None, clock.now(), {"h": "v"})
        assert not queue.push("other work", key="k").added
        assert not queue.push(1).added


def test_what_is_dropped_is_taken_in_the_order_of_the_names(path: Path) -> None:
    opened(path).close()
    for n in (7, 3, 5):
        drop(path, f"{n}", {"work": n})
    with closing(opened(path)) as queue:
        assert drained(queue) == [3, 5, 7]


def test_thousands_may_be_dropped_at_once(path: Path) -> None:
    with closing(opened(path)) as queue:
        queue.count()
        for n in range(1000):
            drop(path, f"{n:04}", {"work": n})
        assert drained(queue) == list(range(1000))


def test_a_dropped_duplicate_is_gone_and_changes_nothing(path: Path) -> None:
    with closing(opened(path)) as queue:
        id = queue.push({"a": 1, "b": 2}).id
        drop(path, "again", '{"work": {"b": 2, "a": 1}, "priority": 9}')
        assert [(task.id, task.priority) for task in queue.tasks()] == [(id, 0)]
        assert list((path / "new").iterdir()) == []
    assert bad(path) == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *WRONG.values(),
        (b'{"work": 1, "priority": 1.5}', "priority: expected int, found float '1.5'"),
        (b'{"work": 1, "priority": "5"}', "priority: expected int, found str '5'"),
        (b'{"work": 1, "priority": true}', "priority: expected int, found bool 'True'"),
        (b'{"work": 1, "priority": 9999999999}', "priority: expected -2**31 to 2**31-1, got 9999999999"),
        (b'{"work": 1, "prioritee": 1}', "unknown field 'prioritee'; known are work, key,"),
        (b'{"work": 1, "not_before": "2030-01-01T00:00:00"}', "has no time zone"),
        (b'{"work": 1, "work": 2}', "'work' stands twice in one object"),
        (b'{"work": [{"a": 1, "a": 1}]}', "'a' stands twice in one object"),
        (b'{"work": "\\ud800"}', "lone surrogate"),
        (b'{"work": 1, "headers": {"a": "\\ud800"}}', "lone surrogate"),
    ],
)
def test_a_wrong_drop_is_set_aside_with_the_reason(path: Path, text: bytes, why: str) -> None:
    with closing(opened(path)) as queue:
        wrong = path / "new" / "x.json"
        wrong.write_bytes(text)
        os.utime(wrong, OLD)
        drop(path, "y", {"work": "good"})
        assert drained(queue) == ["good"]
    assert why in bad(path)["x.json"]
    assert (path / "bad" / "x.json").read_bytes() == text


def test_a_file_that_is_written_in_place_is_left_until_it_is_whole(path: Path) -> None:
    with closing(opened(path)) as queue:
        file = path / "new" / "slow.json"
        file.write_text('{"work": "sl')
        assert queue.claim(lease_for=MINUTE) is None
        assert file.exists()
        file.write_text('{"work": "slow"}')
        assert drained(queue) == ["slow"]


def test_what_was_set_aside_never_takes_the_place_of_another(path: Path) -> None:
    with closing(opened(path)) as queue:
        for n in range(3):
            wrong = path / "new" / "x.json"
            wrong.write_text(f"wrong {n}")
            os.utime(wrong, OLD)
            queue.count()
    kept = [each.read_text() for each in (path / "bad").glob("*.json")]
    assert sorted(kept) == ["wrong 0", "wrong 1", "wrong 2"]
    assert len(bad(path)) == 3


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("/etc/passwd"), os.mkfifo])
def test_what_is_no_file_among_the_drops_wedges_nothing(path: Path, make: Callable[[Path], object]) -> None:
    with closing(opened(path)) as queue:
        make(path / "new" / "x.json")
        drop(path, "y", {"work": "good"})
        assert drained(queue) == ["good"]
        assert queue.push(1).added


def age(path: Path, seconds: float) -> None:
    """Nobody has written what is at the path for so long, as its time says."""
    at = time.time() - seconds
    os.utime(path, (at, at), follow_symlinks=False)


def make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Path.mkdir, "it is a directory"),
        (lambda path: path.symlink_to("/etc/passwd"), "it is a symbolic link"),
        (lambda path: path.symlink_to(path.name), "it is a symbolic link"),
        (os.mkfifo, "it is no regular file"),
        (make_sparse, "it has 1,099,511,627,776 bytes, and a task has 1,000,000,000 at most"),
    ],
)
def test_what_is_no_file_of_a_task_s_size_is_set_aside_and_not_read(
    path: Path, make: Callable[[Path], object], why: str
) -> None:
    with closing(opened(path)) as queue:
        make(path / "new" / "x.json")
        age(path / "new" / "x.json", 60)
        drop(path, "y", {"work": "good"})
        assert drained(queue) == ["good"]
    assert bad(path) == {"x.json": why}


def test_a_wrong_drop_from_the_future_is_set_aside(path: Path) -> None:
    with closing(opened(path)) as queue:
        age(drop(path, "x", "nonsense"), -1e6)
        assert drained(queue) == []
    assert list(bad(path)) == ["x.json"]


def test_any_number_of_files_that_are_being_written_do_not_keep_a_drop_behind_them_out(path: Path) -> None:
    with closing(opened(path)) as queue:
        for n in range(70):
            drop(path, f"{n:02}", "nonsense")
        drop(path, "x", {"work": "good"})
        assert drained(queue) == ["good"]


def test_what_is_wrong_is_set_aside_though_a_person_removed_the_directory_for_it(path: Path) -> None:
    with closing(opened(path)) as queue:
        (path / "bad").rmdir()
        age(drop(path, "x", "nonsense"), 60)
        assert drained(queue) == []
    assert list(bad(path)) == ["x.json"]


OF_ANOTHER_USER = """
    import os, pathlib, sys, lowq, lowq.backends.files.backend
    from datetime import timedelta
    path, dedupe, sticky, texts = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "sticky", sys.argv[4:]
    root = os.getuid() == 0
    if root:
        os.seteuid(65534)
    queue = lowq.open_backend(f"files://{path}", durability="none", dedupe=dedupe)
    queue.push("stands")
    if root:
        os.seteuid(0)
    for n, text in enumerate(texts):
        (path / "new" / f"{n}.json").write_text(text)
        os.utime(path / "new" / f"{n}.json", (0, 0))
    if root and sticky:
        os.chown(path / "new", 0, 0)
        os.chmod(path / "new", 0o1777)
        (path / "new" / "x.json").write_text('{"work": "good"}')
        os.chown(path / "new" / "x.json", 65534, 65534)
    else:
        os.chmod(path / "new", 0o555)
    if root:
        os.seteuid(65534)
    works = []
    for _ in range(8):
        lease = queue.claim(lease_for=timedelta(minutes=1))
        if lease is not None:
            works.append(lease.work)
            queue.ack(lease)
    kept = sorted(each.name for each in (path / "new").iterdir())
    if root:
        os.seteuid(0)
    os.chmod(path / "new", 0o777)
    if root:
        os.seteuid(65534)
    while (lease := queue.claim(lease_for=timedelta(minutes=1))) is not None:
        works.append(lease.work)
        queue.ack(lease)
    print(works, kept)
"""


@pytest.mark.parametrize("dedupe", ["off", "until_done"])
@pytest.mark.parametrize("who", ["sticky", "read-only"])
def test_what_may_not_be_moved_out_of_the_inbox_is_no_task_before_it_may_and_wedges_nothing(
    who: str, dedupe: str
) -> None:
    sticky = who == "sticky" and os.getuid() == 0  # others cannot make files of two users
    texts = ['{"work": "good too"}', '{"work": "stands"}', "nonsense"]
    with TemporaryDirectory() as parent:  # not tmp_path, whose parents nobody else may enter
        os.chmod(parent, 0o777)
        path = Path(parent, "q")
        told = answer(python(OF_ANOTHER_USER, path, dedupe, "sticky" if sticky else who, *texts))
        works = ["stands", *(["good"] if sticky else []), "good too", "stands"]
        assert told == f"{works} {[f'{n}.json' for n in range(3)]}"
        why = bad(path)
    assert "it is taken in when it can be removed from new/" in why["0.json.stays"]
    assert "it was not moved here: " in why["2.json.stays"]
    assert "2.json" in why


def test_a_drop_reaches_a_claim_that_waits(path: Path) -> None:
    with closing(opened(path)) as queue:
        code = (
            "import os, sys, time; sys.stdin.readline(); time.sleep(0.05); os.chdir(sys.argv[1]);"
            "open('x', 'w').write('{\"work\": 1}'); os.rename('x', 'x.json')"
        )
        dropper = python(code, path / "new")
        assert dropper.stdin is not None
        dropper.stdin.write("go\n")
        dropper.stdin.flush()
        lease = queue.claim(lease_for=MINUTE, wait=timedelta(seconds=60))
        answer(dropper)
    assert lease is not None
    assert lease.work == 1


def test_a_quiet_inbox_is_not_listed_at_each_call(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(opened(path)) as queue:
        end = time.monotonic() + 60
        listed: list[str] = []
        listing = os.listdir

        def list_it(where: str) -> list[str]:
            listed.append(where)
            return listing(where)

        monkeypatch.setattr(os, "listdir", list_it)
        queue.count()
        while listed:  # its time is too young to be told from the next
            assert time.monotonic() < end
            listed.clear()
            queue.count()
        for _ in range(10):
            queue.count()
        assert listed == []
        drop(path, "x", {"work": 1})
        assert queue.count() == Counts(ready=1)


def test_the_queue_of_another_name_has_an_inbox_of_its_own(path: Path) -> None:
    with closing(opened(path, name="mails")) as mails, closing(opened(path)) as default:
        drop(path / "queues" / "mails", "x", {"work": "mail"})
        assert default.count() == Counts()
        assert drained(mails) == ["mail"]


KILLED_WHILE_TAKING_IN = """
    import os, sys, lowq
    from lowq.backends.files.folder import Folder
    queue = lowq.open_backend(sys.argv[1])
    left = [int(sys.argv[2])]
    def killed(before):
        def call(*arguments, **named):
            if not left[0]:
                os._exit(0)
            left[0] -= 1
            return before(*arguments, **named)
        return call
    for name in ("read", "write", "rename", "remove", "sync"):
        setattr(Folder, name, killed(getattr(Folder, name)))
    queue.count()
"""


@pytest.mark.parametrize("calls", range(7))
def test_a_drop_is_taken_in_once_whoever_is_killed(path: Path, calls: int) -> None:
    with closing(opened(path)) as queue:
        drop(path, "x", {"work": 1})
        answer(python(KILLED_WHILE_TAKING_IN, f"files://{path}", calls))
        assert drained(queue) == [1]
        assert drained(queue) == []
        assert list((path / "new").iterdir()) == []
