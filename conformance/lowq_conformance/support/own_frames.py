"""Where in the suite's own code an error was raised, if it was raised there."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from traceback import extract_tb

SUITE = Path(__file__).parents[1]
QUEUES = SUITE / "queues"
PYTHON = tuple(Path(sysconfig.get_paths()[each]) for each in ("stdlib", "platstdlib"))
PACKAGES = tuple(Path(sysconfig.get_paths()[each]) for each in ("purelib", "platlib"))


def where_of(error: BaseException) -> str | None:
    """The file and line of the suite's in which it failed, or None where a stranger's code was called from there."""
    own = None
    for frame in extract_tb(error.__traceback__):
        file = Path(frame.filename)
        if file.is_relative_to(SUITE) and not file.is_relative_to(QUEUES):
            own = f"in {file.relative_to(SUITE)}:{frame.lineno}"
        elif own is not None and not is_of_python(file):
            own = None
    return own


def is_of_python(file: Path) -> bool:
    """Whether it is a file of Python's own library, or of none."""
    return not file.is_absolute() or (
        any(file.is_relative_to(folder) for folder in PYTHON)
        and not any(file.is_relative_to(folder) for folder in PACKAGES)
    )
