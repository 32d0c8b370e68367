"""The architecture: who may import whom, and who may ask the machine for the time."""

import ast
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import lowq

ROOT = Path(__file__).parent.parent
ROOMS = ("lowq", "pytest_lowq", "conformance/lowq_conformance", "bench", "examples")
ORDER: tuple[tuple[str, ...], ...] = (
    ("lowq.backend", "lowq.excerpt", "lowq.kernel", "lowq.framelock"),
    ("lowq.clock", "lowq.error_text", "lowq.current_task", "lowq.run"),
    ("lowq.rules", "lowq.endings", "lowq.hooks"),
    ("lowq.process",),
    ("lowq.beside",),
    ("lowq.location",),
    ("lowq.wire", "lowq.metrics"),
    ("lowq.worker", "lowq.backends", "lowq.web"),
    ("lowq.override", "lowq.registry", "lowq.declaration"),
    ("lowq.taskqueue",),
    ("lowq.testing", "lowq.contrib", "lowq.moving"),
    ("lowq.commands",),
    ("lowq.cli",),
    ("lowq_conformance.support",),
    ("lowq_conformance.history",),
    ("lowq_conformance.contract",),
    ("lowq_conformance.checker", "lowq_conformance.queues"),
    ("lowq_conformance.subject",),
    ("lowq_conformance.storm",),
    ("lowq_conformance.sweep",),
    ("lowq_conformance.report", "lowq_conformance.cases"),
    ("lowq_conformance.run",),
    ("pytest_lowq",),
)
"""A file imports its own room and the rooms above it here; rooms of one line do not know each other."""

EXCEPTION = ("lowq/commands/check.py", "lowq_conformance.run")
"""The one arrow back: `lowq check` is the suite's command, imported when it is called."""
PLUGIN = "pytest_lowq/plugin.py"
BESIDE = (
    "lowq.testing.servers.postgres.PostgresAddress",
    "lowq.testing.servers.postgres.PostgresServer",
    "lowq.testing.servers.valkey.ValkeyServer",
    "lowq.web.create_app",
    "lowq.web.server.Server",
)
"""What is public beside the names of `lowq` itself."""
FILES = {
    file.relative_to(base).with_suffix("").as_posix().replace("/", "."): file
    for base in (ROOT, ROOT / "conformance")
    for room in ("lowq", "pytest_lowq", "lowq_conformance")
    for file in (base / room).rglob("*.py")
    if file.name != "__init__.py"
}
"""The modules of the house by their dotted names; packages only re-export, and are no files of their own here."""


LONG = 400
"""Lines; a longer file says in its docstring why it is one."""


def imports(tree: ast.AST, *, when_loaded: bool = False) -> Iterator[str]:
    """The dotted names that are imported: anywhere, or only what loading the module imports."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)
        elif not (when_loaded and runs_later(node)):
            yield from imports(node, when_loaded=when_loaded)


def runs_later(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def under(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def relative_imports(path: str, tree: ast.AST) -> list[str]:
    return [name for name in imports(tree) if name.startswith(".")]


def pytest_in_lowq(path: str, tree: ast.AST) -> list[str]:
    return [
        name for name in imports(tree) if path.startswith("lowq/") and under(name, "pytest", "_pytest", "pytest_lowq")
    ]


def strangers_in_lowq(path: str, tree: ast.AST) -> list[str]:
    """Loading any room of lowq but the command line, the web and contrib imports the standard library only."""
    if not path.startswith("lowq/") or path.startswith(("lowq/cli", "lowq/commands", "lowq/web", "lowq/contrib")):
        return []
    loaded = imports(tree, when_loaded=True)
    return [name for name in loaded if not under(name, "lowq", *sys.stdlib_module_names)]


def concrete_backends(path: str, tree: ast.AST) -> list[str]:
    """Only location.py names a concrete backend, as an import or as the text that it imports later."""
    if path == "lowq/location.py" or path.startswith("lowq/backends/"):
        return []
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [name for name in (*imports(tree), *texts) if under(name, "lowq.backends")]


def room_of(name: str) -> tuple[int, str] | None:
    """The place in ORDER and the name of the room of a dotted module, or None."""
    for place, rooms in enumerate(ORDER):
        for room in rooms:
            if under(name, room):
                return place, room
    return None


def arrows_back(path: str, tree: ast.AST) -> list[str]:
    """A file imports only its own room and those before it in ORDER."""
    own = room_of(path.removeprefix("conformance/").removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    if own is None:
        return []
    others = {name: room for name in imports(tree) if (room := room_of(name)) is not None and room[1] != own[1]}
    return [
        name
        for name, (place, room) in others.items()
        if place >= own[0] and not (path == EXCEPTION[0] and under(name, EXCEPTION[1]))
    ]


def circles(path: str, tree: ast.AST) -> list[str]:
    """A file that imports itself by way of others; the offence is a file that imports the tree's own file."""
    own = path.removeprefix("conformance/").removesuffix(".py").replace("/", ".")
    seen: set[str] = set()
    names = modules(tree)
    while names:
        name = names.pop()
        if name == own:
            return [name]
        if name not in seen and name in FILES:
            seen.add(name)
            names |= imported_by(name)
    return []


