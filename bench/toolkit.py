"""The toolkit beside other queues' test modes: `python -m bench.toolkit`, `--help` for the choices.

Everything is measured in one run, the subjects in turn, so that a machine that slows down slows all of them. Figures
are medians over the rounds; a ratio is the median over the rounds of the subject's time by raw SQLite's, so 2 means
that it takes twice as long as the statements alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from statistics import median
from typing import Any

from bench.clockwork import Figures, folder, interleaved, seconds
from bench.testmodes import COPIED, MODES, RAW, TestMode
from bench.works import works

WITH, WITHOUT = "pytest", "pytest -p no:lowq"


def main() -> int:
    choices = _arguments()
    present = [mode for mode in MODES if not mode.missing()]
    report: dict[str, Any] = {"machine": _machine(), "subjects": {}, "missing": {}, "figures": []}
    _say(choices, f"{report['machine']}\n")
    for mode in present:
        report["subjects"][mode.name] = {"title": mode.title(), "says": mode.says}
        _say(choices, f"{mode.title():50} {mode.says}")
    for mode in MODES:
        if missing := mode.missing():
            report["missing"][mode.name] = missing
            _say(choices, f"{mode.name:50} not measured: {' and '.join(missing)} not installed")
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
                report["figures"].append(_as_json(name, figures, base))
                _say(choices, _table(figures, base))
    if choices.json:
        print(json.dumps(report, indent=2))
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
    """What an installed but unused plugin adds to a start of pytest, in the process's own time.

    The plugins of others stay out of it: their starts would be most of the time, and all of its noise.
    """
    figures = Figures("a start of pytest that collects one test, user CPU time", "ms")
    others = [f"-pno:{each.name}" for each in entry_points(group="pytest11") if each.name != "lowq"]
    with folder(place) as home:
        (home / "test_nothing.py").write_text("def test_nothing(): pass\n")
        (home / "pytest.ini").write_text("[pytest]\n")
        arguments = {WITH: others, WITHOUT: [*others, "-pno:lowq"]}
        for given in arguments.values():
            _pytest(home, given)
        for name in interleaved([WITH, WITHOUT], rounds):
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            _pytest(home, arguments[name])
            figures.add(name, (resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before) * 1e3)
    added = [one - other for one, other in zip(figures.samples[WITH], figures.samples[WITHOUT], strict=True)]
    figures.notes[WITH] = f"the plugin adds {median(added):.1f} ms"
    return figures


def _pytest(home: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPYCACHEPREFIX": str(home / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"pytest failed:\n{done.stdout}{done.stderr}")


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


def _as_json(measure: str, figures: Figures, base: str) -> dict[str, Any]:
    return {
        "measure": measure,
        "title": figures.title,
        "unit": figures.unit,
        "subjects": {
            subject: {
                "median": figures.median(subject),
                "ratio": _ratio(figures, subject, base),
                "samples": values,
                "note": figures.notes.get(subject),
            }
            for subject, values in figures.samples.items()
        },
    }


def _machine() -> str:
    return (
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} cores"
    )


def _say(choices: argparse.Namespace, text: str) -> None:
    print(text, file=sys.stderr if choices.json else sys.stdout, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.toolkit", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rounds: under a minute")
    parser.add_argument("--json", action="store_true", help="the figures as JSON; the tables go to standard error")
    parser.add_argument("--folder", help="where the queues are kept: another disk than the temporary folder's")
    parser.add_argument("--only", action="append", choices=("inline", "fixture", "start"), help="repeatable")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
