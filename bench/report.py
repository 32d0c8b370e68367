"""What a bench tells: the machine, tables for a person, and the same figures with every sample as JSON."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import sys
from typing import Any

from bench.clockwork import Figures


def machine() -> str:
    """What the figures were taken on."""
    return (
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} cores"
    )


class Report:
    """The figures of one run, told as they come; with `as_json` the tables go to standard error, and `end` tells all.

    `said` is what else the JSON has.
    """

    def __init__(self, *, as_json: bool, **said: Any) -> None:
        self._as_json = as_json
        self._told: dict[str, Any] = {"machine": machine(), **said, "figures": []}
        self.say(f"{machine()}\n")

    def say(self, text: str) -> None:
        """A person reads this."""
        print(text, file=sys.stderr if self._as_json else sys.stdout, flush=True)

    def add(self, measure: str, figures: Figures, table: str, **of_all: dict[str, Any]) -> None:
        """The figures of a measure, and more that was found `of_all` its subjects."""
        self._told["figures"].append(
            {
                "measure": measure,
                "title": figures.title,
                "unit": figures.unit,
                "subjects": {
                    subject: {
                        "median": figures.median(subject),
                        **{name: found[subject] for name, found in of_all.items()},
                        "samples": values,
                        "note": figures.notes.get(subject),
                    }
                    for subject, values in figures.samples.items()
                },
            }
        )
        self.say(table)

    def end(self) -> None:
        """Where JSON was asked for, it is on standard output."""
        if self._as_json:
            print(json.dumps(self._told, indent=2))
