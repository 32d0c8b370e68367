"""What the queue in a directory promises beyond the contract: its files, other processes, and what goes wrong.

Long: what each file of the directory is for has a test of its own.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from directory import MINUTE, claimed, drained, opened, tasks_in
from processes import BOUND, answer, python

from lowq import (
    CorruptQueue,
    Counts,
    FakeClock,
    InvalidLocation,
    Item,
    open_backend,
)
from lowq.backends.files import folder, journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "q"


def test_a_lock_s_file_that_a_collection_closed_first_is_no_error(path: Path) -> None:
    """A cycle's finalizers run in any order; the client's then finds its file closed."""
    queue: Any = opened(path)
    queue.push("a")
    assert queue._folder.mutex._file is not None
    queue._folder.mutex._file.close()

    assert queue.push("b").added

    queue._folder.mutex._file.close()
    queue.close()


# what is in the directory


def test_a_listing_shows_the_queue_in_claim_order(path: Path) -> None:
    clock = FakeClock(datetime(2030, 1, 1, 12, tzinfo=UTC))
    with closing(opened(path, clock=clock)) as queue:
        queue.push("usual")
        queue.push("urgent", priority=7)
        queue.push("later", not_before=clock.now() + MINUTE)
        queue.push("unwanted", priority=9)
        queue.dead_letter(claimed(queue), reason="no")
        queue.push("taken", priority=8)
        claimed(queue)
        names = tasks_in(path)
        shown = [json.loads((path / name).read_text())["work"] for name in names]

    assert shown == ["unwanted", "taken", "urgent", "usual", "later"]
    assert [name.split("-")[0] for name in names] == ["dead", "leased", "ready", "ready", "scheduled"]
    assert names[-1].startswith("scheduled-20300101T120100.000000Z-2147483647-0000000000000003-")


def test_a_file_is_json_that_a_person_can_read(path: Path) -> None:
    clock = FakeClock(datetime(2030, 1, 1, 12, tzinfo=UTC))
    with closing(opened(path, clock=clock)) as queue:
        queue.push({"an": "wen"}, key="brief/é", priority=3, headers={"trace": "1"}, not_before=clock.now())
        queue.release(claimed(queue), reason="zu früh")
        (name,) = tasks_in(path)

    assert (path / name).read_text(encoding="utf-8") == (
        '{\n "work": {"an":"wen"},\n "key": "brief/é",\n "priority": 3,\n'
        ' "not_before": "2030-01-01T12:00:00+00:00",\n "headers": {"trace":"1"},\n'
        ' "pushed_at": "2030-01-01T12:00:00+00:00",\n "reason": "zu früh"\n}\n'
    )


def test_a_readme_says_what_is_what_and_is_never_written_over(path: Path) -> None:
    path.mkdir()
    opened(path).close()
    text = (path / "README").read_text()
    assert f"files://{path}" in text
    (path / "README").write_text("mine")
    opened(path).close()
    assert (path / "README").read_text() == "mine"


def test_a_push_survives_power_loss_by_default_and_process_death_by_choice(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(folder, "sync_file", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    with closing(open_backend(f"files://{path}")) as queue:
        queue.push(0)
        synced.clear()
        queue.push(1)
        queue.ack(claimed(queue))
    written, *folders = synced
    assert Path(written).parent == path / ".lowq" / "tmp"
    assert folders == [str(path), str(path)]  # the push's, and the ack's

    synced.clear()
    with closing(open_backend(f"files://{path}?durability=process")) as queue:
        queue.push(2)
        queue.ack(claimed(queue))
    assert synced == []


def test_what_is_synced_is_there_before_and_the_directory_after_a_change_of_names(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that docs/directory.md names: the task's file, its name, the directory; a claim syncs nothing."""
    events: list[str] = []
    rename, unlink = os.rename, os.unlink

    def renamed(source: str, target: str, **more: Any) -> None:
        if not target.startswith(".lowq"):
            events.append("name")
        rename(source, target, **more)

    def unlinked(name: str, **more: Any) -> None:
        if not name.startswith(".lowq"):
            events.append("name")
        unlink(name, **more)

    def synced(fd: int) -> None:
        events.append("directory" if os.path.isdir(f"/proc/self/fd/{fd}") else "file")

    with closing(open_backend(f"files://{path}")) as queue:
        queue.push(0)
        queue.ack(claimed(queue))
        monkeypatch.setattr(folder, "sync_file", synced)
        monkeypatch.setattr(os, "rename", renamed)
        monkeypatch.setattr(os, "unlink", unlinked)

        def done(verb: Callable[[], Any]) -> Any:
            events.clear()
            return verb()

        pushed = done(lambda: queue.push(1))
        assert events == ["file", "name", "directory"]
        lease = done(lambda: claimed(queue))
        assert events == ["name"]
        done(lambda: queue.extend(lease, lease_for=2 * MINUTE))
        assert "directory" not in events
        for settle in (
            lambda: queue.release(lease),
            lambda: queue.dead_letter(claimed(queue), reason="why"),
            lambda: queue.redrive(pushed.id),
            lambda: queue.ack(claimed(queue)),
            lambda: queue.cancel(queue.push(2).id),
        ):
            done(settle)
            assert "name" in events
            assert events[-1] == "directory"


