"""Resolves a TARGET of the command line to something that makes a harness."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.queues.lowq import BUNDLED, BackendHarness, FactoryHarness, of_url
from lowq_conformance.queues.peers import PEERS, harness_of
from lowq_conformance.support.text import describe_error

FORMS = "expected module:Name, path/to/file.py:Name, a backend URL, or one of " + ", ".join((*BUNDLED, *PEERS))


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes a harness each time it is called; `checked` where its author wrote it, so that typos are looked for."""

    make: Callable[[], Any]
    checked: bool = True

    def __call__(self) -> Any:
        return self.make()


def maker_of(target: str) -> Maker:
    """What makes the harness that `target` names. Raises BrokenHarness."""
    if target in BUNDLED:
        return Maker(BUNDLED[target], checked=False)
    if target in PEERS:
        return Maker(harness_of(target))
    if "://" in target:
        return Maker(of_url(target), checked=False)
    where, colon, name = target.rpartition(":")
    if not colon and target.endswith(".py"):
        where, name = target, "Harness"
    if not where or not name:
        raise BrokenHarness(f"{target!r} is nothing that can be checked: {FORMS}")
    try:
        module = _file(where) if where.endswith(".py") else _module(where)
    except BrokenHarness:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise BrokenHarness(f"{target}: importing it {describe_error(error)}") from error
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise BrokenHarness(f"{target}: {where} has no {name}")
        found = getattr(found, part)
    return _maker(found, target)


def _maker(found: Any, target: str) -> Maker:
    """A harness class, a class of backends, or any other callable that takes a place."""
    if not callable(found):
        kind = type(found).__name__
        raise BrokenHarness(f"{target}: expected a harness class or a callable that takes a place, got {kind}")
    if hasattr(found, "open") and isinstance(found, type):
        return Maker(found)
    if isinstance(found, type) and hasattr(found, "promises"):
        if not hasattr(found, "push"):
            raise BrokenHarness(f"{target}: a harness has a method open(self, place), and this one has not")
        return Maker(lambda: BackendHarness(found), checked=False)
    return Maker(lambda: FactoryHarness(found), checked=False)


def _module(name: str) -> ModuleType:
    with _findable(os.getcwd()):
        return import_module(name)


def _file(path: str) -> ModuleType:
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise BrokenHarness(f"{path}: there is no such file")
    name = f"{file.stem}_{blake2b(str(file).encode(), digest_size=6).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise BrokenHarness(f"{path}: this is no Python module")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _findable(str(file.parent)):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _findable(folder: str) -> Iterator[None]:
    """Modules of the folder come first while the target is imported, and last afterwards, so as to hide nothing."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)


def make_harness(make: Maker, target: str) -> Any:
    """The harness that the target makes. Raises BrokenHarness where making it fails."""
    try:
        return make()
    except BrokenHarness:
        raise
    except Exception as error:
        raise BrokenHarness(f"{target}: making the harness {describe_error(error)}") from error
