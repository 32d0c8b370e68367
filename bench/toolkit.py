"""The toolkit beside other queues' test modes: `python -m bench.toolkit`, `--help` for the choices.

Everything is measured in one run, the subjects in turn, so that a machine that slows down slows all of them. Figures
are medians over the rounds; a ratio is the median over the rounds of the subject's time by raw SQLite's, so 2 means
that it takes twice as long as the statements alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from statistics import median
from typing import Any

from bench.clockwork import Figures, folder, interleaved, seconds
from bench.report import Report
from bench.testmodes import COPIED, MODES, RAW, TestMode
from bench.works import works

WITH, WITHOUT = "pytest", "pytest -p no:lowq"


def main() -> int:
    choices = _arguments()
    present = [mode for mode in MODES if not mode.missing()]
    subjects = {mode.name: {"title": mode.title(), "says": mode.says} for mode in present}
    missing = {mode.name: mode.missing() for mode in MODES if mode not in present}
    report = Report(as_json=choices.json, subjects=subjects, missing=missing)
    for mode in present:
        report.say(f"{mode.title():50} {mode.says}")
    for name, packages in missing.items():
        report.say(f"{name:50} not measured: {' and '.join(packages)} not installed")
    quick: bool = choices.quick
    measures: dict[str, Callable[[Path], Figures]] = {
        "inline": partial(inline, present, 5 if quick else 15, 20 if quick else 200),
        "fixture": partial(fixture, present, 10 if quick else 100),
        "start": partial(start, 5 if quick else 50),
    }
    with tempfile.TemporaryDirectory(prefix="lowq-bench-", dir=choices.folder) as place:
        for name, measure in measures.items():
            if not choices.only or name in choices.only:
                figures = measure(Path(place))
                base = WITHOUT if name == "start" else RAW
                ratios = {subject: _ratio(figures, subject, base) for subject in figures.samples}
                report.add(name, figures, _table(figures, base), ratio=ratios)
    report.end()
    return 0


def inline(modes: list[TestMode], rounds: int, amount: int, place: Path) -> Figures:
    """One task pushed, run and settled before the test goes on."""
    figures = Figures("inline: push a task, run it, settle it", "µs a task")
    with ExitStack() as stack:
        runs = {
            mode.name: stack.enter_context(mode.enter(stack.enter_context(folder(place))))
            for mode in modes
            if mode.name != COPIED
        }
        for run in runs.values():
            _each(run, works(3))
        for name in interleaved(list(runs), rounds):
            figures.add(name, seconds(partial(_each, runs[name], works(amount))) / amount * 1e6)
    return figures


def fixture(modes: list[TestMode], rounds: int, place: Path) -> Figures:
    """The queue of one test, made and taken down, with nothing in between."""
    figures = Figures("a fresh queue for a test, made and taken down", "ms")
    by_name = {mode.name: mode for mode in modes}
    for mode in modes:
        with folder(place) as home:
            _enter(mode, home)
    for name in interleaved(list(by_name), rounds):
        with folder(place) as home:
            figures.add(name, seconds(partial(_enter, by_name[name], home)) * 1e3)
    return figures


def start(rounds: int, place: Path) -> Figures:
    """What an installed but unused plugin adds to a start of pytest, in CPU time of the process and of the kernel.

    The plugins of others stay out of it: their starts would be most of the time, and all of its noise. The byte code
    is compiled, as it is for whoever installed the plugin. What the plugin adds is the median over pairs of starts,
    one right after the other, and, because a busy machine slows one of a pair, what the fastest starts differ by.
    """
    figures = Figures("a start of pytest that collects one test, CPU time", "ms")
    wall = Figures("the same by the clock on the wall", "ms")
    others = [f"-pno:{each.name}" for each in entry_points(group="pytest11") if each.name != "lowq"]
    with folder(place) as home:
        (home / "test_nothing.py").write_text("def test_nothing(): pass\n")
        (home / "pytest.ini").write_text("[pytest]\n")
        arguments = {WITH: others, WITHOUT: [*others, "-pno:lowq"]}
        for given in (*arguments.values(), *arguments.values()):
            _pytest(home, given)
        for name in interleaved([WITH, WITHOUT], rounds):
            cpu, took = _pytest(home, arguments[name])
            figures.add(name, cpu * 1e3)
            wall.add(name, took * 1e3)
    told = [f"{word} {_added(each)}" for word, each in (("CPU", figures), ("wall", wall))]
    figures.notes[WITH] = f"the plugin adds {', '.join(told)}"
    return figures


def _added(figures: Figures) -> str:
    pairs = zip(figures.samples[WITH], figures.samples[WITHOUT], strict=True)
    fastest = min(figures.samples[WITH]) - min(figures.samples[WITHOUT])
    return f"{median(one - other for one, other in pairs):.1f} ms (between the fastest {fastest:.1f})"


def _pytest(home: Path, arguments: list[str]) -> tuple[float, float]:
    """Seconds of a pytest that collects what is in `home`: CPU, its own and the kernel's for it, and by the wall."""
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPYCACHEPREFIX": str(home / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with (home / "output").open("w+") as output:
        begin = time.perf_counter()
        child = subprocess.Popen(command, cwd=home, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        took = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            output.seek(0)
            raise RuntimeError(f"pytest failed:\n{output.read()}")
    return usage.ru_utime + usage.ru_stime, took


def _each(run: Callable[[Any], object], new: list[Any]) -> None:
    for work in new:
        run(work)


def _enter(mode: TestMode, home: Path) -> None:
    with mode.enter(home):
        pass


def _ratio(figures: Figures, subject: str, base: str) -> float:
    return median(s / b for s, b in zip(figures.samples[subject], figures.samples[base], strict=True))


def _table(figures: Figures, base: str) -> str:
    lines = ["", f"{figures.title} ({figures.unit})"]
    for subject, values in figures.samples.items():
        ratio = f"{_ratio(figures, subject, base):7.2f} times {base}"
        spread = f"{min(values):9.2f} to {max(values):.2f}"
        note = figures.notes.get(subject, "")
        lines.append(f"  {subject:32}{figures.median(subject):10.2f}  {ratio:26} {spread:22} {note}".rstrip())
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.toolkit", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rounds: under a minute")
    parser.add_argument("--json", action="store_true", help="the figures as JSON; the tables go to standard error")
    parser.add_argument("--folder", help="where the queues are kept: another disk than the temporary folder's")
    parser.add_argument("--only", action="append", choices=("inline", "fixture", "start"), help="repeatable")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