@cache
def imported_by(name: str) -> frozenset[str]:
    """The files of this house that the file of that name imports."""
    return frozenset(modules(ast.parse(FILES[name].read_text(encoding="utf-8"))))


def modules(tree: ast.AST) -> set[str]:
    """The files of this house that are imported; of a package's own name, its modules."""
    return {name if name in FILES else name.rpartition(".")[0] for name in imports(tree)} & FILES.keys()


def time_outside_the_clock(path: str, tree: ast.AST) -> list[str]:
    if not path.startswith("lowq/") or path == "lowq/clock.py":
        return []
    asked = {f"{kind}.{verb}" for kind in ("datetime", "date") for verb in ("now", "utcnow", "today")}
    calls = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return [name for name in imports(tree) if under(name, "time")] + [
        call for call in calls if ".".join(call.split(".")[-2:]) in asked
    ]


def private_names_in_the_suite(path: str, tree: ast.AST) -> list[str]:
    """The suite imports public names of lowq only, so that it treats ours as any stranger's queue."""
    if not path.startswith("conformance/"):
        return []
    public = {"lowq", *BESIDE, *(f"lowq.{name}" for name in lowq.__all__)}
    return [name for name in imports(tree) if under(name, "lowq") and name not in public]


def eager_plugin(path: str, tree: ast.AST) -> list[str]:
    """What the entry point imports is loaded into every pytest run, and spoils its coverage figures."""
    loaded = imports(tree, when_loaded=True)
    return [name for name in loaded if path == PLUGIN and not under(name, "pytest", *sys.stdlib_module_names)]


def imported_tests(path: str, tree: ast.AST) -> list[str]:
    """Only the checker's bench needs a piece of the tests: the simulator that draws histories."""
    if path == "bench/checker.py":
        return []
    helpers = {file.stem for file in (ROOT / "tests").iterdir()} - {"lowq"}
    return [name for name in imports(tree) if under(name, "tests", "conftest", *helpers)]


Rule = Callable[[str, ast.AST], list[str]]
RULES: dict[Rule, tuple[str, str]] = {
    relative_imports: ("lowq/worker/worker.py", "from .clock import Clock"),
    pytest_in_lowq: ("lowq/testing.py", "def f():\n    import pytest"),
    strangers_in_lowq: ("lowq/worker/worker.py", "try:\n    import rich.table\nexcept ImportError:\n    pass"),
    concrete_backends: ("lowq/worker/worker.py", "later('lowq.backends.sqlite')"),
    arrows_back: ("lowq/backends/sqlite/backend.py", "from lowq.worker.worker import Worker"),
    circles: ("conformance/lowq_conformance/checker/wgl.py", "from lowq_conformance.checker.judge import check"),
    time_outside_the_clock: ("lowq/worker/worker.py", "import datetime\ndatetime.datetime.now()"),
    private_names_in_the_suite: (
        "conformance/lowq_conformance/checker/model.py",
        "from lowq.rules.canonical import encode",
    ),
    eager_plugin: (PLUGIN, "import freezegun"),
    imported_tests: ("bench/queues.py", "from processes import spawn"),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_room_has(rule: Rule) -> None:
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]

    faults = [
        f"{path}: {fault}"
        for file in files
        for path in [file.relative_to(ROOT).as_posix()]
        for fault in rule(path, ast.parse(file.read_text(encoding="utf-8"), path))
    ]

    assert files
    assert faults == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_each_rule_bites(rule: Rule) -> None:
    path, offence = RULES[rule]

    assert rule(path, ast.parse(offence)) != []
    assert rule(path, ast.parse("from __future__ import annotations\nimport json")) == []


def test_a_long_file_says_why_in_its_first_lines() -> None:
    files = [path for room in (*ROOMS, "tests") for path in (ROOT / room).rglob("*.py")]
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    long = {path: text for path, text in texts.items() if text.count("\n") > LONG}

    assert long
    assert [
        path.relative_to(ROOT).as_posix()
        for path, text in long.items()
        if "\nLong: " not in (ast.get_docstring(ast.parse(text)) or "")
    ] == []
