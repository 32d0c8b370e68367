"""The calls of a test as a program that a person could type, with their answers."""

from __future__ import annotations

import faulthandler
import os
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any
from unicodedata import combining, is_normalized

from lowq import Item, Task
from lowq_conformance.support.text import excerpt

LONGEST_VALUE = 70
LONGEST_PROGRAM = 30
SILENT = 8.0
"""Seconds after which a call that has not returned is told, and where it stands: so that it is known within ten."""


@dataclass(slots=True)
class ProgramCall:
    """One line of a program: the call, what it answered, and what was expected instead."""

    text: str
    answer: str | None = None
    expected: str | None = None

    def remark(self) -> str:
        """The comment behind the call, or nothing."""
        if self.answer is None:
            return "did not return"
        return ", ".join(part for part in (self.answer, self.expected and f"expected {self.expected}") if part)


class Journal:
    """The calls of one run, in order; `path` keeps them also in a file, for when the process does not survive.

    Calls may be made by several threads; the last call is that of the thread that asks. Where there is an `alarm`,
    the number of an open file, the stacks of a call that does not return for `SILENT` seconds are written there.
    """

    def __init__(self, path: str | None = None, alarm: int | None = None) -> None:
        self.calls: list[ProgramCall] = []
        self._last: dict[int, ProgramCall] = {}
        self._path, self._alarm, self._pid = path, alarm, os.getpid()
        self._fd = -1 if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def begin(self, text: str) -> ProgramCall:
        """A call is about to be made."""
        call = ProgramCall(text)
        self.calls.append(call)
        self._last[threading.get_ident()] = call
        if self._alarm is not None and os.getpid() == self._pid:
            faulthandler.dump_traceback_later(SILENT, file=self._alarm)
        if self._fd >= 0:
            os.write(self._fd, f"\n{text}".encode(errors="backslashreplace"))
        return call

    def end(self, call: ProgramCall, answer: str) -> None:
        """The call returned or raised; an empty answer is not worth a remark."""
        call.answer = answer
        if self._alarm is not None and os.getpid() == self._pid:  # in a child nobody would hear of its end
            faulthandler.cancel_dump_traceback_later()
        if self._fd >= 0:
            os.write(self._fd, f"\t{answer}".encode(errors="backslashreplace"))

    def assign(self, label: str) -> None:
        """What the last call returned has this name from now on."""
        call = self._last[threading.get_ident()]
        call.text = f"{label} = {call.text}"

    def expect(self, what: str) -> None:
        """The answer of the last call is wrong; this was expected."""
        call = self._last.get(threading.get_ident())
        if call is not None:
            call.expected = what

    def note(self, what: str) -> None:
        """This stands between the calls of the program."""
        self.calls.append(ProgramCall(f"# {what}", ""))

    def program(self) -> str:
        """The calls, each with its answer as a comment; a long run is shown by its beginning and its end."""
        return format_program(self.calls)

    def fresh(self) -> Journal:
        """An empty journal that keeps its calls where this one does."""
        self.close()
        return Journal(self._path, self._alarm)

    def close(self) -> None:
        """The file is let go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def read(path: str) -> str:
    """The program that a journal's file tells of; its last call may not have returned."""
    with open(path, encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file if line.strip()]
    parted = [line.partition("\t") for line in lines]
    return format_program([ProgramCall(text, answer if tab else None) for text, tab, answer in parted])


def read_open_call(path: str) -> str:
    """The call of a journal's file that was the last to be made and has not returned, or nothing."""
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
        last = file.read().decode(errors="replace").rpartition("\n")[2]
    return "" if "\t" in last else last


def format_program(calls: list[ProgramCall]) -> str:
    """The program of these calls; one that was made again and again is told once."""
    calls = _drop_repeats(calls)
    shown: list[ProgramCall | str] = list(calls)
    if len(calls) > LONGEST_PROGRAM:
        half = LONGEST_PROGRAM // 2
        shown = [*calls[:half], f"# … {len(calls) - 2 * half:,} more calls …", *calls[-half:]]
    width = min(60, max((len(line.text) for line in shown if isinstance(line, ProgramCall)), default=0))
    lines = []
    for line in shown:
        remark = "" if isinstance(line, str) else line.remark()
        if isinstance(line, str):
            lines.append(line)
        elif remark:
            lines.append(f"{line.text:<{width}}  # {remark}")
        else:
            lines.append(line.text)
    return "\n".join(lines)


def _drop_repeats(calls: list[ProgramCall]) -> list[ProgramCall]:
    """The calls without the repetitions of one that got the same answer before."""
    told = []
    for (text, answer, expected), same in groupby(calls, lambda call: (call.text, call.answer, call.expected)):
        times = len(list(same))
        if times > 1 and answer is not None:
            answer = f"{answer}, {times:,} times" if answer else f"{times:,} times"
        told.append(ProgramCall(text, answer, expected))
    return told


def format_value(value: Any, now: datetime | None = None) -> str:
    """How a person would type a value; what is long is cut."""
    if isinstance(value, timedelta):
        if value < timedelta(0):
            return f"-{format_value(-value)}"
        return repr(value).removeprefix("datetime.")
    if isinstance(value, datetime):
        return _instant(value, now)
    if isinstance(value, Item):
        return _item(value, now)
    if isinstance(value, Task):
        return f"<task {value.id}>"
    if isinstance(value, list) and any(isinstance(part, Item) for part in value):
        return _cut(f"[{', '.join(format_value(part, now) for part in value[:50])}{', …' * (len(value) > 50)}]")
    try:
        return _cut(_escape(repr(value)))
    except Exception as error:
        return f"<{type(value).__name__} whose repr raised {type(error).__name__}>"


def format_call(name: str, positional: list[Any], keywords: dict[str, Any], now: datetime | None = None) -> str:
    """A call as it is typed."""
    parts = [format_value(value, now) for value in positional]
    parts += [f"{key}={format_value(value, now)}" for key, value in keywords.items()]
    return f"{name}({', '.join(parts)})".replace("\n", " ")


def _instant(value: datetime, now: datetime | None) -> str:
    if now is None or value.tzinfo is None or abs(value - now) > timedelta(days=400):
        return repr(value).replace("datetime.", "")
    said = "now" if value == now else f"now {'+' if value > now else '-'} {format_value(abs(value - now))}"
    offset = value.utcoffset()
    if not offset:
        return said
    return f"({said}).astimezone(timezone({format_value(offset)}))"


def _item(item: Item, now: datetime | None) -> str:
    defaults = Item(None)
    keywords = {
        name: getattr(item, name)
        for name in ("key", "priority", "not_before", "headers")
        if getattr(item, name) != getattr(defaults, name)
    }
    return format_call("Item", [item.work], keywords, now)


def _escape(text: str) -> str:
    """The text with those characters escaped that look like others: a decomposed é, the sign for ohm."""
    if is_normalized("NFC", text):
        return text
    return "".join(
        character if is_normalized("NFC", character) and not combining(character) else ascii(character)[1:-1]
        for character in text
    )


def _cut(text: str) -> str:
    return excerpt(text, LONGEST_VALUE)
