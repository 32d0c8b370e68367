"""A broken clause as a program that fails, which was tried three times."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.report.report import ClauseReport, Report
from lowq_conformance.run.call_program import MET, write_call_program
from lowq_conformance.run.client_programs import DEATHS, write_death, write_schedule
from lowq_conformance.run.harness_facts import Facts, NoProgram, parse_facts
from lowq_conformance.run.interrupt_program import INTERRUPTED, write_interrupted
from lowq_conformance.sweep.schedule import Schedule, parse

TIMES = 3
"""How often a program is run, to see that it fails."""
BOUND = 30.0
"""Seconds within which a program must have ended."""
LOADING = 90.0
"""Seconds within which a harness must have been loaded to be asked."""
LONGEST = 120.0
"""Seconds after which no program of another clause is tried any more."""


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A broken clause and the program that shows it, or what that `lacks`.

    `failed` is how often it failed of so many `times`, `seen` what it said then.
    """

    clause: ClauseReport
    facts: Facts | None
    program: str = ""
    failed: int = 0
    seen: str = ""
    lacks: str = ""
    times: int = TIMES


def reproduce(report: Report, name: str = "repro.py", promises: Sequence[str] = ()) -> Reproduction | None:
    """The first broken clause that a program shows, else the first one that is broken; None where none is.

    The program is tried under the `name` that it is to have.

    The harness is loaded in processes of their own only.
    """
    broken = [group[0] for group in report.breaks() if group[0].verdict is Verdict.BROKEN]
    if not broken:
        return None
    ends = time.monotonic() + LONGEST
    try:
        facts = ask_facts(report.target, promises)
    except NoProgram as error:
        return Reproduction(broken[0], None, lacks=str(error))
    found: list[Reproduction] = []
    for clause in broken:
        found.append(try_clause(clause, facts, name))
        if found[-1].failed == TIMES or time.monotonic() > ends:
            break
    return max(found, key=lambda each: each.failed)  # the first of equals


def try_clause(clause: ClauseReport, facts: Facts, name: str) -> Reproduction:
    """The program of one clause was run, if there is one, three times or until it did not end."""
    try:
        program = write_program(clause, facts)
    except NoProgram as error:
        return Reproduction(clause, facts, lacks=str(error))
    failed, said, seen = 0, "", ""
    for number in range(TIMES):
        code, errors = run_program(program, facts, name)
        said = (errors.strip().splitlines() or [""])[-1]
        if number == 0 and said.startswith("AttributeError: ") and "'work'" in said:  # it is the task that has one
            program = re.sub(r"\b(got|task)\.work\b", r"\1.task.work", program)
            code, errors = run_program(program, facts, name)
            said = (errors.strip().splitlines() or [""])[-1]
        if code == 1 and said.startswith("AssertionError: "):
            failed, seen = failed + 1, said.removeprefix("AssertionError: ")
        elif code == TOO_LATE:
            break
    if failed:
        return Reproduction(clause, facts, program, failed, seen)
    how = f"ended with {said!r}" if said else "did not fail"
    return Reproduction(clause, facts, lacks=f"one was written, and {how}")


def write_program(clause: ClauseReport, facts: Facts) -> str:
    """The program that shows the broken clause: it raises AssertionError, and ends quietly where the clause is kept.

    Raises NoProgram.
    """
    if facts.only_pushes:
        raise NoProgram("the queue's own workers claim, in processes that the program would have to wait for")
    schedule = schedule_of(clause)
    if schedule is not None:
        return write_schedule(clause, schedule, facts)
    if clause.id in DEATHS:
        return write_death(clause, facts)
    if INTERRUPTED in clause.evidence:
        return write_interrupted(clause, facts)
    if clause.fault is not None:
        raise NoProgram(MET)
    return write_call_program(clause, facts)


def schedule_of(clause: ClauseReport) -> Schedule | None:
    """The schedule that breaks the clause, where that is known."""
    words = shlex.split(clause.rerun)
    return parse(words[words.index("--schedule") + 1]) if "--schedule" in words else None


def ask_facts(target: str, promises: Sequence[str]) -> Facts:
    """What is known of the harness. Raises NoProgram."""
    command = [sys.executable, "-P", "-m", "lowq_conformance.run.probe", target, *promises]
    code, told, errors = run_alone(command, os.environ.copy(), LOADING)
    if code == TOO_LATE:
        raise NoProgram(f"loading the harness {errors.removeprefix('it ')}")
    if code:
        raise NoProgram((errors.strip().splitlines() or ["loading the harness failed"])[-1])
    return parse_facts(json.loads(told.strip().splitlines()[-1]))


def run_program(program: str, facts: Facts, name: str) -> tuple[int, str]:
    """The exit code of the program, and what it wrote to standard error."""
    with TemporaryDirectory(prefix="lowq-repro-", ignore_cleanup_errors=True) as folder:
        file = Path(folder) / name
        file.write_text(program, encoding="utf-8")
        environment = os.environ | {"TMPDIR": folder}
        if facts.folder is not None:
            paths = [str(Path(facts.folder).resolve()), os.environ.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        code, _, errors = run_alone([sys.executable, str(file)], environment, BOUND)
    return code, errors


TOO_LATE = -1
"""The exit code of a command that did not end in time."""


def run_alone(command: list[str], environment: dict[str, str], bound: float) -> tuple[int, str, str]:
    """The exit code of a command and what it wrote; nothing that it started is left."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            out, errors = process.communicate(timeout=bound)
        except subprocess.TimeoutExpired:
            return TOO_LATE, "", f"it did not end within {bound:g} seconds"
        finally:
            kill_group(process.pid)
    return process.returncode, out, errors


def kill_group(group: int) -> None:
    """The processes of the group were sent SIGKILL, if there is any."""
    with suppress(ProcessLookupError, PermissionError):  # macOS refuses where only dead ones are left
        os.killpg(group, signal.SIGKILL)
