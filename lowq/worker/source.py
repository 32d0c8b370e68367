"""The code that a handler was loaded from: a worker that runs on after a deploy says that it runs the old one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from lowq import kernel
from lowq.clock import SystemClock

_PAUSE = timedelta(seconds=1)
"""How long what was seen is believed: a large program has thousands of files."""

_INSTALLED = ("site-packages", "dist-packages")

Stamp = tuple[int, int, int]


class Source:
    """The files of the program whose handler it is, as they were when it was declared and when `begin` was called.

    They are the modules in the folder of the handler's own, and below it; of an installed program, its package's.
    """

    def __init__(self, handler: Callable[..., Any]) -> None:
        module = getattr(handler, "__module__", None) or ""
        self._file: str | None = getattr(sys.modules.get(module), "__file__", None)
        self._folder = None if self._file is None else _folder_of(Path(self._file), module)
        self._seen: dict[str, Stamp | None] = {} if self._file is None else {self._file: _stamp(self._file)}
        self._believed: Callable[[], timedelta] | None = None
        self._changed: str | None = None

    def begin(self) -> None:
        """What the program has loaded by now is what a worker runs."""
        for file in self._files():
            self._seen.setdefault(file, _stamp(file))

    def find_changed(self) -> str | None:
        """A file that was changed or replaced since; one that is gone, or never was, is not."""
        if self._changed is None and (self._believed is None or self._believed() <= timedelta(0)):
            self._believed = SystemClock().countdown(_PAUSE)
            self._changed = next(filter(self._is_other, self._files()), None)
        return self._changed

    def _is_other(self, file: str) -> bool:
        now = _stamp(file)
        before = self._seen.setdefault(file, now)
        return now is not None and before is not None and now != before

    def _files(self) -> Iterator[str]:
        if self._file is not None:
            yield self._file
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if self._folder is not None and isinstance(file, str) and file.startswith(self._folder):
                yield file


def source_of(handler: Callable[..., Any]) -> Source:
    """The source of a handler; that of a TaskQueue is known since it was declared."""
    declared = getattr(getattr(handler, "__self__", None), "_source", None)
    return declared if isinstance(declared, Source) else Source(handler)


def _folder_of(file: Path, module: str) -> str | None:
    """The folder, with a slash, whose modules go with this one; None: it goes alone."""
    inside = module.count(".") + (file.name == "__init__.py")
    if len(file.parents) <= inside:
        return None
    top = file.parents[inside]
    if top.name in _INSTALLED or top == Path(os.__file__).parent:
        return f"{file.parents[inside - 1]}{os.sep}" if inside else None
    return f"{top}{os.sep}"


def _stamp(file: str) -> Stamp | None:
    try:
        status = kernel.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
