"""The files of `--repro`: a program that shows a broken clause, and beside it the text of an issue."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console

from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.report.report import Report
from lowq_conformance.run.interrupt import raise_on_termination
from lowq_conformance.run.output_file import OutFile, Unwritable
from lowq_conformance.support.text import printable

if TYPE_CHECKING:
    from lowq_conformance.run.reproduction import Reproduction


def find_version() -> str:
    """The version of lowq that is installed; a tree that is only on the path has none."""
    try:
        return metadata.version("lowq")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def write_issue(found: Reproduction, report: Report, file: str) -> str:
    """The text of an issue, in Markdown: what is broken, with which versions, what was expected and seen, and how to
    see it again."""
    clause, facts = found.clause, found.facts
    versions = {
        "Python": platform.python_version(),
        "system": platform.system(),
        "lowq": find_version(),
        **({} if facts is None else facts.versions),
    }
    lines = [f"# {clause.id} is broken: {clause.text}", ""]
    lines += ["Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()), ""]
    lines += [f"Expected: {clause.text}.", "", "Seen:", "", *fence_code(clause.evidence), ""]
    if found.program:
        where = f"PYTHONPATH={shlex.quote(facts.folder)} " if facts is not None and facts.folder else ""
        lines += [f"This program failed {found.failed} of {found.times} times:", ""]
        lines += [
            *fence_code(found.program, "python"),
            "",
            "Run as",
            "",
            *fence_code(f"{where}python {shlex.quote(file)}"),
        ]
        lines += ["", "it said", "", *fence_code(found.seen), ""]
    else:
        lines += [f"A program cannot show it: {found.lacks}.", ""]
    others = [id for id in report.ids(Verdict.BROKEN) if id != clause.id]
    lines += ["The conformance suite shows it again:", "", *fence_code(clause.rerun)]
    if others:
        lines += ["", f"Broken, too: {', '.join(others)}."]
    return "\n".join(lines) + "\n"


class ReproductionFiles:
    """The files of a program and of an issue, known to be writable before the run begins; no path: none was asked."""

    def __init__(self, path: str | None, target: str = "") -> None:
        """The program will stand beside the modules of this `target`, or far from them."""
        self._path, self._target = path, target
        self._open = ExitStack()
        self._program: OutFile | None = None
        self._issue: OutFile | None = None

    def __enter__(self) -> Self:
        """Raises Unwritable."""
        if self._path is not None:
            check_new(self._path)
            check_name(self._path, self._target)
            with ExitStack() as opening:
                self._program = opening.enter_context(OutFile(self._path))
                self._issue = opening.enter_context(OutFile(f"{self._path}.md"))
                self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._open.close()

    def write(self, report: Report, promises: Sequence[str], console: Console) -> None:
        """What shows a broken clause is in the files, and it is said how often it failed.

        Raises Unwritable, and KeyboardInterrupt when Ctrl-C or SIGTERM comes meanwhile.
        """
        if self._program is None or self._issue is None:
            return
        from lowq_conformance.run.reproduction import reproduce  # the storms and sweeps, which the command needs not

        path = printable(self._program.path)
        try:
            with raise_on_termination():
                found = reproduce(report, Path(self._program.path).name, promises)
        except KeyboardInterrupt:
            console.print(f"\ninterrupted: {path} was not written", markup=False, soft_wrap=True)
            raise
        if found is None:
            said = f"Nothing was seen to be broken, so that {path} was not written."
        elif found.program:
            self._program.write(found.program)
            said = f"{found.clause.id}: {path} failed {found.failed} of {found.times} times"
        else:
            said = f"{found.clause.id}: {path} was not written: {found.lacks}"
        if found is not None:
            self._issue.write(write_issue(found, report, self._program.path))
            said += f"; the text of an issue is in {path}.md"
        console.print(f"\n{said}", markup=False, soft_wrap=True)


def fence_code(text: str, language: str = "") -> list[str]:
    """The text as a block of code."""
    fence = "````" if "```" in text else "```"
    return [f"{fence}{language}", *text.rstrip("\n").splitlines(), fence]


def check_new(path: str) -> None:
    """Neither the program nor the issue would take the place of anything. Raises Unwritable."""
    for each in (path, f"{path}.md"):
        if os.path.lexists(each):
            raise Unwritable(
                f"{printable(each)} is there already, and --repro overwrites nothing: remove it, or name another file"
            )


def check_name(path: str, target: str) -> None:
    """A program of that name would not be found in place of a module that it needs itself. Raises Unwritable."""
    name, ending = os.path.splitext(os.path.basename(path))
    where = target.rpartition(":")[0] or target
    own = Path(where).stem if where.endswith(".py") else where.partition(".")[0]
    if ending == ".py" and (name in sys.stdlib_module_names or name == own or is_module(name)):
        raise Unwritable(
            f"{printable(path)} cannot be the program: it would hide the module {name} from itself; name it otherwise"
        )


def is_module(name: str) -> bool:
    """Whether something can be imported by that name."""
    try:
        found = find_spec(name) if name.isidentifier() else None
    except (ImportError, ValueError):
        return True
    return found is not None and found.origin is not None  # a mere folder has none