def test_a_duplicate_is_not_answered_before_the_standing_task_is_on_the_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    with closing(open_backend(f"files://{path}")) as queue:
        queue.push(1)
        monkeypatch.setattr(folder, "sync_file", synced.append)
        assert not queue.push(1).added
    assert len(synced) == 1


def test_names_have_directories_of_their_own(path: Path) -> None:
    odd = ["default", "mails", "a/b", "..", ".", "A", "a", "é", "x" * 200, " "]
    queues = [opened(path, name=name) for name in odd]
    ids = [queue.push("the same").id for queue in queues]

    assert len(set(ids)) == len(odd)
    assert [queue.count() for queue in queues] == [Counts(ready=1)] * len(odd)
    assert [queue.task(id) is None for queue in queues[:2] for id in ids[2:]] == [True] * 16
    assert not queues[0].cancel(ids[1])
    assert {entry.name for entry in path.iterdir()} >= {"queues", "README", "new", "bad"}
    assert len(list((path / "queues").iterdir())) == len(odd) - 1
    for queue in queues:
        queue.close()


# opening


def test_a_missing_directory_is_made(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "not" / "yet" / "there")) as queue:
        assert queue.push(1).added


def test_without_create_nothing_is_made(path: Path) -> None:
    with pytest.raises(InvalidLocation, match=f"{path}: there is no queue here; a push makes one"):
        opened(path, create=False)
    assert not path.exists()
    opened(path, name="mails").close()
    for create in (False, "false"):
        with pytest.raises(InvalidLocation, match="there is no queue 'mail' here; there is mails"):
            opened(path, name="mail", create=create)
    assert sorted(each.name for each in (path / "queues").iterdir()) == ["mails"]
    opened(path, name="mails", create=False).close()


def test_a_file_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(InvalidLocation, match="is a file, and files:// keeps a queue in a directory"):
        opened(path)
    assert path.read_text() == "mine"


def test_a_directory_of_a_newer_lowq_is_refused_and_left_alone(path: Path) -> None:
    opened(path).close()
    settings = path / ".lowq" / "queue.json"
    settings.write_text('{"lowq": 99, "name": "default", "dedupe": "off"}')
    with pytest.raises(InvalidLocation, match=r"newer lowq \(format 99, this lowq knows 1\); upgrade lowq"):
        opened(path)
    assert "99" in settings.read_text()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"lowq": 1}'])
def test_damaged_settings_are_said_to_be_damaged(path: Path, text: str) -> None:
    opened(path).close()
    (path / ".lowq" / "queue.json").write_text(text)
    with pytest.raises(CorruptQueue, match=r"queue\.json is damaged"):
        opened(path)


def test_wrong_options_are_refused_before_a_directory_is_made(path: Path) -> None:
    for options, said in [
        ({"durability": "some"}, "durability: expected power, process, none, got 'some'"),
        ({"patience": "soon"}, "patience: expected seconds, a number from 0 to [0-9]+, got 'soon'"),
        ({"create": "maybe"}, "create: expected true or false, got 'maybe'"),
    ]:
        with pytest.raises(ValueError, match=said):
            opened(path, **options)
    assert not path.exists()


def test_threads_that_make_one_queue_at_once_all_succeed(tmp_path: Path) -> None:
    together = threading.Barrier(3)

    def make(path: Path) -> None:
        together.wait(BOUND)
        opened(path).close()

    with ThreadPoolExecutor(3) as pool:
        for number in range(30):
            made = [pool.submit(make, tmp_path / f"{number}") for _ in range(3)]
            assert [future.exception(BOUND) for future in made] == [None] * 3


# ids and the journal


def test_an_id_is_never_used_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pushed() -> int:
        with closing(opened(path)) as queue:
            id = queue.push("a").id
            assert queue.cancel(id)
            assert queue.task(id) is None
            return int(id)

    ids = [pushed(), pushed()]
    monkeypatch.setattr(journal, "boot_id", lambda: b"tomorrow")  # the power failed: the journal may be an older one
    ids.append(pushed())
    (path / ".lowq" / "journal").unlink()
    ids.append(pushed())

    assert ids == sorted(set(ids))


def test_no_id_is_used_again_where_the_system_does_not_tell_its_boots_apart(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "boot_id", lambda: bytes(8))
    with closing(opened(path)) as queue:
        first = queue.push("a")
        stale = (path / ".lowq" / "journal").read_bytes()
        queue.ack(claimed(queue))
        last = queue.push("b")
        queue.ack(claimed(queue))
    (path / ".lowq" / "journal").write_bytes(stale)  # what was not synced is as it was
    with closing(opened(path)) as queue:
        assert int(queue.push("c").id) > int(last.id) > int(first.id)


