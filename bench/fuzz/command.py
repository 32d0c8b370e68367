"""The fuzzer of the command: any command line ends with one of its exit codes, a message, and no traceback."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
from hypothesis import strategies as st

from bench.fuzz.judge import RawError
from lowq import open_backend
from lowq.cli import commands, main

CODES = (0, 1, 2, 3, 130, 141)
WORDS = [
    *(
        "",
        " ",
        "-",
        "--",
        "---",
        "-1",
        "0",
        "1",
        "2",
        "-0",
        "1e999",
        "nan",
        "inf",
        "null",
        "true",
        "{}",
        "[]",
        '{"a":1}',
    ),
    *(
        "10" * 15,
        "9" * 5000,
        "-" + "9" * 5000,
        "1.5",
        "0x10",
        "1_0",
        "\u0661",
        "x",
        "é",
        "日本",
        "a" * 10_000,
        "\udcff",
        "a\udc80b",
    ),
    *(
        "\x1b[31m",
        "\u202e",
        "\x85",
        "\x07",
        "a\nb",
        "\r",
        "'",
        '"',
        "a=b",
        "=",
        "=x",
        "a=",
        "a=\udcff",
        "a=\u202e",
        "%00",
    ),
    *(
        "[" * 1000,
        "[" * 100_000,
        '"\\ud800"',
        "1e400",
        "NaN",
        "[1,]",
        '{"a":1,"a":2}',
        "\ufeff1",
        "[" * 250 + "]" * 250,
    ),
    *(
        "0s",
        "1s",
        "1h30m",
        "500ms",
        "4000000d",
        "1000000d",
        "9" * 400 + "d",
        "1d1d",
        "-1s",
        "1.5.5s",
        "9" * 30 + "w",
        "0.0000001ms",
    ),
    *(
        "2030-01-01T12:00:00Z",
        "2030-01-01",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "1970-01-01T00:00Z",
    ),
    *(
        "2030-01-01T12:00:00",
        "12:00",
        "2030-13-01T00:00Z",
        "1969-12-31T23:59:59Z",
        "default",
        "ready",
        "dead",
        "leased",
    ),
    *(
        "1:x",
        ":",
        "1:",
        ":x",
        "%ff:%ff",
        "1:%00",
        "\udcff:x",
        "9" * 5000 + ":x",
        "1:" + "x" * 5000,
        "99999999999999999999:x",
    ),
]
PLACES = [
    *(
        "",
        ".",
        "/",
        "~",
        "~nobody/x",
        "/dev/null",
        "/dev/full",
        "/proc/self/mem",
        "/etc/passwd",
        "nowhere/q.db",
        "a" * 300,
    ),
    *(
        "\udcff.db",
        "é.db",
        "\x1b[31m.db",
        "memory://x",
        "env://X",
        "x://y",
        "sqlite://",
        "sqlite:///%00",
        "files:///",
        "files://x",
    ),
    *("http://127.0.0.1:1?patience=0", "http://[", "https://\udcff", "http://u:p@h/", "q.db?patience=-1", "?", "://"),
]
QUERIES = [
    "?patience=-1",
    "?patience=nan",
    "?create=false",
    "?create=maybe",
    "?durability=x",
    "?x",
    "?patience=1e999",
    "?nonsense=1",
]
INPUTS = [
    *(
        b"",
        b"1\n2\n",
        b"\xff\n",
        b"[" * 100_000,
        b'"\\ud800"\n',
        b"9" * 5000 + b"\n",
        b"{}\n[]\nx\n",
        b"\0\n",
        b"\n\n\n",
    ),
    *("\ufeff1\n".encode(), "1\n".encode("utf-16"), b"\r\n1\r\n", b"NaN\n", b"1\n\n1\n", b"y\n", b"n\n"),
]
ENCODINGS = ["utf-8", "ascii", "latin-1", "utf-16", "cp1252"]

NOT_TRIED = ("check",)
"""It has the suite's own command line."""

SHORT = {"serve": 0.3, "work": 2.0, "claim": 2.0}
"""Seconds after which a command that may last is interrupted, as by Ctrl-C."""
LONG = 30.0


