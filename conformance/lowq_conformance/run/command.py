"""The command `lowq check`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console

from lowq_conformance.contract.clauses import UnknownClause
from lowq_conformance.contract.known import read_options
from lowq_conformance.contract.profile import DEFAULT, PROFILES, QUICK, THOROUGH
from lowq_conformance.contract.promises import PROMISES, BrokenHarness
from lowq_conformance.history.operation import BadHistory
from lowq_conformance.report.report import worst
from lowq_conformance.run.durations import BadLength, seconds_of
from lowq_conformance.run.judge_history import judge_file
from lowq_conformance.run.output_file import Unwritable
from lowq_conformance.run.outputs import Outputs
from lowq_conformance.run.progress import progress
from lowq_conformance.run.reproduction_files import ReproductionFiles
from lowq_conformance.run.runner import Interrupted, SuiteFailed, run
from lowq_conformance.sweep.schedule import BadSchedule, Schedule, parse

_OF = "With --history, what the queue says of"
_LENGTH = click.FloatRange(min=0)


def _seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """The length of time in seconds."""
    try:
        return None if value is None else seconds_of(value)
    except BadLength as error:
        raise click.BadParameter(str(error)) from error


def _schedule(_: click.Context, __: click.Parameter, value: str | None) -> Schedule | None:
    """The schedule that is spelled so."""
    try:
        return None if value is None else parse(value)
    except BadSchedule as error:
        raise click.BadParameter(str(error)) from error


def _number(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """How many processes: auto is as many as there are cores, None where nobody said."""
    if value is None:
        return None
    if value == "auto":
        return cores()
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r} is neither auto nor a number of processes")
    return int(value)


JOBS = 2
"""How many processes share the tests where nobody says."""
HARNESS = 2
FAILED = 70
INTERRUPTED = 130

EPILOG = """
\b
TARGET is one of
  module:Harness            a harness, importable from here
  path/to/file.py:Harness   a harness in a file; :Harness may be left out
  module:function           any callable that takes a place and gives a client
  module:Backend            a class of lowq backends
  sqlite:///?option=value   a backend URL: only its kind and options count;
                            the suite makes fresh files of its own and never
                            opens your queue
  sqlite, memory            lowq's own
  huey, litequeue, …        queues that others wrote; docs/peers.md has them

\b
A history (--history FILE) is a record of what a queue of any system was asked
and answered, one JSON object per line; docs/history.md describes it. It is
held to the file's own "spec" line, or to first in, first out and priorities,
with equal works all added; the options above count more than both.

\b
--quick and --thorough look at the same clauses as the default, with fewer or
more programs, kills and calls of clients; --thorough with three seeds. One
seed makes the same calls in every run of a profile.

\b
With --budget TIME one seed follows the other until TIME is over: after the
first one, only what depends on the seed is done again. What is not reached
within TIME is not observed. Several TARGETs have equal shares of it.

\b
Faults that are known: known = {"RACE-1": "https://…"} in a harness, or
--known; the clause is told as known, and the exit status is 0. As soon as it
is kept, it is 1: take it out. sometimes, or --sometimes, is for those that
not every run sees.

\b
Where GITHUB_STEP_SUMMARY names a file, a summary is added to it.

\b
Places are made in memory, in /dev/shm, where Linux has it and it has room,
else where temporary files are made. TMPDIR=FOLDER says otherwise.

\b
Exit status
  0    every promised clause was kept, but for faults that are known
  1    a clause is broken, or kept that is said to be known to be broken
  2    a TARGET cannot be loaded or turns out to be no harness, whatever the
       others are, the command is misused, or the report cannot be written
  3    nothing is broken, but a promised clause was not observed, or none was
       tried
  70   the suite itself failed
  130  interrupted, by Ctrl-C or SIGTERM; what was seen is reported, also to
       the files that were asked for, and no process is left
  141  the reader of the report went away (lowq check … | head)

\b
Exit status with --history
  0    proved: an order explains all of it; or not refuted: nothing was found
       against it, and no order either. The words say which
  1    bad: a few operations prove that no order explains it
  2    the history cannot be read, or the command is misused
