"""`lowq work`: a worker in the foreground."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from lowq.backend import Backend, Counts
from lowq.clock import SystemClock
from lowq.commands.output import visible
from lowq.commands.parameters import json_option, lasting, open_or_make, queue_name
from lowq.commands.told import Told
from lowq.location import locate
from lowq.process.init import leave_first_place
from lowq.rules.server_url import hide_password
from lowq.worker.retry import Retry

if TYPE_CHECKING:
    from lowq.commands.handler import Handler
    from lowq.worker.stopping import Stop
    from lowq.worker.worker import Run

_COMMAND = "lowq.work.command"

_TARGET = re.compile(r"[\w.]+:[A-Za-z_][\w.]*")
"""module:handler, which no location is."""

_SHOWN = 10
"""So many other queues of a location are named."""


class _WithCommand(click.Command):
    """What stands behind ``--`` is a command, and none of click's affair."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments before it."""
        if "--" in args:
            cut = args.index("--")
            ctx.meta[_COMMAND] = args[cut + 1 :]
            args = args[:cut]
        return super().parse_args(ctx, args)


@click.command(cls=_WithCommand, short_help="Run a worker in the foreground.")
@click.argument("targets", metavar="[LOCATION] MODULE[:HANDLER]…", nargs=-1, required=True)
@click.option(
    "--name",
    type=queue_name,
    metavar="NAME",
    help="Which of the queues of LOCATION; where not said, the handler's own if it is kept there, else default.",
)
@json_option
@click.option("--processes", type=click.IntRange(1, 1000), default=1, show_default=True, metavar="N")
@click.option(
    "--batch",
    type=click.IntRange(1, 100_000),
    default=1,
    show_default=True,
    metavar="N",
    help="So many tasks are claimed and settled together; one that is killed may have as many to run again.",
)
@click.option(
    "--lease",
    type=lasting,
    metavar="DURATION",
    help="How long a task is held (1m), and renewed while it runs: how soon a killed worker's task runs again.",
)
@click.option("--time-limit", type=lasting, metavar="DURATION", help="A task that runs longer is killed and retried.")
@click.option(
    "--max-attempts",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"A task that failed so often ({Retry().max_attempts}) is dead: see lowq redrive.",
)
@click.option(
    "--once-per-cluster",
    is_flag=True,
    help="Stand by while a worker on any machine runs the queue so, and take over at its end. PostgreSQL only.",
)
@click.option("--drain", is_flag=True, help="Run what is due now, and leave; exit code 1 where a task failed.")
@click.option("--log", metavar="FILE", help="Without a handler: a line for each work, its time and its JSON.")
@click.option("--delay", type=lasting, metavar="DURATION", help="A pause after each task, such as 5s.")
@click.pass_context
def work(
    ctx: click.Context,
    targets: tuple[str, ...],
    name: str | None,
    as_json: bool,
    processes: int,
    batch: int,
    lease: timedelta | None,
    time_limit: timedelta | None,
    max_attempts: int | None,
    once_per_cluster: bool,
    drain: bool,
    log: str | None,
    delay: timedelta | None,
) -> int:
    """Run the tasks of a queue, most urgent first, until SIGTERM or SIGHUP (exit code 0) or Ctrl-C (130).

    \b
    lowq work app:send               the queue of a TaskQueue, or of a function made by @task_queue
    lowq work app.tasks other.tasks  all queues of these modules, which take turns
    lowq work jobs.db app:send       the queue at LOCATION, with this handler of its works
    lowq work jobs.db -- COMMAND…    the same with a command, which gets the work on its standard input
    lowq work jobs.db --log FILE     the same, writing each work into a file

    A COMMAND is done with exit status 0; otherwise the task is tried again later, and the end of its standard error
    stays on it. Its environment has LOWQ_ID, LOWQ_ATTEMPT, LOWQ_QUEUE and LOWQ_LOCATION.

    All let the tasks in hand finish, or give them back. A handler that returns has done its task; one that raises is
    called again later, after growing delays. The retry, lease_for and time_limit of a TaskQueue hold unless options
    say otherwise. The current directory is importable, as with python -m. The queue is made where it is new; how much
    waits in it is said first, on standard error.

    With --json every run is a line on standard output; a run that failed is one on standard error.
    """
    from lowq.worker.backoff import Patience
    from lowq.worker.cluster import standing_by
    from lowq.worker.pool import Pool
    from lowq.worker.source import source_of
    from lowq.worker.stopping import Stop
    from lowq.worker.turns import Turns
    from lowq.worker.worker import GRACE, PATIENCE, Worker

    leave_first_place()
    command: list[str] | None = ctx.meta.get(_COMMAND)
    location: str | None
    stop = Stop(SystemClock(), GRACE)
    if command is not None or log is not None:
        location, handlers = _without_python(targets, name, command, log, time_limit, stop, drain)
    else:
        location, handlers = _understand(targets, name)
    if batch > 1 and len(handlers) > 1:
        raise click.UsageError("--batch is for one queue: several take turns, a task each")
    if batch > 1 and delay is not None:
        raise click.UsageError("--batch holds several tasks, and --delay would keep the others waiting: give one")
    if once_per_cluster and processes > 1:
        raise click.UsageError("--once-per-cluster lets one process of all claim: it goes with --processes 1")
    patience = timedelta(0) if drain else PATIENCE
    told = Told(as_json=as_json, sources=[source_of(found.function) for found in handlers])
    waiting = Patience(SystemClock(), patience, stop)
    with ExitStack() as stack:
        loops = []
        for found in handlers:
            queue = waiting(partial(_enter, stack, location, name, found))
            if once_per_cluster:
                stack.enter_context(standing_by(queue, partial(_say_whose_turn, queue.name)))
            worker = Worker(
                queue,
                found.function,
                lease_for=lease or found.lease_for,
                retry=found.retry if max_attempts is None else replace(found.retry, max_attempts=max_attempts),
                time_limit=None if command is not None else time_limit or found.time_limit,
                processes=processes,
                batch=batch,
                patience=patience,
                on_run=told if delay is None else _pausing(told, stop, delay),
                on_dead=None if found.queue is None else found.queue.on_dead,
            )
            loops.append(worker.loop(stop))
        # Turns claim no task before the one in hand is told of, and so hold none during the pause.
        loop = loops[0] if len(loops) == 1 and delay is None else Turns(loops, stop, patience)
        expects = (lambda: False) if drain else None
        try:
            if processes == 1:
                loop.serve(expects)
            else:
                Pool(loop, processes, stop, told).run(expects)
        finally:
            told.end()
    if signal.SIGINT in stop.heard:
        raise click.Abort
    return 1 if drain and told.failed else 0


