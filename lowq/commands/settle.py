"""`lowq claim`, `ack`, `extend`, `release` and `dead-letter`: the verbs of a worker, for shells and other languages.

A lease is named by one word without spaces, which `claim` prints: the id of its task and its token.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote

import click

from lowq.backend import NO_HEADERS, Backend, Lease, LeaseLost, State, Task
from lowq.clock import SystemClock, to_datetime
from lowq.commands.output import escape_json, write_json
from lowq.commands.parameters import duration, instant, lasting, of_a_queue, open_queue
from lowq.error_text import fitting
from lowq.rules.canonical import encode, surrogate_fault
from lowq.wire import write_lease


class _LeaseWord(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # older clicks have no argument
    name = "lease"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Lease:
        """The lease that the word names."""
        if isinstance(value, Lease):
            return value
        id, colon, token = str(value).partition(":")
        if not id or not colon or not token or surrogate_fault(str(value)) is not None:  # a byte that is not UTF-8
            self.fail(f"{value!r} is no lease; give the word that lowq claim printed", param, ctx)
        end = to_datetime(0)
        task = Task(unquote(id), None, None, 0, None, 0, State.LEASED, None, end, NO_HEADERS)
        return Lease(task, unquote(token), end)


lease_argument = click.argument("lease", metavar="LEASE", type=_LeaseWord())
lease_option = click.option(
    "--lease",
    "lease_for",
    type=lasting,
    default="1m",
    show_default=True,
    metavar="DURATION",
    help="How long it is held.",
)


@click.command(short_help="Take the most urgent due task.")
@of_a_queue
@lease_option
@click.option("--wait", type=duration, default="0s", metavar="DURATION", help="Wait so long for a task.")
def claim(location: str, name: str, as_json: bool, lease_for: timedelta, wait: timedelta) -> int:
    """Take the most urgent due task: two lines, the LEASE that names it to the other commands, and its work as JSON.

    Nobody else gets it until the lease ends. The exit code is 1 where nothing is due. With --json it is one object.
    """
    with open_queue(location, name) as queue:
        lease = queue.claim(lease_for=lease_for, wait=wait)
    if lease is None:
        click.echo("lowq: nothing is due", err=True)
        return 1
    _show(lease, as_json)
    return 0


@click.command(short_help="A task that was taken is done.")
@of_a_queue
@lease_argument
def ack(location: str, name: str, as_json: bool, lease: Lease) -> int:
    """The task is done and gone. The exit code is 1 where the lease was lost: another has the task, or had it."""
    return _settle(location, name, as_json, lambda queue: queue.ack(lease))


@click.command(short_help="Hold a task for longer.")
@of_a_queue
@lease_argument
@lease_option
def extend(location: str, name: str, as_json: bool, lease: Lease, lease_for: timedelta) -> int:
    """The task is held for so long from now."""
    return _settle(location, name, as_json, lambda queue: queue.extend(lease, lease_for=lease_for))


@click.command(short_help="Give a task back.")
@of_a_queue
@lease_argument
@click.option("--at", type=instant, metavar="TIME", help="Not before this time, such as 2030-01-01T12:00:00Z.")
@click.option("--in", "delay", type=duration, metavar="DURATION", help="Not before so long from now.")
@click.option("--reason", metavar="TEXT", help="Why; it stays on the task. '-' reads it from standard input.")
@click.option("--uncount", is_flag=True, help="The attempt does not count.")
def release(
    location: str,
    name: str,
    as_json: bool,
    lease: Lease,
    at: datetime | None,
    delay: timedelta | None,
    reason: str | None,
    uncount: bool,
) -> int:
    """The task waits again, in its old place."""
    if at is not None and delay is not None:
        raise click.UsageError("--at and --in both say when: give one of them")
    not_before = at if delay is None else SystemClock().now() + delay
    why = _reason(reason)
    return _settle(
        location,
        name,
        as_json,
        lambda queue: queue.release(lease, not_before=not_before, reason=why, uncount=uncount),
    )


@click.command("dead-letter", short_help="Set a task aside.")
@of_a_queue
@lease_argument
@click.option("--reason", metavar="TEXT", required=True, help="Why; '-' reads it from standard input.")
def dead_letter(location: str, name: str, as_json: bool, lease: Lease, reason: str) -> int:
    """The task is set aside for a person, and never taken again until lowq redrive."""
    why = _reason(reason) or ""
    return _settle(location, name, as_json, lambda queue: queue.dead_letter(lease, reason=why))


def _settle(location: str, name: str, as_json: bool, verb: Callable[[Backend], object]) -> int:
    with open_queue(location, name) as queue:
        try:
            answer = verb(queue)
        except LeaseLost as error:
            click.echo(f"lowq: {error}", err=True)
            return 1
    if as_json:
        write_json(write_lease(answer) if isinstance(answer, Lease) else {})
    return 0


def _show(lease: Lease, as_json: bool) -> None:
    word = f"{quote(lease.id, safe='')}:{quote(lease.token, safe='')}"
    if as_json:
        write_json({"lease": word, **write_lease(lease)})
    else:
        click.echo(f"{word}\n{escape_json(encode(lease.work))}")


def _reason(text: str | None) -> str | None:
    if text is None:
        return None
    return fitting(sys.stdin.read().rstrip("\n") if text == "-" else text)
