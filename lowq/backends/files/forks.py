"""What becomes of open directories when their process forks: nobody is in a call then, and the child opens anew."""

from __future__ import annotations

import os
import threading
import weakref

from lowq.backends.files.folder import Folder

_folders: weakref.WeakSet[Folder] = weakref.WeakSet()
_registry = threading.RLock()  # again for a handler that forks, in the middle of a registration
_forking: list[Folder] = []


def register(folder: Folder) -> None:
    """The folder's lock and files are looked after when this process forks."""
    with _registry:
        _folders.add(folder)


def _before_fork() -> None:
    _registry.acquire()
    for folder in list(_folders):
        folder.mutex.before_fork()
        _forking.append(folder)


def _after_fork_in_parent() -> None:
    for folder in _forking:
        folder.mutex.after_fork_in_parent()
    _forking.clear()
    _registry.release()


def _after_fork_in_child() -> None:
    global _registry
    for folder in _forking:
        folder.mutex.after_fork_in_child()
        folder.close()
    _forking.clear()
    _registry = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
