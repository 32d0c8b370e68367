"""What others put into a queue's directory: it wedges nothing, nothing is lost, and nothing is deleted."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from directory import WRONG, bad, claimed, drained, file_of, opened
from processes import answer, python

from lowq import BackendUnavailable, CorruptQueue, Counts, Item, LeaseLost, Pushed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "q"


FOREIGN: dict[str, Callable[[Path], object]] = {
    ".gitkeep": Path.touch,
    ".ready-2147483647-0000000000000001-2d7e24212bbd-0.json.swp": Path.touch,
    "#ready-2147483647-0000000000000001-2d7e24212bbd-0.json#": Path.touch,
    "ready-2147483647-0000000000000001-2d7e24212bbd-0.json~": Path.touch,
    "ready-2147483647-0000000000000001-2d7e24212bbd-0.json.bak": Path.touch,
    "4913": Path.touch,
    "notes.json": Path.touch,
    "ready to go.json": Path.touch,
    "lost+found": Path.mkdir,
    "directory.json": Path.mkdir,
    "link.json": lambda path: path.symlink_to("/etc/passwd"),
    "dangling": lambda path: path.symlink_to("nowhere"),
    "pipe": os.mkfifo,
    "new\nline.json": Path.touch,
    os.fsdecode(b"\xff.json"): Path.touch,
    "new/.hidden.json": Path.touch,
    "new/writing.json.tmp": Path.touch,
    ".lowq/tmp/notes": Path.touch,
}


def test_foreign_files_are_left_alone(path: Path) -> None:
    opened(path).close()
    for name, make in FOREIGN.items():
        make(path / name)
    with closing(opened(path)) as queue, closing(opened(path)) as other:
        queue.push(1)
        other.push(2)
        assert queue.count() == Counts(ready=2)
        assert drained(other) == [1, 2]

    assert [name for name in FOREIGN if not os.path.lexists(path / name)] == []
    assert bad(path) == {}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("when", ["before it was opened", "while it is open"])
def test_a_wrong_task_file_is_set_aside_with_the_reason_and_the_others_are_handed_out(
    path: Path, kind: str, when: str
) -> None:
    data, why = WRONG[kind]
    queue = opened(path)
    for n in range(3):
        queue.push(n)
    wrong = file_of(path, 1)
    wrong.write_bytes(data)
    if when != "while it is open":
        queue.close()
        queue = opened(path)

    with closing(queue):
        assert [task.work for task in queue.tasks()] == [0, 2]
        assert drained(queue) == [0, 2]

    assert why in bad(path)[wrong.name]
    assert (path / "bad" / wrong.name).read_bytes() == data


def test_a_wrong_file_that_is_claimed_first_is_set_aside(path: Path) -> None:
    with closing(opened(path)) as queue:
        queue.push(0)
        queue.push(1)
        file_of(path, 0).write_bytes(b"")
        assert drained(queue) == [1]
        assert queue.push(0) == Pushed("3", added=True)
        assert queue.count() == Counts(ready=1)
    assert list(bad(path).values()) == ["it is empty"]


@pytest.mark.parametrize(
    ("kind", "make", "why"),
    [
        ("directory", Path.mkdir, "it is no regular file"),
        ("link", lambda path: path.symlink_to("/etc/passwd"), "it is no regular file"),
        ("pipe", os.mkfifo, "it is no regular file"),
    ],
)
def test_what_is_no_file_and_has_the_name_of_a_task_is_set_aside(
    path: Path, kind: str, make: Callable[[Path], object], why: str
) -> None:
    with closing(opened(path)) as queue:
        queue.push(0)
    name = "ready-0000000000-0000000000000001-2d7e24212bbd-0.json"
    make(path / name)
    with closing(opened(path)) as queue:
        assert queue.count() == Counts(ready=1)
        assert drained(queue) == [0]
    assert bad(path) == {name: why}
    assert os.path.lexists(path / "bad" / name)


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("/etc/passwd"), os.mkfifo])
def test_what_takes_the_place_of_a_task_file_while_it_is_open_is_set_aside(
    path: Path, make: Callable[[Path], object]
) -> None:
    with closing(opened(path)) as queue:
        queue.push(0)
        queue.push(1)
        taken = file_of(path, 0)
        taken.unlink()
        make(taken)
        assert drained(queue) == [1]
    assert list(bad(path)) == [taken.name]


def test_a_socket_is_no_task(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(opened(path)) as queue:
        queue.push(0)
        taken = file_of(path, 0)
        taken.unlink()
        monkeypatch.chdir(path)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(taken.name)
            assert drained(queue) == []
    assert list(bad(path)) == [taken.name]


@pytest.mark.parametrize(
    "name",
    [
        "ready-2147483647-42.json",
        "ready-9999999999-0000000000000042-2d7e24212bbd-0.json",
        "ready-2147483647-9999999999999999-2d7e24212bbd-0.json",
        "ready-2147483647-0000000000000042-2D7E24212BBD-0.json",
        "ready-2147483647-0000000000000042-2d7e24212bbd.json",
        "scheduled-20269926T150405.123456Z-2147483647-0000000000000042-2d7e24212bbd-0.json",
        "leased-2147483647-0000000000000042-2d7e24212bbd-0.json",
    ],
)
def test_a_file_that_was_renamed_to_what_is_no_name_of_a_task_is_set_aside(path: Path, name: str) -> None:
    with closing(opened(path)) as queue:
        queue.push(0)
        queue.push(1)
    file_of(path, 0).rename(path / name)
    with closing(opened(path)) as queue:
        assert drained(queue) == [1]
    assert list(bad(path)) == [name]
    assert json.loads((path / "bad" / name).read_text())["work"] == 0


def test_a_file_that_is_renamed_while_the_queue_is_open_is_passed_over(path: Path) -> None:
    with closing(opened(path)) as queue:
        queue.push(0)
        queue.push(1)
        file_of(path, 0).rename(path / "mine")
        assert drained(queue) == [1]
        assert queue.count() == Counts()
        assert queue.push(0).added
    assert (path / "mine").exists()


def test_a_wrong_file_with_a_very_long_name_is_set_aside(path: Path) -> None:
    opened(path).close()
    name = f"ready-1{'x' * 243}.json"
    (path / name).write_text("mine")
    with closing(opened(path)) as queue:
        assert queue.count() == Counts()
    (kept,) = [each for each in (path / "bad").iterdir() if not each.name.endswith(".why.txt")]
    assert kept.read_text() == "mine"
    assert len(bad(path)) == 1


def test_a_copy_of_a_task_is_set_aside(path: Path) -> None:
    with closing(opened(path)) as queue:
        queue.push("a")
    first = file_of(path, "a")
    copy = path / first.name.replace("2147483647", "2147483640")
    copy.write_bytes(first.read_bytes())
    with closing(opened(path)) as queue:
        assert drained(queue) == ["a"]
    assert "a task is one file" in " ".join(bad(path).values())


def test_a_rename_by_hand_to_another_priority_counts(path: Path) -> None:
    with closing(opened(path)) as queue:
        queue.push("usual")
        queue.push("made urgent")
    file = file_of(path, "made urgent")
    file.rename(path / file.name.replace("2147483647", "2147483640"))
    with closing(opened(path)) as queue:
        assert [(task.work, task.priority) for task in queue.tasks()] == [("made urgent", 7), ("usual", 0)]


def test_a_number_that_a_person_made_up_is_not_given_again(path: Path) -> None:
    with closing(opened(path)) as queue:
        queue.push("a")
    file = file_of(path, "a")
    file.rename(path / file.name.replace("0000000000000001", "0000000000005000"))
    with closing(opened(path)) as queue:
        assert int(queue.push("b").id) > 5000
        assert drained(queue) == ["a", "b"]


UNREADABLE = """
    import os, pathlib, sys, lowq, lowq.location, lowq.backends.files.backend
    from datetime import timedelta
    lowq.location.locate("files:///imports/all?that=it&uses=")
    if os.getuid() == 0:  # whom no permission stops
        os.setgid(65534); os.setuid(65534)
    queue = lowq.open_backend(sys.argv[1])
    queue.push(0)
    queue.push(1)
    name = sorted(name for name in os.listdir(sys.argv[2]) if name.startswith("ready"))[0]
    os.chmod(f"{sys.argv[2]}/{name}", 0)
    print(queue.claim(lease_for=timedelta(minutes=1)).work, queue.claim(lease_for=timedelta(minutes=1)))
