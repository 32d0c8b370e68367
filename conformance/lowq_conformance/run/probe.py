"""Says as JSON what a program against a harness must know of it; run in a process of its own, with the TARGET.

How it is imported, what its clients' methods take, and which packages it stands on. PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from keyword import iskeyword
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from lowq_conformance.contract.harness import brings
from lowq_conformance.queues.lowq import BUNDLED
from lowq_conformance.queues.peers import PEERS
from lowq_conformance.storm.execution import lease_of
from lowq_conformance.subject.loading import load
from lowq_conformance.subject.target import maker_of

HARNESSES = "lowq_conformance.queues"
"""Where the suite's own harnesses are, whose modules are looked into."""
OURS = ("lowq", "lowq-conformance", "pytest", "hypothesis")


def main() -> None:
    """The only argument is the TARGET, the others are promises that are added."""
    target, *promises = sys.argv[1:]
    before = set(sys.modules)
    subject = load(target, tuple(promises))
    came = {name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names
    maker = maker_of(target)
    made = maker()
    tops = find_packages(getattr(maker.make, "__module__", ""))
    told = {
        **how_imported(target),
        "asynchronous": subject.asynchronous,
        "only_pushes": subject.only_pushes,
        "promises": sorted(subject.promises),
        "lease": "lease_for" in (subject.shape.get("claim") or {"lease_for"}) and "lease" in subject.promises,
        "seconds": lease_of(subject).total_seconds(),
        "pass_time": brings(made, "pass_time"),
        "now": brings(made, "now"),
        "versions": versions_of(tops) or versions_of(came),
    }
    sys.stdout.write(json.dumps(told))


def how_imported(target: str) -> dict[str, Any]:
    """The line that imports the harness, the expression that opens a client through it, and where its module is.

    A harness is called `harness` then; of a callable there is none, and the callable opens the client.
    """
    general = {
        "line": "from lowq_conformance.subject.target import maker_of",
        "make": f"maker_of({target!r})()",
        "folder": "." if target not in BUNDLED and "://" not in target else None,
    }
    if target in PEERS:
        peer = PEERS[target]
        line = f"from lowq_conformance.queues.peers.{peer.module} import {peer.harness}"
        return {"line": line, "make": f"{peer.harness}()", "folder": None}
    if target in BUNDLED or "://" in target:
        return general
    where, colon, name = target.rpartition(":")
    where, name = (where, name) if colon else (target, "Harness")
    folder = "."
    module: Any = sys.modules.get(where)
    if where.endswith(".py"):
        file = Path(where).expanduser().resolve()
        module = next((each for each in [*sys.modules.values()] if getattr(each, "__file__", "") == str(file)), None)
        folder, where = str(Path(where).expanduser().parent), file.stem
        if where in sys.stdlib_module_names:  # the folder would hide it from everybody
            return general
    if not all(part.isidentifier() and not iskeyword(part) for part in where.split(".")):
        return general
    line = f"from {where} import {name.partition('.')[0]}"
    if isinstance(maker_of(target).make, type):
        return {"line": line, "make": f"{name}()", "folder": folder}
    if isinstance(getattr(module, name, None), FunctionType):
        return {"line": line, "make": "", "opens": name, "folder": folder}
    return general


def find_packages(module: str) -> set[str]:
    """The packages that stand behind what a module has, and what the modules beside it have.

    What those packages import for themselves says little, and is left out: a library may try to import a dozen.
    """
    installed, found, left = metadata.packages_distributions(), set[str](), [module]
    seen: set[str] = set()
    while left:
        name = left.pop()
        top = name.partition(".")[0]
        if name in seen or top in sys.stdlib_module_names:
            continue
        seen.add(name)
        if top in installed and not name.startswith(HARNESSES):
            found.add(top)
            continue
        for value in [*getattr(sys.modules.get(name), "__dict__", {}).values()]:
            behind = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
            left += [behind] if isinstance(behind, str) else []
    return found


def versions_of(tops: set[str]) -> dict[str, str]:
    """The distributions that these packages come from, and their versions."""
    found = {name for top in tops for name in metadata.packages_distributions().get(top, ())}
    return {name: metadata.version(name) for name in sorted(found) if name not in OURS}


if __name__ == "__main__":
    main()
