"""The code that a handler was loaded from: a worker that runs on after a deploy says that it runs the old one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any


class Source:
    """The file of a handler's module, as it was when this was made."""

    def __init__(self, handler: Callable[..., Any]) -> None:
        owner = getattr(handler, "__self__", None)
        made_of = getattr(owner, "_handler", None)  # a TaskQueue knows what it stands for
        module = getattr(made_of() if callable(made_of) else handler, "__module__", None)
        self.path: str | None = getattr(sys.modules.get(module or ""), "__file__", None)
        self._before = self._look()

    def changed(self) -> bool:
        """Whether the file was changed or replaced since; one that is gone, or never was, is not."""
        now = self._look()
        return now is not None and self._before is not None and now != self._before

    def _look(self) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self.path or "")
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size
