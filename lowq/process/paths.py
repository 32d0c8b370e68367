"""What a path leads to, as the system says it; an error that a signal's handler raised meanwhile is raised."""

from __future__ import annotations

import os
from stat import S_ISDIR, S_ISREG

from lowq import kernel
from lowq.process.handlers import let_through


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether something is there that the path leads to."""
    return _mode(path) is not None


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether a regular file is there."""
    mode = _mode(path)
    return mode is not None and S_ISREG(mode)


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a directory is there."""
    mode = _mode(path)
    return mode is not None and S_ISDIR(mode)


def _mode(path: str | os.PathLike[str]) -> int | None:
    try:
        return kernel.stat(path).st_mode
    except (OSError, ValueError) as error:
        let_through(error)
        return None
