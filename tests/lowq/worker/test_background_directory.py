"""A background worker of a queue in a directory: its lock and its log are in there, and its tasks run."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from processes import BOUND, answer, python

from lowq import open_backend
from lowq.location import locate

STARTED = """
    import pathlib, sys
    from lowq import TaskQueue
    class Writing(TaskQueue):
        path, name = sys.argv[1:3]
        def process(self, work):
            if work == "stay":
                print(work, file=open(sys.argv[3], "a"), flush=True)
                while not pathlib.Path(sys.argv[3] + ".go").exists():
                    __import__("time").sleep(0.01)
            else:
                print(work, file=open(sys.argv[3], "a"), flush=True)
    queue = Writing(TaskQueue.SILENT)
    queue.push("stay", 2, 3)
    print(queue.start())
"""


def wait_for(notes: Path, lines: int) -> list[str]:
    end = time.monotonic() + BOUND
    while time.monotonic() < end:
        if notes.exists() and len(written := notes.read_text().splitlines()) >= lines:
            return written
        time.sleep(0.01)
    raise AssertionError(f"{notes}: {lines} lines did not come")


@pytest.mark.parametrize("name", ["default", "mails", "a/b é"])
def test_a_worker_is_active_once_and_keeps_its_files_in_the_directory(tmp_path: Path, name: str) -> None:
    path, notes = tmp_path / "q", tmp_path / "notes"
    where = locate(f"files://{path}")

    first = answer(python(STARTED, f"files://{path}", name, notes))
    assert wait_for(notes, 1) == ["stay"]
    second = answer(python(STARTED, f"files://{path}", name, notes))
    notes.with_name("notes.go").touch()

    assert (first, second) == ("True", "False")
    assert wait_for(notes, 3) == ["stay", "2", "3"]
    assert where.beside("lock", name).name == "worker-lock"
    assert where.beside("lock", name).exists()
    assert path in where.beside("log", name).parents
    assert sorted(each.name for each in tmp_path.iterdir()) == ["notes", "notes.go", "q"]


def test_the_command_takes_a_directory(tmp_path: Path) -> None:
    location = f"files://{tmp_path / 'q'}"
    code = f"import sys; from lowq.cli import main; sys.argv = ['lowq', *{{}}]; main()  # {sys.platform}"
    answer(python(code.format(["push", location, '{"mail": 1}', "--priority", "5"])))
    shown = answer(python(code.format(["list", location, "--json"])))
    assert '"work": {"mail": 1}' in shown
    assert answer(python(code.format(["work", location, "builtins:print", "--drain"])))
    queue = open_backend(location, create=False)
    assert queue.tasks() == []
    queue.close()