def _word(param: click.Parameter, words: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    if isinstance(param.type, click.Choice):
        return st.one_of(st.sampled_from(list(map(str, param.type.choices))), words)
    return words


@st.composite
def command_lines(draw: st.DrawFn, folder: Path) -> tuple[list[str], dict[str, Any]]:
    """The words of a command line, and what standard input and output are."""
    place = str(folder / "q.db")
    words = st.one_of(
        st.sampled_from(WORDS), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
    )
    places = st.one_of(
        st.just(place),
        st.just(f"files://{folder}/q"),
        st.sampled_from([f"sqlite://{place}{each}" for each in QUERIES]),
        st.sampled_from(PLACES),
    )
    name = draw(st.sampled_from(sorted(set(commands.commands) - set(NOT_TRIED))))
    line = [name]
    for param in commands.commands[name].params:
        if isinstance(param, click.Argument):
            if param.name in ("location", "targets"):
                line.append(draw(places))
            elif draw(st.integers(0, 9)):
                line += draw(st.lists(_word(param, words), min_size=1, max_size=2 if param.nargs == -1 else 1))
        elif isinstance(param, click.Option) and draw(st.integers(0, 3)) == 0:
            line.append(draw(st.sampled_from(param.opts)))
            if not param.is_flag:
                line.append(draw(places if param.name == "log" else _word(param, words)))
    if name == "work":
        line += draw(
            st.sampled_from(
                [["--drain"], ["--drain", "--", "true"], ["--drain", "--", "\udcff"], ["os.path:basename"], ["x:y"]]
            )
        )
    if draw(st.integers(0, 9)) == 0:
        line.insert(draw(st.integers(0, len(line))), draw(words))
    about = {
        "input": draw(st.one_of(st.none(), st.just("closed"), st.sampled_from(INPUTS))),
        "encoding": draw(st.sampled_from(ENCODINGS)),
    }
    return line, about


class Runner:
    """Runs command lines in this process, on queues in a folder that has some tasks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        os.environ["XDG_STATE_HOME"] = str(folder / "state")
        os.chdir(folder)
        (folder / "taken").write_text("x")

    def check(self, line: list[str], about: dict[str, Any]) -> bool:
        """Whether the command was refused, exit code 2 or 3. Raises RawError where it ended otherwise than it may."""
        told = (
            f"lowq {' '.join(ascii(word)[:100] for word in line)} with {about['input']!a:.60} in {about['encoding']}"
        )
        before = self._kept()
        try:
            with self._streams(about) as (out, err), _interrupted(SHORT.get(line[0], LONG), told, line[0] in SHORT):
                code = main(line)
        except BaseException as error:
            raise RawError(
                f"{line[0]}: {type(error).__name__} came out of the command: {error!s:.200}\n{told}"
            ) from error
        said, complained = out().decode(about["encoding"], "replace"), err().decode(about["encoding"], "replace")
        if code not in CODES:
            raise RawError(f"{line[0]}: exit code {code}\n{told}")
        complained = complained if "gc_callback" not in complained else ""  # Hypothesis's own, interrupted
        if "Traceback" in complained or "Traceback" in said:
            raise RawError(f"{line[0]}: a traceback\n{told}\n{complained}")
        if code in (2, 3) and not complained.strip():
            raise RawError(f"{line[0]}: exit code {code} without a word\n{told}")
        for char in said + complained:
            if not char.isprintable() and char not in "\n\ufeff\ufffd":
                raise RawError(
                    f"{line[0]}: the character {char!a} reached the terminal\n{told}\n{(said + complained)[-300:]!a}"
                )
        if code == 2 and "-" not in line and self._kept() != before:
            raise RawError(f"{line[0]}: it was refused, and yet something was written\n{told}")
        return code in (2, 3)

    def _kept(self) -> Any:
        found = []
        for place in (self._folder / "q.db", f"files://{self._folder}/q"):
            queue = open_backend(str(place))
            try:
                if len(queue.tasks()) > 20:
                    for each in queue.tasks():
                        queue.cancel(each.id)
                if not queue.tasks():
                    queue.push({"\u202e": "\x85"}, key="\x1b[31m")
                # Not their states: a lease of an earlier command may have run out meanwhile.
                found.append(sorted((task.id, task.attempts, task.reason or "") for task in queue.tasks()))
            finally:
                queue.close()
        return found

    @contextmanager
    def _streams(self, about: dict[str, Any]) -> Iterator[Any]:
        before = sys.stdin, sys.stdout, sys.stderr
        out, err = io.BytesIO(), io.BytesIO()
        if about["input"] == "closed":
            sys.stdin = None  # as Python has it after <&-
        else:
            sys.stdin = io.TextIOWrapper(io.BytesIO(about["input"] or b""), encoding=about["encoding"])
        sys.stdout, sys.stderr = (io.TextIOWrapper(each, encoding=about["encoding"]) for each in (out, err))
        streams = sys.stdout, sys.stderr
        try:
            yield out.getvalue, err.getvalue
        finally:
            for each in streams:
                with suppress(ValueError):
                    each.flush()
            sys.stdin, sys.stdout, sys.stderr = before
            for each in streams:
                each.detach()


@contextmanager
def _interrupted(seconds: float, told: str, may_last: bool) -> Iterator[None]:
    """A command that lasts is interrupted as by Ctrl-C; for one that may not that is an error."""

    def late(*_: object) -> None:
        if not may_last:
            raise RawError(f"no end after {seconds} s\n{told}")
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.2)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
