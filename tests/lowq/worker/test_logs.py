"""The program's logging in a forked worker: no record is lost, and none is written twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from processes import answer, python

PREAMBLE = """
import logging, logging.handlers, multiprocessing, os, queue, sys, threading, time
from datetime import timedelta
os.chdir(sys.argv[1])
from lowq import task_queue

log = logging.getLogger("shop")
log.setLevel(logging.INFO)

@task_queue("jobs.db", log_level=0)
def send(queue, work):
    if work == "bad":
        log.error("task %s", work, exc_info=ValueError("why"))
    else:
        log.info("task %s", work)

def await_drained():
    while (count := send.queue.backend.count()).ready or count.leased:
        time.sleep(0.01)
    while send.queue.active_pid is not None:
        time.sleep(0.01)
"""


def lines(folder: Path, program: str) -> list[str]:
    """What stands in the file shop.log after the program."""
    answer(python(PREAMBLE + program, folder))
    return (folder / "shop.log").read_text().splitlines()


RUNS = {
    "start": "send('a', 'b')\nawait_drained()",
    "processes": "send.queue.push('a', 'b')\nsend.queue.worker(processes=2).run_while_due(timedelta(0))",
    "time_limit": "send.queue.time_limit = timedelta(minutes=1)\nsend.queue.push('a', 'b')\n"
    "send.queue.worker().run_while_due(timedelta(0))",
    "both": "send.queue.time_limit = timedelta(minutes=1)\nsend('a', 'b')\nawait_drained()",
}


@pytest.mark.parametrize(
    ("kind", "run"),
    [
        *(("queue.Queue()", each) for each in RUNS),
        ("queue.SimpleQueue()", "start"),
        ("multiprocessing.Queue()", "start"),
        ("multiprocessing.Queue()", "time_limit"),
    ],
)
def test_what_a_queue_listener_writes_is_written_in_the_worker_too(tmp_path: Path, run: str, kind: str) -> None:
    written = lines(
        tmp_path,
        f"""
records = {kind}
target = logging.FileHandler("shop.log")
target.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
log.addHandler(logging.handlers.QueueHandler(records))
listener = logging.handlers.QueueListener(records, target)
listener.start()
log.info("before")
{RUNS[run]}
log.info("after")
listener.stop()
""",
    )

    assert sorted(written) == ["INFO after", "INFO before", "INFO task a", "INFO task b"]


def test_a_listener_that_stopped_meanwhile_takes_no_record_with_it(tmp_path: Path) -> None:
    written = lines(
        tmp_path,
        """
records = queue.Queue()
log.addHandler(logging.handlers.QueueHandler(records))
listener = logging.handlers.QueueListener(records, logging.FileHandler("shop.log"), respect_handler_level=True)
listener.handlers[0].setLevel(logging.ERROR)
listener.start()
send("bad", "a")
listener.stop()
await_drained()
""",
    )

    assert written == ["task bad", "ValueError: why"]


def test_records_that_nobody_is_known_to_read_are_in_the_workers_log(tmp_path: Path) -> None:
    answer(
        python(
            PREAMBLE
            + """
records = queue.Queue()
log.addHandler(logging.handlers.QueueHandler(records))
threading.Thread(target=lambda: [records.get() for _ in range(1000)], daemon=True).start()
send("a", "bad")
await_drained()
""",
            tmp_path,
        )
    )

    written = (tmp_path / "jobs.db-log").read_text()
    assert "INFO shop: task a" in written
    assert "ValueError: why" in written


def test_a_buffer_of_records_is_the_parents_and_the_workers_are_written_at_once(tmp_path: Path) -> None:
    written = lines(
        tmp_path,
        """
target = logging.FileHandler("shop.log")
log.addHandler(logging.handlers.MemoryHandler(1000, target=target))
log.info("before")
send("a", "b")
await_drained()
assert open("shop.log").read().splitlines() == ["task a", "task b"]
logging.shutdown()
""",
    )

    assert written == ["task a", "task b", "before"]


def test_a_log_that_goes_through_a_socket_opens_one_of_its_own(tmp_path: Path) -> None:
    printed = answer(
        python(
            PREAMBLE
            + """
import pickle, socket, struct
server = socket.create_server(("127.0.0.1", 0))
syslog = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
syslog.bind(("127.0.0.1", 0))
log.addHandler(logging.handlers.SocketHandler(*server.getsockname()))
log.addHandler(logging.handlers.SysLogHandler(syslog.getsockname()))
log.info("before")
send("a")
await_drained()
for _ in range(2):
    peer, _ = server.accept()
    with peer:
        size, = struct.unpack(">L", peer.recv(4))
        data = b""
        while len(data) < size:
            data += peer.recv(size - len(data))
        print(pickle.loads(data)["msg"])
    print(syslog.recv(1000).partition(b">")[2].strip(b"\\0").decode())
""",
            tmp_path,
        )
    )

    assert printed.splitlines() == ["before", "before", "task a", "task a"]
