"""`lowq work` as the first process of a container, with namespaces of the kernel in the place of one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest
from processes import wait_for

import lowq

CONTAINER = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]

APP = """
import os
import subprocess
import threading

def leave(work):
    orphan = int(subprocess.run(["sh", "-c", "sleep 0 & echo $!"], stdout=subprocess.PIPE).stdout)
    for _ in range(2000):
        try:
            os.kill(orphan, 0)  # a zombie can be sent a signal
        except ProcessLookupError:
            return
        threading.Event().wait(0.005)
    raise AssertionError("the orphan is a zombie")

def wait(work):
    open("begun", "w").close()
    while not os.path.exists("end"):
        threading.Event().wait(0.005)

def die(work):
    os._exit(7)
"""


@cache
def has_containers() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*CONTAINER, "true"], capture_output=True, timeout=60).returncode == 0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    if not has_containers():
        pytest.skip("this machine lets nobody make namespaces")
    (tmp_path / "app.py").write_text(APP)
    with closing(lowq.open_backend(tmp_path / "q.db")) as queue:
        queue.push(1)
    return tmp_path


def work(place: Path, handler: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lowq", "work", "q.db", f"app:{handler}", *options]
    return subprocess.Popen([*CONTAINER, *command], cwd=place, stderr=subprocess.PIPE, text=True)


def test_an_orphan_is_no_zombie(place: Path) -> None:
    with work(place, "leave", "--drain") as worker:
        told = worker.communicate(timeout=60)[1]

    assert worker.returncode == 0, told


def test_a_request_to_end_reaches_the_worker(place: Path) -> None:
    with work(place, "wait") as worker:
        wait_for((place / "begun").exists)
        first = int(Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()[0])
        os.kill(first, signal.SIGTERM)
        (place / "end").touch()
        told = worker.communicate(timeout=60)[1]

    assert worker.returncode == 0, told
    assert "1 done" in told


def test_it_ends_as_the_worker_did(place: Path) -> None:
    with work(place, "die") as worker:
        worker.communicate(timeout=60)

    assert worker.returncode == 7