"""


def test_an_unreadable_file_is_set_aside() -> None:
    with TemporaryDirectory() as parent:  # not tmp_path, whose parents nobody else may enter
        os.chmod(parent, 0o777)
        path = Path(parent, "q")
        assert answer(python(UNREADABLE, f"files://{path}", path)) == "1 None"
        assert list(bad(path).values()) == ["it cannot be read: Permission denied"]


def test_a_person_may_delete_a_task_while_the_queue_is_open(path: Path) -> None:
    with closing(opened(path)) as queue, closing(opened(path)) as other:
        ids = [queue.push(n).id for n in range(4)]
        lease = claimed(queue)
        other.count()
        for n in (0, 1, 2):
            file_of(path, n).unlink()
        with pytest.raises(LeaseLost):
            queue.ack(lease)
        assert other.task(ids[1]) is None
        assert not other.cancel(ids[2])
        assert queue.push(2).added
        assert drained(other) == [3, 2]
        assert queue.count() == other.count() == Counts()


def test_half_a_character_in_a_task_file_is_set_aside(path: Path) -> None:
    with closing(opened(path)) as queue:
        for n in range(4):
            queue.push(n)
    texts = ('"work": "\\ud83d\\ude00"', '"work": ["\\uDC00"]', '"work": 2, "headers": {"a": "\\ud800"}', '"work": 3')
    for n, text in enumerate(texts):
        file_of(path, n).write_text(f"{{{text}}}")

    with closing(opened(path)) as queue:
        assert drained(queue) == ["\U0001f600", 3]
    assert len(bad(path)) == 2


def test_a_number_that_was_never_given_leaves_numbers_for_the_tasks_to_come(path: Path) -> None:
    with closing(opened(path)) as queue:
        queue.push(0)
        queue.push(1)
    file = file_of(path, 1)
    file.rename(path / (forged := file.name.replace(f"{2:016}", f"{10**15 - 1:016}")))

    with closing(opened(path)) as queue:
        assert queue.push(2).added
        assert drained(queue) == [0, 2]
    assert "its number" in bad(path)[forged]


def test_the_highest_count_of_attempts_is_claimed_and_settled(path: Path) -> None:
    with closing(opened(path)) as queue:
        queue.push(0)
    file = file_of(path, 0)
    file.rename(path / file.name.replace("-0.json", f"-{10**9 - 1}.json"))

    with closing(opened(path)) as queue:
        assert drained(queue) == [0]
        assert queue.count() == Counts()


@pytest.mark.parametrize("data", [b"zz", b"\xff\0zz", b"", b"\0" * 4096])
def test_a_batch_file_that_is_damaged_wedges_nothing(path: Path, data: bytes) -> None:
    with closing(opened(path)) as queue:
        queue.push(0)
    (path / ".lowq" / "batch").write_bytes(data)
    (path / ".lowq" / "journal").unlink()  # so that it is looked for, as after a start of the machine

    with closing(opened(path)) as queue:
        assert drained(queue) == [0]
        queue.push_many([Item(1), Item(2)])
    with closing(opened(path)) as queue:
        assert drained(queue) == [1, 2]


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", '{"lowq": 1, "name": "default", "dedupe": 7}'])
def test_settings_that_are_damaged_are_named(path: Path, text: str) -> None:
    opened(path).close()
    (path / ".lowq" / "queue.json").write_text(text)

    with pytest.raises(CorruptQueue, match=r"queue\.json is damaged"):
        opened(path)


def test_a_file_in_the_place_of_a_directory_of_ours_is_named(path: Path) -> None:
    opened(path).close()
    (path / "new").rmdir()
    (path / "new").touch()

    with pytest.raises(BackendUnavailable, match="new is no directory"):
        opened(path)
