"""`lowq move`: a queue goes over to another location, without losing a task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any, Literal, cast

import click

from lowq.backend import Adopting, Backend, Dedupe, InvalidLocation
from lowq.beside import true_path
from lowq.clock import SystemClock
from lowq.commands.output import console, visible, write_json
from lowq.commands.parameters import json_option, name_option, queue_name
from lowq.location import Location, locate, open_backend
from lowq.moving import Moved, Mover, MoveRefused, Survey, check_free, survey
from lowq.worker.lock import WorkerLock

_LOOK = timedelta(seconds=0.5)

Leased = Literal["refuse", "wait", "leave"]


@click.command(short_help="Move a queue to another location, without losing a task.")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@name_option
@click.option("--to-name", type=queue_name, metavar="NAME", help="Its name at TO; by default the same.")
@click.option(
    "--dedupe",
    type=click.Choice(["until_done", "until_claimed", "off"]),
    help="How TO dedupes; by default as FROM does, and another TO is refused.",
)
@click.option(
    "--leased",
    type=click.Choice(["refuse", "wait", "leave"]),
    default="refuse",
    show_default=True,
    help="Where a worker has tasks of FROM: move nothing, wait until it has done them, or leave these.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be moved, and write nothing.")
@click.option("--take-over", is_flag=True, help="Finish a move that another machine began and has ended.")
@json_option
def move(
    source: str,
    target: str,
    name: str,
    to_name: str | None,
    dedupe: Dedupe | None,
    leased: Leased,
    dry_run: bool,
    take_over: bool,
    as_json: bool,
) -> int:
    """The tasks of the queue at FROM stand in the queue at TO, each exactly once, behind what stands there already.

    Order, priority, not-before, key, headers, attempts, reason and the time of the push come along, and dead tasks
    stay dead; ids are new. Where an equal work stands at TO, that of FROM is dropped, as a push of it would be.

    It may be killed at any point: run it again with the same FROM and TO, and it goes on. Point the application at
    TO and stop the workers of FROM first: a task that one of them has cannot be moved.
    Exit code 1: nothing was moved, or something is left, and why.
    """
    where, there = _locate(source), _locate(target)
    at, to = _describe(where, name), _describe(there, to_name or name)
    if (where.identity, name) == (there.identity, to_name or name):
        raise InvalidLocation(f"{where} and {there} are one queue: nothing to move")
    with ExitStack() as stack:
        old = cast(Adopting, open_backend(where, name=name, create=False))
        stack.callback(old.close)
        if dry_run:
            return _tell_plan(old, there, to_name or name, dedupe, at, to, as_json)
        lock = WorkerLock(where.beside("lock", name), true_path(where.place))
        if not lock.take():
            click.echo(
                f"lowq: {visible(at)}: a worker runs this queue, or another lowq move does: stop it (SIGTERM ends a"
                " worker after its task), and move again",
                err=True,
            )
            return 1
        stack.callback(lock.let_go)
        found = survey(old)
        if found.leased and leased == "refuse":
            click.echo(f"lowq: {visible(at)}: {_say_leased(found.leased)}; nothing was moved\n{_ADVICE}", err=True)
            return 1
        try:
            check_free(found, at, to, take_over=take_over)
            new = _open_target(there, to_name or name, dedupe, old.dedupe)
            stack.callback(new.close)
            mover = Mover(old, new, source_at=at, target_at=to)
            _move(mover, found, wait=leased == "wait")
        except MoveRefused as error:
            click.echo(visible(f"lowq: {error}"), err=True)
            return 1
    return _tell(mover.told, at, to, as_json)


_ADVICE = "Stop the workers there and move again; or say --leased wait, or --leased leave to move the others."


def _locate(location: str) -> Location:
    where = locate(location)
    if where.scheme == "memory":
        raise InvalidLocation(f"{where}: a memory queue lives in the process that made it; name a file instead")
    return where


def _describe(where: Location, name: str) -> str:
    return str(where) if name == "default" else f"{where} ({name})"


def _open_target(there: Location, name: str, dedupe: Dedupe | None, source: Dedupe) -> Adopting:
    """The queue at TO, made where it is new. Raises InvalidLocation where it dedupes otherwise."""
    wanted = dedupe or source
    try:
        made: Backend = open_backend(there, name=name, create=False)
    except InvalidLocation:  # also for what is no queue at all, which the next try says
        made = open_backend(there, name=name, dedupe=wanted)
    if (fault := _find_fault(made, there, wanted)) is not None:
        made.close()
        raise InvalidLocation(fault)
    return cast(Adopting, made)


def _find_fault(made: Backend, there: Location, wanted: Dedupe) -> str | None:
    if made.dedupe != wanted:
        return (
            f"{there}: the queue {made.name!r} was made with dedupe={made.dedupe!r}, the one to move with {wanted!r}:"
            f" name another with --to-name, or say --dedupe {made.dedupe} to have its rule"
        )
    return None


def _move(mover: Mover, found: Survey, *, wait: bool) -> None:
    with _show_progress(len(found.ids)) as show:
        while True:
            for told in mover.run(found):
                show(told)
            if not wait or not mover.told.leased:
                return
            SystemClock().sleep(_LOOK)
            found = survey(mover.source)


@contextmanager
def _show_progress(total: int) -> Iterator[Any]:
    """What is to be called after each batch: it shows how far the move is, where somebody looks."""
    err = console(stderr=True)
    if not err.is_terminal:
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("moved {task.completed:,} of {task.total:,} tasks"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("move", total=total)

        def show(told: Moved) -> None:
            done = told.moved + told.equal
            progress.update(task, completed=done, total=max(total, done))

        yield show


def _tell(told: Moved, at: str, to: str, as_json: bool) -> int:
    left = told.leased + told.damaged
    if as_json:
        write_json(
            {
                "moved": told.moved,
                "equal": told.equal,
                "left": {"leased": told.leased, "damaged": told.damaged},
                "doubtful": told.doubtful,
            }
        )
    else:
        equal = f"; {told.equal} more were dropped: equal works stood there" if told.equal else ""
        click.echo(visible(f"moved {told.moved} from {at} to {to}{equal}"))
    if told.leased:
        click.echo(f"lowq: left: {_say_leased(told.leased)}; move again when they are done", err=True)
    if told.damaged:
        click.echo(f"lowq: left: {told.damaged} of which the work cannot be read (lowq list --json tells)", err=True)
    for id in told.doubtful:
        click.echo(f"lowq: task {visible(id)} was taken by a worker as it went over, and may run twice", err=True)
    return 1 if left or told.doubtful else 0


def _tell_plan(
    old: Backend, there: Location, name: str, dedupe: Dedupe | None, at: str, to: str, as_json: bool
) -> int:
    found = survey(old)
    made = None
    try:
        with ExitStack() as stack:
            made = open_backend(there, name=name, create=False)
            stack.callback(made.close)
            fault = _find_fault(made, there, dedupe or old.dedupe)
    except InvalidLocation as error:
        fault, there_is = None, f"there is none yet, and it would be made if it can be ({error})"
    else:
        there_is = "it is there already"
    if fault is not None:
        raise InvalidLocation(fault)
    if as_json:
        left = {"leased": found.leased, "damaged": found.damaged}
        write_json({"would_move": len(found.ids), "left": left, "new": made is None})
    else:
        click.echo(visible(f"would move {len(found.ids)} from {at} to {to}: {there_is}"))
        if found.leased:
            click.echo(f"{_say_leased(found.leased)}\n{_ADVICE}")
        if found.damaged:
            click.echo(f"{found.damaged} cannot be read and would stay")
        if found.note is not None:
            click.echo(visible(f"a move to {found.note.work['to']} was cut off, and would be finished first"))
    return 0


def _say_leased(number: int) -> str:
    return f"a worker has {number} {'task' if number == 1 else 'tasks'}"
