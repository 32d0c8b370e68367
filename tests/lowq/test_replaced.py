"""What programs and tests replace in the interpreter, and a queue that works all the same.

docs/replaced.md says which of it lowq uses as it finds it, and which it never sees replaced.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

GUIDE = (Path(__file__).parents[2] / "docs" / "replaced.md").read_text(encoding="utf-8")

PROGRAM = """
import sys
import threading
from contextlib import ExitStack, contextmanager
from io import FileIO
from datetime import UTC, datetime, timedelta
from unittest import mock

REFUSED = threading.Event()

class THREAD(threading.Thread):
    def start(self):
        if REFUSED.is_set():
            raise RuntimeError("can't start new thread")
        super().start()

def hang(work):
    import threading
    threading.Event().wait()

def len_of(work):
    return None

{before}
with {replaced}:
    import lowq
    from lowq import FakeClock, SystemClock

    MINUTE = timedelta(minutes=1)
    queue = lowq.open_backend(sys.argv[1])
    ran = []
    queue.push({{"a": 1.5}}, priority=1)
    queue.push(2)
    assert [run.outcome for run in lowq.Worker(queue, ran.append).drain()] == ["done", "done"]
    assert ran == [{{"a": 1.5}}, 2], ran
    assert queue.claim(lease_for=MINUTE, wait=timedelta(milliseconds=50)) is None
    lowq.Worker(queue, ran.append).run_while_due(timedelta(0))
    left = lowq.SystemClock().countdown(timedelta(milliseconds=20))
    lowq.SystemClock().sleep(timedelta(milliseconds=30))
    assert left() <= timedelta(0)
    assert not FakeClock().wait(lambda seconds: False, timedelta(milliseconds=20))
    try:
        queue.push(object())
    except lowq.InvalidWork:
        pass
    else:
        raise SystemExit("what is not JSON was kept")
    {inside}
    queue.close()
"""

WAIT = """
    async def waits(work):
        import asyncio
        await asyncio.sleep(0.01)
        ran.append(work)
    queue.push("await")
    assert [run.outcome for run in lowq.Worker(queue, waits).drain()] == ["done"]
    assert ran[-1] == "await"
"""

LIMIT = """queue.push(3)
    worker = lowq.Worker(queue, print, time_limit=MINUTE)
    assert [run.outcome for run in worker.drain()] == ["done"]"""

MEMBERS = """
    queue.push(5), queue.push(6)
    assert len(lowq.Worker(queue, len_of, processes=2).drain()) == 2"""

START = """
    @lowq.task_queue(sys.argv[1], name="started")
    def note(queue, work):
        with FileIO(sys.argv[1] + ".out", "a") as out:
            out.write(str(work).encode())
    note(7)
    end = SystemClock().countdown(MINUTE)
    while lowq.open_backend(sys.argv[1], name="started").count() != lowq.Counts():
        assert end() > timedelta(0), "the worker in the background did not run"
        SystemClock().sleep(timedelta(milliseconds=10))
    assert FileIO(sys.argv[1] + ".out").read() == b"7"
"""

KILL = """
    queue.push("long")
    started = SystemClock().countdown(MINUTE)
    worker = lowq.Worker(queue, hang, time_limit=timedelta(milliseconds=50), retry=lowq.Retry(max_attempts=1))
    assert [run.outcome for run in worker.drain()] == ["dead"]
    assert started() > timedelta(seconds=30), "nobody killed it"