def test_no_call_lists_the_directory_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(opened(path)) as queue, closing(opened(path)) as other:
        other.count()
        queue.push_many([Item(n) for n in range(50)])
        monkeypatch.setattr(os, "scandir", lambda *_: pytest.fail("it was listed"))
        for client in (queue, other) * 20:
            client.ack(claimed(client))
        other.push("more")
        assert queue.count() == other.count() == Counts(ready=11)


def test_a_client_that_was_away_for_longer_than_the_journal_remembers_lists_the_directory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "ROOM", 3_000)
    with closing(opened(path)) as queue, closing(opened(path)) as other:
        for n in range(200):
            client = (queue, other)[n % 7 == 0]
            client.push(n)
            if n % 2:
                client.ack(claimed(client))
        assert queue.count() == other.count() == Counts(ready=100)
        for n in range(60):
            queue.push([n])
        assert other.count() == Counts(ready=160)
        assert drained(other) == [*range(100, 200), *([n] for n in range(60))]


@pytest.mark.parametrize("damage", [b"", b"\0" * 4096, os.urandom(5000)])
def test_a_damaged_journal_loses_nothing(path: Path, damage: bytes) -> None:
    with closing(opened(path)) as queue:
        queue.push(1)
        (path / ".lowq" / "journal").write_bytes(damage)
        queue.push(2)
        with closing(opened(path)) as other:
            assert drained(other) == [1, 2]
        assert queue.count() == Counts()


KILLED_BETWEEN = """
    import os, sys, lowq
    from lowq.backends.files.ledger import Ledger
    from datetime import timedelta
    queue = lowq.open_backend(sys.argv[1])
    carry_out, left = Ledger._carry_out, [int(sys.argv[3])]
    def killed(self, source, target):
        if not left[0]:
            os._exit(0)
        left[0] -= 1
        return carry_out(self, source, target)
    lease = queue.claim(lease_for=timedelta(hours=1))
    Ledger._carry_out = killed
    {"push": lambda: queue.push("new"), "claim": lambda: queue.claim(lease_for=timedelta(hours=1)),
     "ack": lambda: queue.ack(lease), "chained": lambda: queue.ack(lease, claim_for=timedelta(hours=1)),
     "release": lambda: queue.release(lease, reason="why")}[sys.argv[2]]()
"""


@pytest.mark.parametrize(
    ("verb", "counts"),
    [
        ("push", Counts(ready=2, leased=1)),
        ("claim", Counts(leased=2)),
        ("ack", Counts(ready=1)),
        ("chained", Counts(leased=1)),
        ("release", Counts(ready=2)),
    ],
)
@pytest.mark.parametrize("after", [0, 1])
def test_whoever_comes_next_finishes_what_a_killed_process_had_noted(
    path: Path, verb: str, counts: Counts, after: int
) -> None:
    with closing(opened(path)) as queue:
        queue.push("first")
        queue.push("second")
        answer(python(KILLED_BETWEEN, f"files://{path}", verb, after))
        with closing(opened(path)) as fresh:
            assert fresh.count() == queue.count() == counts


KILLED_IN_A_BATCH = """
    import os, sys, lowq
    from lowq.backends.files.folder import Folder
    queue = lowq.open_backend(sys.argv[1])
    rename, left = Folder.rename, [int(sys.argv[2])]
    def killed(self, source, target):
        if not left[0]:
            os._exit(0)
        left[0] -= 1
        rename(self, source, target)
    Folder.rename = killed
    queue.push_many([lowq.Item(n) for n in range(5)])
"""


@pytest.mark.parametrize("renames", range(7))
def test_a_batch_that_was_cut_off_is_whole_or_absent(path: Path, renames: int) -> None:
    with closing(opened(path)) as queue:
        answer(python(KILLED_IN_A_BATCH, f"files://{path}", renames))
        with closing(opened(path)) as fresh:
            assert fresh.count() == queue.count() == Counts(ready=5 if renames else 0)
        assert drained(queue) == (list(range(5)) if renames else [])


def test_what_killed_pushers_left_is_tidied_up_after_some_time(path: Path) -> None:
    opened(path).close()
    gone = answer(python("import os; print(os.getpid())"))
    left = [path / ".lowq" / "tmp" / f"{pid}-{n}" for pid in (gone, os.getpid()) for n in range(2)]
    for each in left:
        each.write_text("{")
    os.utime(left[0], (0, 0))
    os.utime(left[2], (0, 0))
    with closing(opened(path)) as queue:
        assert queue.count() == Counts()
    assert [each.exists() for each in left] == [False, True, True, True]
