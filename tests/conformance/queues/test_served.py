"""A place has one server, also where who started it was killed before it served."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from lowq_conformance.queues.lines.server import LineServer
from lowq_conformance.queues.sound.served import OwnServer, Served


def test_of_two_servers_of_one_place_the_first_serves(tmp_path: Path) -> None:
    own = OwnServer(tmp_path, LineServer)
    own.start()
    told = (tmp_path / "address").read_text()
    try:
        another = subprocess.run(
            [sys.executable, "-I", "-S", "-c", own._program(), str(tmp_path), "0"], timeout=30, check=False
        )

        assert another.returncode == 0
        assert (tmp_path / "address").read_text() == told
    finally:
        own.end(signal.SIGKILL)


def test_a_server_whose_starter_was_killed_is_the_one(tmp_path: Path) -> None:
    """As it begins nothing stands in the folder yet; whoever comes meanwhile starts another, which leaves."""
    program = [sys.executable, "-I", "-S", "-c", OwnServer(tmp_path, LineServer)._program(), str(tmp_path), "0"]
    begun = [subprocess.Popen(program, start_new_session=True) for _ in range(4)]
    queue = Served().open(tmp_path)
    try:
        queue.push("a")

        serving = OwnServer(tmp_path, LineServer).pid
        ended = [each.wait(30) for each in begun if each.pid != serving]
        assert len(ended) >= len(begun) - 1
        assert set(ended) == {0}
        other = Served().open(tmp_path)
        assert other.claim() is not None
        other.close()
    finally:
        queue.close()
        Served().close_place(tmp_path)
        for each in begun:
            each.wait(30)
