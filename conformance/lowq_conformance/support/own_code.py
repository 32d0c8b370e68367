"""Which code is the queue's own, and which of its lines can tell one order of clients from another.

A line that only looks at the variables of its own call, such as `if row is None:`, neither reads nor changes anything
that anybody else can reach: who stands still before it stands where the line after it finds it.
"""

from __future__ import annotations

import dis
import re
import sys
import threading
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FrameType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

from lowq_conformance.support.own_frames import QUEUES, SUITE, is_of_python

QUIET = frozenset(
    "CACHE CALL_KW_NAMES COMPARE_OP COPY COPY_FREE_VARS EXTENDED_ARG IS_OP KW_NAMES MAKE_CELL NOP NOT_TAKEN POP_TOP"
    " POP_EXCEPT PRECALL PUSH_EXC_INFO PUSH_NULL CHECK_EXC_MATCH RAISE_VARARGS RERAISE RESUME RETURN_CONST"
    " RETURN_VALUE SWAP TO_BOOL UNARY_NOT UNARY_NEGATIVE BUILD_TUPLE BUILD_LIST BUILD_MAP BUILD_SET BUILD_STRING"
    " BUILD_SLICE MAKE_FUNCTION SET_FUNCTION_ATTRIBUTE LOAD_ASSERTION_ERROR UNPACK_SEQUENCE".split()
)
"""Instructions that reach nothing but the variables of their call."""
QUIET_BEGINNINGS = (
    "LOAD_FAST",
    "STORE_FAST",
    "DELETE_FAST",
    "LOAD_CONST",
    "LOAD_SMALL_INT",
    "LOAD_COMMON",
    "JUMP",
    "POP_JUMP",
)
PURE = frozenset("isinstance len type int str bool float bytes tuple min max abs repr callable".split())
"""Functions that only look at what they are given."""


class OwnCode:
    """The files of a queue: of the packages that its client, and what that holds, are made of."""

    def __init__(self, roots: Iterable[Path], home: str) -> None:
        self.roots = tuple(roots)
        self._files = frozenset(map(str, self.roots))
        self._folders = tuple(f"{root}/" for root in self.roots)
        self.home = home
        """The file of the client's own class, or nothing."""
        self._known: dict[CodeType, frozenset[int]] = {}
        self._first: dict[tuple[CodeType, int], bool] = {}
        self._names_of: dict[CodeType, dict[int, tuple[tuple[str, ...], tuple[str, ...]]]] = {}
        self._names: dict[str, str] = {}

    def lines(self, code: CodeType) -> frozenset[int]:
        """The lines of this code that are points; none where it is not the queue's."""
        known = self._known.get(code)
        if known is None:
            known = self._known[code] = telling_lines(code) if self.has(code.co_filename) else frozenset()
        return known

    @property
    def home_name(self) -> str:
        """The file of the client's own class, as people name it."""
        return self._long(self.home) if self.home else ""

    def name(self, file: str) -> str:
        """The file as people name it: nothing for the client's own, else its name, in its folders where need be."""
        if file not in self._names:
            self._names[file] = self._name(file)
        return self._names[file]

    def _name(self, file: str) -> str:
        return "" if file == self.home else self._long(file)

    def _long(self, file: str) -> str:
        path = Path(file)
        alike = [each for each in self._list_loaded() if each.name == path.name]
        root = next((root for root in self.roots if root in path.parents), path.parent)
        telling = len(alike) < 2 and not path.name.startswith("__")
        return path.name if telling else path.relative_to(root.parent).as_posix()

    def file(self, name: str) -> str:
        """The file that is named so."""
        if not name:
            return self.home
        same = [each for each in self._list_loaded() if f"/{each.as_posix()}".endswith(f"/{name}")]
        return str(same[0]) if same else name

    def _list_loaded(self) -> list[Path]:
        """The queue's files that were imported."""
        files = {file for module in list(sys.modules) if (file := file_of(module)) and self.has(file)}
        return sorted(map(Path, files), key=lambda path: (len(path.parts), path))

    def looks_around(self, frame: FrameType) -> bool:
        """Whether the line that is about to run looks at something that a module or a class holds and that changes,
        or takes a lock: what another client in the same process may have in hand, too."""
        code = frame.f_code
        if code not in self._names_of:
            self._names_of[code] = names_by_line(code)
        around, attributes = self._names_of[code].get(frame.f_lineno, ((), ()))
        if any(changes(frame.f_globals[name]) for name in around if name in frame.f_globals) or "=" in around:
            return True
        owner = frame.f_locals.get("self", frame.f_locals.get("cls"))
        if owner is None or not attributes:
            return False
        own = {} if isinstance(owner, type) else getattr(owner, "__dict__", {})
        classes = (owner if isinstance(owner, type) else type(owner)).__mro__
        return any(
            isinstance(own[name], LOCKS)
            if name in own
            else any(changes(vars(each)[name]) for each in classes if name in vars(each))
            for name in attributes
        )

    def calls_first(self, code: CodeType, at: int) -> bool:
        """Whether the instruction there is a call before which its line calls nothing else."""
        key = code, at
        if key not in self._first:
            self._first[key] = is_first_call(code, at)
        return self._first[key]

    def has(self, file: str) -> bool:
        """Whether the file is the queue's."""
        if "//" in file or "/./" in file:
            file = str(Path(file))
        return file in self._files or file.startswith(self._folders)