"""

SYSTEM = (
    "mock.patch.multiple('os', getpid=mock.DEFAULT, kill=mock.DEFAULT, killpg=mock.DEFAULT, waitpid=mock.DEFAULT, "
    "_exit=mock.DEFAULT, setsid=mock.DEFAULT, setpgid=mock.DEFAULT, urandom=mock.DEFAULT)"
)
PATHS = (
    "mock.patch.multiple('os', stat=mock.DEFAULT), "
    "mock.patch.multiple('os.path', exists=lambda path: {0}, isfile=lambda path: {0}, isdir=lambda path: {0}), "
    "mock.patch('pathlib.Path.exists', lambda path: {0})"
)

WHAT = {
    "freezegun": ("import freezegun", "freezegun.freeze_time('2031-01-01')", LIMIT + WAIT),
    "freezegun, started after lowq": (
        "import freezegun, lowq.worker.worker",
        "freezegun.freeze_time('2031-01-01')",
        LIMIT + WAIT,
    ),
    "freezegun, ticking": ("import freezegun, lowq", "freezegun.freeze_time('2031-01-01', tick=True)", LIMIT + WAIT),
    "time-machine": (
        "import time_machine, lowq",
        "time_machine.travel('2031-01-01 00:00Z', tick=False)",
        LIMIT + WAIT,
    ),
    "time.time": ("import lowq.clock", "mock.patch('time.time', return_value=0.0)", LIMIT + WAIT),
    "time.monotonic": ("", "mock.patch('time.monotonic', return_value=5.0)", LIMIT + WAIT),
    "time.monotonic, after lowq": (
        "import lowq.clock",
        "mock.patch('time.monotonic', return_value=5.0)",
        LIMIT + WAIT,
    ),
    "time.sleep": ("", "mock.patch('time.sleep')", LIMIT),
    "datetime": ("import lowq.clock", "mock.patch('datetime.datetime')", ""),
    "open": ("import lowq, sqlite3", "mock.patch('builtins.open', side_effect=OSError)", LIMIT + START),
    "os.kill": ("", SYSTEM, LIMIT + MEMBERS + START + KILL),
    "os.open": ("import tempfile\ntempfile.gettempdir()", "mock.patch('os.open')", LIMIT + START),
    "os.path.exists": ("", PATHS.format(True), LIMIT + START),
    "os.path.exists, nothing is there": ("", PATHS.format(False), LIMIT + START),
    "select": (
        "import lowq.worker.worker",
        "mock.patch('select.select', side_effect=OSError), mock.patch('select.poll', side_effect=OSError)",
        LIMIT + MEMBERS,
    ),
    "sqlite3.connect": ("import sqlite3", "mock.patch('sqlite3.connect')", LIMIT + START),
    "subprocess": ("", "mock.patch('subprocess.Popen', side_effect=OSError)", LIMIT),
    "random": (
        "import random",
        "mock.patch('random.random', return_value=0.0), mock.patch('random.Random.random')",
        "",
    ),
    "uuid": ("", "mock.patch('uuid.uuid4', return_value='same')", ""),
    "socket": ("import socket", "mock.patch('socket.socket', side_effect=OSError('no network'))", LIMIT),
    "pytest-socket": ("import pytest_socket\npytest_socket.disable_socket()", "ExitStack()", LIMIT),
    "logging": ("import logging\nlogging.disable(logging.CRITICAL)", "mock.patch('logging.getLogger')", LIMIT),
    "json": (
        "import json",
        "mock.patch('json.loads', return_value=None), mock.patch('json.dumps', return_value='0'), "
        "mock.patch('json.JSONEncoder.default', lambda self, found: 'anything')",
        "",
    ),
    "sys.stderr": ("", "mock.patch('sys.stderr', None), mock.patch('sys.stdout', None)", LIMIT),
    "os.environ": ("import os", "mock.patch.dict('os.environ', clear=True)", LIMIT),
    "os.fork, which makes no process": (
        "",
        "mock.patch('os.fork', side_effect=[0, 1])",
        "queue.push(3)\n"
        "    for _ in range(2):\n"
        "        try:\n"
        "            lowq.Worker(queue, print, time_limit=MINUTE).drain()\n"
        "        except lowq.LowqError as error:\n"
        "            assert 'os.fork has been replaced' in str(error), error\n"
        "        else:\n"
        "            raise SystemExit('it was taken for a process')\n"
        "    assert queue.count().ready == 1, queue.count()",
    ),
    "threading, out of threads": (
        "import lowq.worker.worker",
        "mock.patch('threading.Thread', THREAD)",
        "REFUSED.set()\n"
        "    queue.push(3)\n"
        "    try:\n"
        "        lowq.Worker(queue, print).drain()\n"
        "    except lowq.LowqError as error:\n"
        "        assert 'refused the thread' in str(error), error\n"
        "    else:\n"
        "        raise SystemExit('it ran without a thread')\n"
        "    assert queue.count().ready == 1, queue.count()",
    ),
    "os.fork": (
        "",
        "mock.patch('os.fork', side_effect=BlockingIOError(11, 'no more processes'))",
        "queue.push(3)\n"
        "    try:\n"
        "        lowq.Worker(queue, print, time_limit=MINUTE).drain()\n"
        "    except lowq.LowqError as error:\n"
        "        assert 'refused another process' in str(error), error\n"
        "    else:\n"
        "        raise SystemExit('it forked')\n"
        "    assert queue.count().ready + queue.count().leased == 1",
    ),
    "threading": (
        "",
        "mock.patch('threading.Thread')",  # so nothing renews the lease
        "",
    ),
    "signal": (
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "ExitStack()",
        LIMIT + "\n    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN",
    ),
    "gevent": (
        "from gevent import monkey\nmonkey.patch_all()",
        "ExitStack()",
        "try:\n"
        "        lowq.Worker(queue, print, time_limit=MINUTE)\n"
        "    except lowq.LowqError as error:\n"
        "        assert 'gevent has replaced them' in str(error), error\n"
        "    else:\n"
        "        raise SystemExit('its child would never answer')\n"
        "    queue.push(3), queue.push(4)\n"
        "    assert len(lowq.Worker(queue, print, processes=2).drain()) == 2",
    ),
    "pyfakefs": (
        "import lowq.worker.worker\nfrom pyfakefs.fake_filesystem_unittest import Patcher, Pause\n"
        "patcher = Patcher()\npatcher.setUp()",
        "Pause(patcher.fs)",
        LIMIT,
    ),
}
"""Its name in the guide: what a program does before, what is replaced, and what else must work then."""

NEEDS = {
    "pyfakefs": "pyfakefs",
    "gevent": "gevent",
    "pytest-socket": "pytest_socket",
    "time-machine": "time_machine",
    "freezegun": "freezegun",
}


@pytest.mark.parametrize("name", WHAT)
def test_a_queue_works_while_a_program_replaces(name: str, tmp_path: Path) -> None:
    needs = NEEDS.get(name.partition(",")[0])
    if needs is not None and find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    before, replaced, inside = WHAT[name]
    program = PROGRAM.format(before=before, replaced=replaced, inside=inside)

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "q.db")],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_guide_names_each() -> None:
    named = {name for row in re.findall(r"^\| ([^|]+) \|", GUIDE, re.M) for name in re.findall(r"[\w.-]+", row)}

    assert {name.partition(",")[0] for name in WHAT} - named == set()
