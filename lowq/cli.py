"""The command `lowq`: its parts, its exit codes, and what it says instead of a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from lowq import __version__
from lowq.backend import BackendUnavailable, CorruptQueue, LowqError
from lowq.commands.cancel import cancel
from lowq.commands.check import check
from lowq.commands.list import list_tasks
from lowq.commands.push import push
from lowq.commands.redrive import redrive
from lowq.commands.show import show
from lowq.commands.work import work

DONE, NO, BAD_INPUT, NO_STORAGE, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 3, 130, 141

EXIT_CODES = """\b
Exit codes, for every command but check (see lowq check --help):
    0  done; a push that met an equal work is done too
    1  the answer is no: no such task, it is leased, a redrive would be a duplicate,
       or --drain met a task that failed
    2  the command line, a work, a handler or the location is wrong
    3  the storage is locked, full, read-only, gone or damaged
  130  interrupted (Ctrl-C)
  141  the reader of the output went away (lowq list … | head)
"""


class _PipeClosedError(Exception):
    """The reader of the output went away."""


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """What the command returns; click itself would end a closed pipe with 1, which means "no" here."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _PipeClosedError from error
        except KeyboardInterrupt:
            raise click.Abort from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(__version__, "-V", "--version", prog_name="lowq", message="%(prog)s %(version)s")
def commands() -> None:
    """A low-maintenance task queue.

    LOCATION is a path (jobs.db) or a URL (sqlite:///var/lib/jobs.db). A command that does not push or work makes no
    queue where there is none. With --json every answer is one JSON object a line; times are ISO 8601 in UTC.
    """


for command in (push, list_tasks, show, cancel, redrive, work, check):
    commands.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; whatever goes wrong is one or two lines on standard error."""
    for stream in (sys.stdout, sys.stderr):
        _never_fail_to_encode(stream)
    try:
        code = commands.main(args=arguments, prog_name="lowq", standalone_mode=False)
        sys.stdout.flush()
    except click.NoSuchOption as error:
        where = error.ctx.command_path if error.ctx else "lowq"
        hint = "write -- before a WORK that begins with a minus" if where == "lowq push" else f"{where} --help"
        return _say(f"{where}: {error.format_message()}\nTry: {hint}", BAD_INPUT)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "lowq"
        return _say(f"{where}: {error.format_message()}\nTry: {where} --help", BAD_INPUT)
    except click.ClickException as error:
        return _say(f"lowq: {error.format_message()}", error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _say("\nlowq: interrupted" if sys.stderr.isatty() else "lowq: interrupted", INTERRUPTED)
    except (BackendUnavailable, CorruptQueue) as error:
        return _say(f"lowq: {error}", NO_STORAGE)
    except LowqError as error:
        return _say(f"lowq: {error}", BAD_INPUT)
    except (BrokenPipeError, _PipeClosedError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit would complain again
        return PIPE_CLOSED
    except OSError as error:
        return _say(f"lowq: {error}", NO_STORAGE)
    return code if isinstance(code, int) else DONE


def _say(text: str, code: int) -> int:
    click.echo(text, err=True)
    return code


def _never_fail_to_encode(stream: Any) -> None:
    """A character that the terminal cannot show is shown by its escape."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
