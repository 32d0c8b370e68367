"""Where a report goes beside the terminal: files, each known to be writable before the run begins."""

from __future__ import annotations

import json as jsons
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO

import click

from lowq_conformance.report.badge import draw_badge
from lowq_conformance.report.clause_set import describe_clauses, show_clauses
from lowq_conformance.report.junit import write_junit
from lowq_conformance.report.page import page
from lowq_conformance.report.report import Report, show
from lowq_conformance.report.step_summary import summarize
from lowq_conformance.run.output_file import OutFile, Unwritable

if TYPE_CHECKING:
    from rich.console import Console

    from lowq_conformance.report.history_report import HistoryReport

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""Names, in a step of GitHub's, the file whose Markdown is shown beside the step."""


class Output(Protocol):
    """Something that takes one text."""

    def write(self, text: str) -> None:
        """The text is there. Raises Unwritable."""


class Outputs:
    """The files that were asked for, by their paths; `json` may be - for standard output, or a pipe."""

    def __init__(
        self, json: str | None = None, html: str | None = None, junit: str | None = None, badge: str | None = None
    ) -> None:
        self._asked = {"json": json, "html": html, "junit": junit, "badge": badge}
        self._files: dict[str, Output] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Raises Unwritable."""
        with ExitStack() as opening:
            for name, path in self._asked.items():
                if path is not None:
                    self._files[name] = open_output(path, opening, streams=name == "json")
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._open.close()

    def write_reports(
        self, reports: Sequence[Report], console: Console, command: str, *, hide_not_promised: bool = False
    ) -> None:
        """The reports are on the terminal and in the files. Raises Unwritable."""
        told = [report.as_json() for report in reports]
        texts: dict[str, Callable[[], str]] = {"json": lambda: as_text(told[0] if len(told) == 1 else told)}
        if reports:
            now = datetime.now(UTC)
            texts["html"] = lambda: page(reports, command, now, hide_not_promised=hide_not_promised)
            texts["junit"] = lambda: write_junit(reports, now)
            texts["badge"] = lambda: draw_badge(reports)
        with self._write_around(texts):
            if reports:
                show(reports, console, hide_not_promised=hide_not_promised)
        if reports:
            add_step_summary(lambda: summarize(reports))

    def write_clauses(self, console: Console) -> None:
        """The set of clauses is in the file, or else on the terminal. Raises Unwritable."""
        with self._write_around({"json": lambda: as_text(describe_clauses())}):
            if not self._files:
                show_clauses(console)

    def write_history(self, report: HistoryReport, console: Console, command: str) -> None:
        """The report on a history is on the terminal and in the files. Raises Unwritable."""
        texts = {
            "json": lambda: as_text(report.as_json()),
            "html": lambda: report.page(command, datetime.now(UTC)),
        }
        with self._write_around(texts):
            report.show(console)

    @contextmanager
    def _write_around(self, texts: dict[str, Callable[[], str]]) -> Iterator[None]:
        """The block writes to the terminal; each file is written, whatever becomes of that and of the others.

        Raises Unwritable, and BrokenPipeError where the reader has gone.
        """
        with ExitStack() as after:
            for name, text in texts.items():
                if name in self._files:
                    after.callback(self._write, name, text)
            try:
                yield
            except BrokenPipeError:
                raise
            except OSError as error:
                raise Unwritable(f"the report cannot be written: {error.strerror}") from error

    def _write(self, name: str, text: Callable[[], str]) -> None:
        self._files[name].write(text())


class Stream:
    """Standard output (-), a pipe or a device: something that cannot take the place of an older file."""

    def __init__(self, path: str, file: TextIO) -> None:
        self._path, self._file = path, file

    def write(self, text: str) -> None:
        """The text is on its way to the reader. Raises Unwritable, and BrokenPipeError where that one has gone."""
        try:
            self._file.write(text)
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Unwritable(f"{self._path} cannot be written: {error.strerror}") from error


def open_output(path: str, opening: ExitStack, *, streams: bool) -> Output:
    """Something that writes to the path, and is closed with `opening`; what is no regular file is written to only
    where `streams` says so. Raises Unwritable."""
    if streams and path == "-":
        return Stream(path, sys.stdout)
    if streams and is_stream(path):
        try:
            return Stream(path, opening.enter_context(Path(path).open("w", encoding="utf-8")))
        except OSError as error:
            raise Unwritable(f"{path} cannot be written: {error.strerror}") from error
    return opening.enter_context(OutFile(path))


def is_stream(path: str) -> bool:
    """Whether there is a pipe, a socket or a device at the path."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


def as_text(told: Any) -> str:
    """JSON as it is printed."""
    return jsons.dumps(told, indent=2, ensure_ascii=False) + "\n"


def add_step_summary(text: Callable[[], str]) -> None:
    """The text is at the end of the file that GITHUB_STEP_SUMMARY names, where it names one.

    Nobody asked for it by name, so that a file that cannot be written is told and is no failure.
    """
    path = os.environ.get(STEP_SUMMARY)
    if not path:
        return
    try:
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text())
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        click.echo(f"lowq check: the summary cannot be added to {path} ({STEP_SUMMARY}): {why}", err=True)
