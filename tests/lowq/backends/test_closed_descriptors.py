"""A program that closes all descriptors it finds goes on using its queues; nothing is lost, nobody is locked out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processes import answer, python

PROGRAM = """
    import json, os, subprocess, sys, tempfile
    from contextlib import ExitStack
    from datetime import timedelta
    import lowq

    location, how, clients = sys.argv[1], sys.argv[2], int(sys.argv[3])

    def push_elsewhere(work):
        code = "import sys, lowq; lowq.open_backend(sys.argv[1]).push(sys.argv[2])"
        subprocess.run([sys.executable, "-c", code, location, work], check=True, timeout=60)

    def close_all():
        if how == "each":
            for number in map(int, os.listdir("/dev/fd")):
                try:
                    os.close(number) if number > 2 else None
                except OSError:
                    pass
        else:
            os.closerange(5 if how == "some" else 3, 4096)
        if how == "reused":
            folder = tempfile.mkdtemp(dir=os.path.dirname(sys.argv[4]))
            return [open(os.path.join(folder, str(number)), "w+b") for number in range(12)]
        return []

    queues = [lowq.open_backend(location) for _ in range(clients)]
    for number, queue in enumerate(queues):
        queue.push(f"before {number}")
    lease = queues[0].claim(lease_for=timedelta(minutes=5))
    opened = close_all()
    push_elsewhere("elsewhere 1")
    for number, queue in enumerate(queues):
        assert queue.push(f"after {number}").added
    push_elsewhere("elsewhere 2")
    queues[0].ack(lease)
    if how != "reused":
        close_all()
    assert queues[-1].count().leased == 0
    queues[-1].extend(queues[-1].claim(lease_for=timedelta(minutes=5)), lease_for=timedelta(minutes=9))
    late = lowq.open_backend(location)
    late.push("late")
    for queue in queues:
        queue.close()
    push_elsewhere("elsewhere 3")
    print(json.dumps(sorted(task.work for task in late.tasks())))
    for file in opened:
        assert os.fstat(file.fileno()).st_ino == os.stat(file.name).st_ino, "its number is another file's"
        assert file.read() == b"", "was written to"
        file.close()
"""


@pytest.mark.parametrize(
    ("kind", "how", "clients"),
    [
        ("sqlite", "all", 1),
        ("sqlite", "some", 2),
        ("sqlite", "each", 2),
        ("sqlite", "reused", 1),
        ("sqlite", "reused", 3),
        ("files", "all", 1),
        ("files", "reused", 2),
    ],
)
def test_a_queue_is_used_on_after_all_was_closed(tmp_path: Path, kind: str, how: str, clients: int) -> None:
    location = str(tmp_path / "q.db") if kind == "sqlite" else f"files://{tmp_path / 'q'}"

    program = python(PROGRAM, location, how, clients, tmp_path / "its own")

    each = range(clients)
    works = [*(f"elsewhere {number}" for number in (1, 2, 3)), "late", *(f"after {number}" for number in each)]
    works += [f"before {number}" for number in each if number > 0]
    assert json.loads(answer(program)) == sorted(works)