def own_code(client: Any, *others: Any) -> OwnCode:
    """The code of the queue that the client is of; its harness is one of the others."""
    held = [value for value in getattr(client, "__dict__", {}).values() if not isinstance(value, type)]
    own = [file for cls in type(client).__mro__ if (file := file_of(cls.__module__)) and root_of(cls.__module__)]
    return OwnCode(sorted(roots_of(client, *others, *held)), own[0] if own else "")


def roots_of(*objects: Any) -> set[Path]:
    """The folders, or files, of the packages of which these objects are made."""
    classes = {cls for each in objects for cls in type(each).__mro__}
    return {root for cls in classes if (root := root_of(cls.__module__)) is not None}


@cache
def root_of(module: str) -> Path | None:
    """The folder of the package, or the file, that the module is of; None: Python's or the suite's own."""
    file = file_of(module)
    if file is None:
        return None
    path = Path(file)
    if path.is_relative_to(SUITE):
        return QUEUES if path.is_relative_to(QUEUES) and path.name != "lowq.py" else None
    if is_of_python(path):
        return None
    package = file_of(module.partition(".")[0])
    if package is not None and Path(package).name == "__init__.py":
        return Path(package).parent
    return path


def file_of(module: str) -> str | None:
    """The file of the module, where it has one."""
    return getattr(sys.modules.get(module), "__file__", None)


def telling_lines(code: CodeType) -> frozenset[int]:
    """The lines of the code that do more than look at their own variables."""
    telling, calls, pure = set[int](), dict[int, int](), dict[int, int]()
    for instruction in dis.get_instructions(code):
        line = None if instruction.positions is None else instruction.positions.lineno
        name = instruction.opname
        if line is None or name in QUIET or name.startswith(QUIET_BEGINNINGS):
            continue
        if name == "LOAD_GLOBAL" and (instruction.argval in PURE or is_exception(instruction.argval)):
            pure[line] = pure.get(line, 0) + 1
        elif name in ("CALL", "CALL_KW"):
            calls[line] = calls.get(line, 0) + 1
        elif not (name == "BINARY_OP" and not instruction.argrepr.endswith("=")):
            telling.add(line)
    return frozenset(telling | {line for line, number in calls.items() if number > pure.get(line, 0)})


def is_exception(name: object) -> bool:
    """Whether it is named as errors are."""
    return isinstance(name, str) and name.endswith(("Error", "Exception"))


def is_first_call(code: CodeType, at: int) -> bool:
    """Whether the instruction there is a call before which its line calls nothing else, nor reaches for anything."""
    instructions = [each for each in dis.get_instructions(code) if each.offset <= at]
    if not instructions or not instructions[-1].opname.startswith("CALL"):
        return False
    line = instructions[-1].positions and instructions[-1].positions.lineno
    before = [each for each in instructions[:-1] if each.positions is not None and each.positions.lineno == line]
    return not any(each.opname.startswith(LOOKS) for each in before)


LOOKS = (
    "CALL",
    "BINARY_SUBSCR",
    "STORE_ATTR",
    "STORE_SUBSCR",
    "FOR_ITER",
    "BEFORE_",
    "CONTAINS",
    "DELETE",
    "GET_ITER",
    "SEND",
    "YIELD",
)
"""How instructions begin that may do something before a call."""


LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Semaphore)
SETTLED = (
    *(str, bytes, int, float, complex, tuple, frozenset, type(None), re.Pattern),
    *(type, property, classmethod, staticmethod, MemberDescriptorType, GetSetDescriptorType),
    *(ModuleType, FunctionType, BuiltinFunctionType, MethodType),
)
"""What changes for nobody, as far as anybody means it to."""


def changes(value: Any) -> bool:
    """Whether the value of a module's or a class's variable may change within: a container, a lock, an object."""
    return not isinstance(value, SETTLED) and not hasattr(value, "__wrapped__")


def names_by_line(code: CodeType) -> dict[int, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Of each line the module's variables that it looks at, with "=" where it sets one, and the attributes."""
    found: dict[int, tuple[list[str], list[str]]] = {}
    for each in dis.get_instructions(code):
        line = None if each.positions is None else each.positions.lineno
        if line is None or not isinstance(each.argval, str):
            continue
        around, attributes = found.setdefault(line, ([], []))
        if each.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            around.append(each.argval)
        elif each.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            around.append("=")
        elif each.opname in ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR"):
            attributes.append(each.argval)
    return {line: (tuple(around), tuple(attributes)) for line, (around, attributes) in found.items()}