"""


@click.command(
    epilog=EPILOG,
    context_settings={"max_content_width": 100},
    short_help="Check any queue against the promises it makes.",
)
@click.argument("targets", metavar="[TARGET...]", nargs=-1)
@click.option("--only", metavar="CLAUSES", multiple=True, help="Only these clauses and groups: DEDUPE,ORDER-3.")
@click.option(
    "--promise",
    "promises",
    metavar="PROMISES",
    multiple=True,
    help="Promises to add to what the TARGET says, or all that a history's queue promises of order:"
    f" {' '.join(PROMISES)}.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Makes the run repeatable. Default: a random one.")
@click.option("--quick", "profile", flag_value=QUICK.name, help=f"Look at less: {QUICK.says}.")
@click.option("--thorough", "profile", flag_value=THOROUGH.name, help=f"Look at more: {THOROUGH.says}.")
@click.option(
    "-n",
    "jobs",
    callback=_number,
    metavar="N",
    help=f"Share the tests of a TARGET among N processes; auto: one a core. Default: {JOBS}.",
)
@click.option(
    "--budget",
    callback=_seconds,
    metavar="TIME",
    help="Go on with one seed after the other for so long, and no longer: 90s, 5m, 1h30m.",
)
@click.option(
    "--schedule",
    callback=_schedule,
    metavar="SCHEDULE",
    help="Make only this schedule of two clients, exactly, as a report spells it: claim@212,claim.",
)
@click.option(
    "--known",
    metavar="CLAUSE=URL",
    multiple=True,
    help="This clause is known to be broken, which is written down there: no failure. Kept, it is one.",
)
@click.option(
    "--sometimes",
    metavar="CLAUSE=URL",
    multiple=True,
    help="The same of a clause that not every run sees broken: kept, it is no failure either.",
)
@click.option(
    "--json",
    metavar="[FILE]",
    is_flag=False,
    flag_value="-",
    help="Write the report as JSON; - prints it, and so does --json at the end.",
)
@click.option("--html", metavar="FILE", help="Write the report as one page that needs no network and no script.")
@click.option("--junit", metavar="FILE", help="Write the report as JUnit's XML, one test case a clause.")
@click.option("--badge", metavar="FILE", help="Write a badge with the verdict, as SVG.")
@click.option(
    "--repro",
    metavar="FILE",
    help="Write a short program that shows a broken clause without the suite, run three times to see that it fails,"
    " and beside it, as FILE.md, the text of an issue.",
)
@click.option("--hide-not-promised", is_flag=True, help="The table and the page leave out what is not promised.")
@click.option("--clauses", is_flag=True, help="Show the clauses, and check nothing; with --json as data.")
@click.option("--history", metavar="FILE", help="Judge a recorded history instead of a TARGET.")
@click.option("--dedupe", type=click.Choice(["off", "until_done", "until_claimed"]), help=f"{_OF} equal works.")
@click.option("--requeue", type=click.Choice(["place", "any"]), help=f"{_OF} the place of a returned task.")
@click.option(
    "--due-order", type=click.Choice(["push", "due", "none"]), help=f"{_OF} the order of tasks with a time."
)
@click.option("--lease", type=_LENGTH, metavar="TIME", help=f"{_OF} the lease of claims that state none.")
@click.option("--grace", type=_LENGTH, metavar="TIME", help=f"{_OF} how soon a lease that ran out is handed on.")
@click.option(
    "--max-deliveries",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"{_OF} after how many claims a task that comes back may be set aside.",
)
@click.option("--eps", type=_LENGTH, metavar="TIME", help=f"{_OF} how far the clocks may differ.")
def check(
    targets: Sequence[str],
    only: Sequence[str],
    promises: Sequence[str],
    seed: int | None,
    known: Sequence[str],
    sometimes: Sequence[str],
    json: str | None,
    html: str | None,
    junit: str | None,
    badge: str | None,
    repro: str | None,
    hide_not_promised: bool,
    clauses: bool,
    history: str | None,
    profile: str | None,
    jobs: int | None,
    budget: float | None,
    schedule: Schedule | None,
    lease: float | None,
    **words: Any,
) -> None:
    """Check a queue, yours or a stranger's, against the promises it makes.

    Every clause that the queue promises is tried. For a broken one the few calls are shown that break it. Several
    TARGETs make a table side by side.
    """
    spec = {word: value for word, value in words.items() if value is not None}
    if clauses:
        asked: list[object] = [targets, only, promises, known, sometimes, hide_not_promised, seed, html, junit, badge]
        asked += [repro, history, profile, jobs, budget, schedule, lease, *spec.values()]
        if any(each is not None and each is not False and each != () for each in asked):
            raise click.UsageError("--clauses checks nothing, and takes --json only.")
        sys.exit(list_clauses(json))
    if history is None:
        needless = [*spec, *(["lease"] if lease is not None else [])]
        if needless:
            raise click.UsageError(
                f"--{needless[0].replace('_', '-')} is about a history, and there is no --history."
            )
        if not targets:
            raise click.UsageError("Missing argument 'TARGET...', or --history FILE.")
        if (known or sometimes) and len(targets) > 1:
            raise click.UsageError(
                "--known and --sometimes are about one TARGET; with several, say it in each one's harness."
            )
        if repro is not None and len(targets) > 1:
            raise click.UsageError("--repro is about one TARGET.")
        if repro is not None:
            check_apart(repro, json=json, html=html, junit=junit, badge=badge)
    elif (
        targets
        or any((only, known, sometimes, hide_not_promised))
        or any(each is not None for each in (seed, profile, jobs, budget, schedule, junit, badge, repro))
    ):
        raise click.UsageError("--history takes no TARGET and nothing that is about checking one.")
    console = Console(highlight=False, stderr=json == "-")
    try:
        faults = read_options(known, sometimes)
        with Outputs(json, html, junit, badge) as outputs, ReproductionFiles(repro, *targets[:1]) as files:
            if history is None:
                code = check_targets(
                    targets,
                    console,
                    outputs,
                    hide_not_promised,
                    files,
                    known=faults,
                    only=only,
                    seed=seed,
                    promises=promises,
                    profile=PROFILES[profile or DEFAULT.name],
                    jobs=jobs or JOBS,
                    budget=budget,
                    schedule=schedule,
                )
            else:
                code = judge_history(history, promises, lease, spec, console, outputs)
    except (BrokenHarness, UnknownClause, BadHistory, Unwritable) as error:
        click.echo(f"lowq check: {error}", err=True)
        sys.exit(HARNESS)
    except SuiteFailed as error:
        click.echo(f"lowq check: the suite itself failed; please report this:\n{error}", err=True)
        sys.exit(FAILED)
    sys.exit(code)


def list_clauses(json: str | None) -> int:
    """The set of clauses was shown, or written as JSON; the exit code."""
    try:
        with Outputs(json) as outputs:
            outputs.write_clauses(Console(highlight=False))
    except Unwritable as error:
        click.echo(f"lowq check: {error}", err=True)
        return HARNESS
    return 0


def check_apart(repro: str, **others: str | None) -> None:
    """No other file of the report is that of a program, or of its issue. Raises UsageError."""
    ours = {os.path.realpath(repro), os.path.realpath(f"{repro}.md")}
    for name, path in others.items():
        if path is not None and os.path.realpath(path) in ours:
            raise click.UsageError(f"--{name} and --repro name the same file.")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_targets(
    targets: Sequence[str],
    console: Console,
    outputs: Outputs,
    hide_not_promised: bool,
    files: ReproductionFiles,
    **asked: Any,
) -> int:
    """The targets were checked and reported on; the exit code."""
    try:
        with progress() as watch:
            reports = run(targets, watch=watch, **asked)
        code = worst(reports)
    except Interrupted as interrupted:
        reports, code = interrupted.reports, INTERRUPTED
    outputs.write_reports(reports, console, format_command(), hide_not_promised=hide_not_promised)
    if code != INTERRUPTED:
        try:
            for report in reports:
                files.write(report, asked["promises"], console)
        except KeyboardInterrupt:
            return INTERRUPTED
    return code


def judge_history(
    file: str,
    promises: Sequence[str],
    lease: float | None,
    spec: dict[str, Any],
    console: Console,
    outputs: Outputs,
) -> int:
    """The history was judged and reported on; the exit code. Raises BadHistory."""
    if spec.get("due_order") == "none":
        spec["due_order"] = None
    try:
        report = judge_file(file, promises, lease, spec)
    except BadHistory as error:
        raise BadHistory(f"{file}: {error}") from None
    except OSError as error:
        raise BadHistory(f"{file} cannot be read: {error.strerror}") from None
    outputs.write_history(report, console, format_command())
    return report.exit_code


def format_command() -> str:
    """The command that was typed."""
    return shlex.join(["lowq", *sys.argv[1:]])
