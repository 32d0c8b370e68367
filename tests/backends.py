"""The backends that the tests of the contract run on, and where each keeps a queue in a test's folder."""

from __future__ import annotations

from pathlib import Path

BACKENDS = ("memory", "sqlite", "files")


def location(backend: str, folder: Path) -> str:
    """Where a queue of that backend is kept in this folder."""
    return {"memory": f"memory://{folder}", "sqlite": str(folder / "q.db"), "files": f"files://{folder / 'q'}"}[
        backend
    ]
