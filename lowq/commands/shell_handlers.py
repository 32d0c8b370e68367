"""A handler that needs no Python: a command that gets the work on its standard input.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

from lowq import kernel
from lowq.backend import Work
from lowq.commands.pipes import Errors, Input
from lowq.current_task import current
from lowq.process.warden import Warden, signal_group
from lowq.rules.canonical import encode
from lowq.worker.failure import TaskFailed, time_is_up
from lowq.worker.stopping import Stopping

_TAIL = 4000
"""Bytes of a command's standard error that stay on the task as its reason."""

_GRACE = timedelta(seconds=5)
"""How long a command that was told to end may take."""


def running(
    command: Sequence[str], queue: str, location: str, limit: timedelta | None = None
) -> Callable[[Work], None]:
    """A handler that runs the command for each work, and passes on that the worker is to stop.

    Exit status 0 is done; any other is a failure, with the end of the standard error as its reason. The command has a
    process group of its own, which a terminal's Ctrl-C does not reach. The group is killed at the limit, and when the
    process that runs this is gone: whoever is given the task next is alone with it.
    """

    wardens: list[Warden] = []

    def run(work: Work) -> None:
        task = current()
        environment = {**os.environ, "LOWQ_QUEUE": queue, "LOWQ_LOCATION": location}
        if task is not None:
            environment |= {"LOWQ_ID": task.id, "LOWQ_ATTEMPT": str(task.attempt), **_headers(task.headers)}
        warden = wardens[-1] if wardens and wardens[-1].owner == kernel.getpid() else None
        if warden is None:
            wardens[:] = [warden := Warden()]
        try:
            group = warden.group()
            failure = _run(command, environment, encode(work).encode(), limit, group)
            warden.release(group)
        except BaseException:
            wardens.clear()
            warden.close()
            raise
        if failure is not None:
            raise TaskFailed(failure)

    return run


def _run(
    command: Sequence[str], environment: Mapping[str, str], work: bytes, limit: timedelta | None, group: int
) -> str | None:
    """How the command failed, or None."""
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            process_group=group,
        )
    except (OSError, ValueError) as error:
        return f"{command[0]} cannot be run: {_explain(error)}"
    assert process.stdin is not None
    assert process.stderr is not None
    with process:
        given, errors = Input(process.stdin, work + b"\n"), Errors(process.stderr, _TAIL)
        try:
            how = _ending(process.wait(None if limit is None else limit.total_seconds()))
        except subprocess.TimeoutExpired:
            signal_group(group, signal.SIGKILL)
            process.wait()
            how = str(time_is_up(limit or timedelta(0)).error)
        except BaseException as error:
            if isinstance(error, Stopping):
                signal_group(group, signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE.total_seconds())
            signal_group(group, signal.SIGKILL)
            process.wait()
            raise
        finally:
            given.end()
            said = errors.end(_GRACE)
    return f"{said}\n({how})" if how and said else how


def _ending(status: int) -> str | None:
    """How a command that ended with this status failed, or None."""
    if status == 0:
        return None
    return f"exit status {status}" if status > 0 else f"killed by {_name(-status)}"


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that an environment can hold: ``LOWQ_HEADER_TRACEPARENT``."""
    return {
        f"LOWQ_HEADER_{name.upper().replace('-', '_')}": value
        for name, value in headers.items()
        if name.replace("-", "_").isidentifier() and name.isascii() and "\0" not in value
    }


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _explain(error: OSError | ValueError) -> str:
    """What the system says, and what it means where the command was there when the worker began."""
    number = error.errno if isinstance(error, OSError) else None
    hint = {
        errno.ENOENT: "; it was removed, or the program that its first line names after #! is not there",
        errno.ENOEXEC: "; it is no program, and a script begins with a line like #!/bin/sh",
    }
    return f"{error}{hint.get(number or 0, '')}"