def _enter(stack: ExitStack, location: str | None, name: str | None, handler: Handler) -> Backend:
    return stack.enter_context(_open_watched(location, name, handler))


def _say_whose_turn(name: str, alone: bool) -> None:
    from lowq.worker.cluster import describe_turn

    click.echo(visible(f"queue {name}: {describe_turn(alone)}"), err=True)


def _pausing(told: Callable[[Run], object], stop: Stop, delay: timedelta) -> Callable[[Run], None]:
    def tell(run: Run) -> None:
        told(run)
        SystemClock().wait(stop.pause, delay)

    return tell


def _without_python(
    targets: tuple[str, ...],
    name: str | None,
    command: list[str] | None,
    log: str | None,
    limit: timedelta | None,
    stop: Stop,
    drain: bool,
) -> tuple[str, list[Handler]]:
    """The location, and the handler that runs a command or writes a log."""
    from lowq.commands.handler import Handler
    from lowq.commands.log_handler import FOREVER, check_log, logging_to
    from lowq.commands.shell_handlers import running

    if len(targets) != 1:
        raise click.UsageError("with --log or a COMMAND, name one LOCATION and no handler")
    if command is not None and log is not None:
        raise click.UsageError("--log and a COMMAND both say what to do with a task: give one of them")
    if log is not None:
        if not log:
            raise click.UsageError("--log names no file")
        file = os.path.abspath(log)
        check_log(file)
        return targets[0], [Handler(f"--log {log}", logging_to(file, stop, timedelta(0) if drain else FOREVER))]
    if not command:
        raise click.UsageError("-- is followed by a command: lowq work jobs.db -- ./send-mail")
    if shutil.which(command[0]) is None:
        raise click.UsageError(
            f"there is no command {command[0]!r} that may be run; is it spelt right, and executable?"
        )
    run = running(command, name or "default", targets[0], limit)
    return targets[0], [Handler(command[0], run)]


