"""lowq beside other queues in SQLite and beside SQLite itself: `python -m bench.queues`, `--help` for the choices.

Everything is measured in one run, the subjects in turn, so that a machine that slows down slows all of them. Figures
are medians over the rounds; a speed is the median over the rounds of raw SQLite's time by the subject's, so 0.9 means
that the subject does 90 % as many a second as the same statements by hand; likewise of raw SQLite that does all that
lowq does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import imports, measures, workers
from bench.clockwork import Figures
from bench.peers import PEERS
from bench.report import Report

RAW = "raw SQLite"
TWIN = "raw, as lowq"


def main() -> int:
    choices = _arguments()
    full = choices.durability == "power"
    with tempfile.TemporaryDirectory(prefix="lowq-bench-", dir=choices.folder) as folder:
        place = Path(folder)
        peers = {
            peer.name: {"settings": peer.settings(Path(tempfile.mkdtemp(dir=place)), full), "says": peer.says}
            for peer in PEERS
        }
        report = Report(as_json=choices.json, durability=choices.durability, peers=peers)
        for name, peer in peers.items():
            report.say(f"{name:20} {peer['settings']:40} {peer['says']}")
        for name, measure in _measures(place, full, choices.quick).items():
            if choices.only and name not in choices.only:
                continue
            for figures in measure():
                report.add(
                    name, figures, _table(figures), speed=_speeds(figures, RAW), speed_as_lowq=_speeds(figures, TWIN)
                )
    report.end()
    return 0


def _measures(place: Path, full: bool, quick: bool) -> dict[str, Callable[[], list[Figures]]]:
    rounds = 5 if quick else 15
    many = [1_000, 10_000] if quick else [1_000, 10_000, 100_000, 1_000_000]
    few = [1_000] if quick else [1_000, 100_000]
    sizes = {peer.name: many if peer.name in (RAW, "lowq") else few for peer in PEERS}
    return {
        "push": lambda: [measures.push(place, full, rounds, 50 if quick else 200)],
        "above": lambda: [measures.above_statement(place, rounds, 100 if quick else 200)],
        "batch": lambda: [measures.push_many(place, full, rounds, 1_000)],
        "claim": lambda: [
            measures.claim_and_ack(place, full, rounds, 50 if quick else 200),
            measures.ack_with_next_claim(place, full, rounds, 50 if quick else 200),
        ],
        "two": lambda: [measures.two_processes(place, full, max(3, rounds // 3), 100 if quick else 400)],
        "backlog": lambda: measures.backlog(place, full, rounds, 20 if quick else 50, sizes),
        "worker": lambda: [workers.no_ops(place, full, rounds, 50 if quick else 300)],
        "latency": lambda: [workers.latency(place, full, 30 if quick else 300)],
        "inline": lambda: [workers.inline(place, full, rounds, 20 if quick else 100)],
        "fixture": lambda: [measures.fixture(place, full, rounds)],
        "import": lambda: imports.imports(place, rounds),
    }


def _table(figures: Figures) -> str:
    lines = ["", f"{figures.title} ({figures.unit})"]
    bare, twin = _speeds(figures, RAW), _speeds(figures, TWIN)
    for subject, values in figures.samples.items():
        spread = f"{min(values):9.1f} to {max(values):.1f}"
        speed = f"{bare[subject]:6.2f} of raw" if bare[subject] else ""
        speed += f", {twin[subject]:.2f} of raw as lowq" if twin[subject] else ""
        note = figures.notes.get(subject, "")
        lines.append(f"  {subject:24}{figures.median(subject):10.1f}  {speed:35} {spread:24} {note}".rstrip())
    return "\n".join(lines)


def _speeds(figures: Figures, base: str) -> dict[str, float | None]:
    """How fast each subject is beside that one, where that one was measured."""
    return {each: figures.speed(each, base) if base in figures.samples else None for each in figures.samples}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.queues", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, small queues: under a minute")
    parser.add_argument("--json", action="store_true", help="the figures as JSON; the tables go to standard error")
    parser.add_argument("--durability", choices=("power", "process"), default="power", help="FULL or NORMAL")
    parser.add_argument("--folder", help="where the queues are kept: another disk than the temporary folder's")
    parser.add_argument("--only", action="append", metavar="MEASURE", help="push, above, batch, claim, …; repeatable")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
