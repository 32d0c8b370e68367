"""A process that ends with its starter, however that ends, and leaves no files behind.

A small shell stands between the two. It reads from a pipe whose other end only the starter holds: when that is gone,
the shell kills the process and removes its folder. Nothing is left to be done by whoever was killed.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import signal
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_SHELL = """
trap '' INT TERM HUP QUIT
folder=$1; ending=$2; shift 2
"$@" </dev/null >>"$folder/output" 2>&1 &
pid=$!
echo $pid
exec >/dev/null 2>&1
while read -r word; do
    case $word in
        "") wait; pid= ;;
        leave) folder= ;;
        *) pid=$word ;;
    esac
done
if [ -n "$pid" ]; then
    kill -"$ending" $pid
    kill -CONT $pid
    wait
fi
[ -z "$folder" ] || rm -rf "$folder" || { sleep 1; rm -rf "$folder"; }
"""
_BOUND = 30


class Kept:
    """A command that runs in a session of its own until `close`, or until this process is gone.

    What it says goes to the file ``output`` in the folder, which is removed with it. `ending` is the signal that ends
    it: SIGKILL, unless it has something to put away.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        ending: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.folder = folder
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _SHELL, "lowq-keeper", str(folder), str(int(ending)), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=None if environment is None else dict(environment),
        )
        _kept.add(self)
        assert self._shell.stdout is not None
        with self._shell.stdout as told:
            self.pid = int(told.readline())

    def kill(self) -> None:
        """The command is killed at once; its folder stays until `close`."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """The command is sent the signal."""
        os.kill(self.pid, number)

    def reap(self) -> None:
        """The command, which was told to end, has ended: nothing has its process id any more but by chance."""
        self._say("")

    def end_too(self, pid: int) -> None:
        """Another process of the starter's, in the command's place, is ended when this is closed."""
        self._say(str(pid))

    def leave(self) -> None:
        """The folder, which somebody else keeps from now on, stays."""
        self._say("leave")
        self.close()

    def _say(self, word: str) -> None:
        if self._shell.stdin is not None:
            self._shell.stdin.write(f"{word}\n".encode())
            self._shell.stdin.flush()

    def close(self) -> None:
        """The command is gone, and its folder."""
        self.let_go()
        with suppress(subprocess.TimeoutExpired):
            self._shell.wait(_BOUND)

    def let_go(self) -> None:
        """This process keeps it no longer; who else does not, need not be asked."""
        _kept.discard(self)
        if self._shell.stdin is not None:
            with suppress(OSError):
                self._shell.stdin.close()

    def output(self) -> str:
        """The last lines that the command said."""
        with suppress(OSError):
            return "\n".join((self.folder / "output").read_text(errors="replace").splitlines()[-5:])
        return ""


_kept: weakref.WeakSet[Kept] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """The pipe is the starter's alone: a child that lives longer keeps no server alive."""
    for each in list(_kept):
        each.let_go()


os.register_at_fork(after_in_child=_after_fork_in_child)
