"""The command `lowq`: its parts, its exit codes, and what it says instead of a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click

from lowq import __version__
from lowq.backend import BackendUnavailable, CorruptQueue, LowqError
from lowq.commands.backup import backup
from lowq.commands.cancel import cancel
from lowq.commands.check import check
from lowq.commands.compact import compact_file
from lowq.commands.count import count
from lowq.commands.list import list_tasks
from lowq.commands.metrics import metrics
from lowq.commands.move import move
from lowq.commands.output import visible
from lowq.commands.purge import purge
from lowq.commands.push import push
from lowq.commands.redrive import redrive
from lowq.commands.serve import serve
from lowq.commands.settle import ack, claim, dead_letter, extend, release
from lowq.commands.show import show
from lowq.commands.verify import verify_file
from lowq.commands.work import work
from lowq.rules.server_url import hide_passwords

DONE, NO, BAD_INPUT, NO_STORAGE, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 3, 130, 141

EXIT_CODES = """\b
Exit codes, for every command but check (see lowq check --help):
    0  done; a push that met an equal work is done too
    1  the answer is no: no such task, it is leased, a redrive would be a duplicate,
       verify found damage, --drain met a task that failed, or move left something
    2  the command line, a work, a handler or the location is wrong
    3  the storage is locked, full, read-only, gone or damaged
  130  interrupted (Ctrl-C)
  141  the reader of the output went away (lowq list … | head)
"""


class _PipeClosedError(Exception):
    """The reader of the output went away."""


class _Commands(click.Group):
    """Tells of what click would end in its own way: a closed pipe with 1, which means "no" here."""

    def make_context(self, *arguments: Any, **keywords: Any) -> click.Context:
        """The context, whose help may have been shown."""
        with _tell_errors():
            return super().make_context(*arguments, **keywords)

    def invoke(self, ctx: click.Context) -> Any:
        """What the command returns."""
        with _tell_errors():
            return super().invoke(ctx)


@contextmanager
def _tell_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise _PipeClosedError from error
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # which rich ends with 1
            raise _PipeClosedError from error
        raise
    except KeyboardInterrupt:
        raise click.Abort from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(__version__, "-V", "--version", prog_name="lowq", message="%(prog)s %(version)s")
def commands() -> None:
    """A low-maintenance task queue.

    LOCATION is a path (jobs.db) or a URL (sqlite:///var/lib/jobs.db). A command that does not push or work makes no
    queue where there is none. With --json every answer is one JSON object a line; times are ISO 8601 in UTC.
    """


for command in (
    push,
    list_tasks,
    count,
    metrics,
    show,
    cancel,
    redrive,
    purge,
    backup,
    verify_file,
    compact_file,
    move,
    work,
    serve,
    claim,
    ack,
    extend,
    release,
    dead_letter,
    check,
):
    commands.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; whatever goes wrong is one or two lines on standard error."""
    for name in ("stdout", "stderr"):
        _open(name)
    if sys.stdin is None:  # closed, as by <&-
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  as long as the process lives
        sys.stdin.close()
    try:
        return _run(arguments)
    finally:
        for stream in (sys.stdout, sys.stderr):
            _give_up(stream)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = commands.main(args=arguments, prog_name="lowq", standalone_mode=False)
        sys.stdout.flush()
    except click.NoSuchOption as error:
        where = error.ctx.command_path if error.ctx else "lowq"
        hint = "write -- before a WORK that begins with a minus" if where == "lowq push" else f"{where} --help"
        return _say(f"{where}: {_message(error)}\nTry: {hint}", BAD_INPUT)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "lowq"
        return _say(f"{where}: {_message(error)}\nTry: {where} --help", BAD_INPUT)
    except click.ClickException as error:
        return _say(f"lowq: {_message(error)}", error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _say("\nlowq: interrupted" if sys.stderr.isatty() else "lowq: interrupted", INTERRUPTED)
    except (BackendUnavailable, CorruptQueue) as error:
        return _say(f"lowq: {error}", NO_STORAGE)
    except LowqError as error:
        return _say(f"lowq: {error}", BAD_INPUT)
    except (BrokenPipeError, _PipeClosedError):
        return PIPE_CLOSED
    except OSError as error:
        return _say(f"lowq: {error}", NO_STORAGE)
    return code if isinstance(code, int) else DONE


def _message(error: click.ClickException) -> str:
    """What click says, which quotes the arguments: without the password of a URL among them."""
    return hide_passwords(error.format_message())


def _say(text: str, code: int) -> int:
    with suppress(OSError):  # then the code says it alone
        click.echo(visible(text, lines=True), err=True)
    return code


def _open(name: str) -> None:
    """A stream that is closed takes anything; a character that a terminal cannot show is shown by its escape."""
    if getattr(sys, name) is None:
        setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  as long as the process lives
    stream = getattr(sys, name)
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")


def _give_up(stream: Any) -> None:
    """What a stream could not write is forgotten: the interpreter would try once more, and end with 120."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