def _understand(targets: tuple[str, ...], name: str | None) -> tuple[str | None, list[Handler]]:
    """The location, if one is given, and the handlers."""
    from lowq.commands.handler import HandlerNotFound, load

    first = targets[0]
    if len(targets) == 2 and not _TARGET.fullmatch(first):
        if ":" in targets[1] and not _is_place(targets[1]) and (_is_place(first) or not _is_module(first)):
            return first, load(targets[1])
        if _is_place(first):
            raise HandlerNotFound(
                f"{hide_password(targets[1])!r} is no handler\nexpected module:handler, such as app.jobs:send_mail"
            )
    if place := next((target for target in targets if _is_place(target)), None):
        shown = hide_password(place)
        what = "say which handler runs its tasks" if len(targets) == 1 else "it stands first, with one handler"
        raise HandlerNotFound(f"{shown!r} is a location\n{what}: lowq work {shown} module:handler")
    if name is not None:
        raise click.UsageError("--name goes with a LOCATION: a queue of the application has a name of its own")
    handlers: dict[tuple[str, str], Handler] = {}
    for handler in (handler for target in targets for handler in load(target)):
        if handler.queue is None:
            raise click.UsageError(
                f"{handler.title} is a plain function, so say where its works are: lowq work LOCATION {handler.title}"
            )
        handlers.setdefault((handler.queue.location.identity, handler.queue.name), handler)
    return None, list(handlers.values())


def _is_place(text: str) -> bool:
    """Whether a location is meant. A folder's name alone is that of a package: its location is a URL."""
    if "://" in text or _TARGET.fullmatch(text):
        return "://" in text
    return "/" in text or text.endswith((".db", ".sqlite", ".sqlite3")) or os.path.isfile(text)


def _is_module(text: str) -> bool:
    """Whether the text is the name of a module here; a new file of that name is written ``./name``."""
    from lowq.commands.handler import look_here

    look_here()
    package = text.partition(".")[0]
    return all(map(str.isidentifier, text.split("."))) and find_spec(package) is not None


@contextmanager
def _open_watched(location: str | None, name: str | None, handler: Handler) -> Iterator[Backend]:
    """The handler's queue, closed afterwards; what it is and how much waits in it was said."""
    own = handler.queue
    where = own.location if own is not None and location is None else locate(location or "")
    here = own is not None and own.location.identity == where.identity
    called = name or (own.name if own is not None and here else "default")
    options: dict[str, Any] = {}
    if own is not None and here and own.name == called:
        options = {"dedupe": own.dedupe, "clock": own.clock, **own.options}
    with open_or_make(where, called, **options) as (queue, is_new):
        waits = f"new, nothing waits in it{_others(queue)}" if is_new else _waits(queue.count())
        title = f"queue {called} of {where if location is None else hide_password(location)}"
        click.echo(visible(f"{title}: {waits}"), err=True)
        if own is not None and not (here and own.name == called):
            click.echo(
                visible(f"{handler.title} is made for another: the queue {own.name} of {own.location}"), err=True
            )
        yield queue


def _others(queue: Any) -> str:
    """The other queues of its location, one of which may have been meant."""
    others = [name for name in queue.names() if name != queue.name]
    more = ["…"] if len(others) > _SHOWN else []
    return f"; there {'is' if len(others) == 1 else 'are'} {', '.join(others[:_SHOWN] + more)}" if others else ""


def _waits(counts: Counts) -> str:
    more = [
        f"{number} {state}" for state, number in (("scheduled", counts.scheduled), ("dead", counts.dead)) if number
    ]
    return ", ".join([f"{counts.ready} ready", *more])


@contextmanager
def interruptions() -> Iterator[Callable[[], bool]]:
    """A function that says whether SIGINT came: a worker answers SIGINT and SIGTERM alike, the exit code does not."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def came() -> bool:
        with suppress(OSError):  # nothing came, or somebody closed it
            return signal.SIGINT in os.read(reading, 65536)
        return False

    try:
        yield came
    finally:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)
