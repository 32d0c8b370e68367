"""A recorded history of one queue: who called what, when, and what came back. Judged by `judge.check`.

The file format is JSON lines, for any system in any language. The first line may say what the queue promises::

    {"spec": {"dedupe": "until_done", "grace": 5}}

with the fields of `spec.Spec`; what is left out has the default there. Every other line is one operation:

    {"process": "a", "op": "push", "call": 0, "ret": 3, "work": {"x": 1}, "priority": 2, "added": true, "id": "7"}
    {"process": "b", "op": "claim", "call": 4, "ret": 5, "lease": 30, "work": {"x": 1}, "id": "7", "name": "c1"}
    {"process": "b", "op": "ack", "call": 6, "ret": 8, "claim": "c1", "taken": true}
    {"process": "a", "op": "claim", "call": 9, "ret": 9.5, "lease": 30, "empty": true}

======================  ==============================================================================================
`process`               who called; a process has one call open at a time (a thread is a process here)
`op`                    push, claim, ack, release or dead_letter; a call for several tasks is several lines
`call`, `ret`           when it was called and returned, numbers on one clock; `ret` null or left out: never
`unknown`               true: whether it happened is not known (it raised, or its process was killed; then `ret` is
                        the last instant at which it may have happened); an operation without `ret` is unknown
push                    `work`; optional `key`, `priority`, `not_before`; the answer is `added` and optional `id`
claim                   optional `lease` (left out: until settled); the answer is `work` and optional `id`, or `empty`
ack, release,           `claim`: the `name` of the line of its claim (a line without `name` has its number, from 1);
dead_letter             optional `not_before` for release; the answer is `taken`
======================  ==============================================================================================

Times, `lease` and `not_before` are numbers of one unit on one clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from math import inf, isfinite
from pathlib import Path
from typing import Any, Literal

from lowq_conformance.spec import Spec

Kind = Literal["push", "claim", "ack", "release"]
Result = Literal["added", "dup", "task", "empty", "ok", "stale"]


class BadHistory(ValueError):
    """The history is not well-formed; the text says where and why."""


@dataclass(slots=True)
class Op:
    """One operation: it acted at one instant from `call` to `ret`; `result` None: not known whether it did.

    `number` names it within its history. `work` is canonical text, `equal` what makes works equal (the same text,
    or an explicit key's). `claim` is the number of the claim that a settle settles. A dead_letter is an ack: the task
    is gone for everybody.
    """

    number: int
    process: str
    kind: Kind
    call: float
    ret: float = inf
    result: Result | None = None
    work: str = ""
    equal: str = ""
    id: str | None = None
    priority: int = 0
    not_before: float | None = None
    lease: float = inf
    claim: int = -1

    def __str__(self) -> str:
        match self.kind:
            case "push":
                said = f"push {self.work}{f' p{self.priority}' if self.priority else ''}"
                said += "" if self.not_before is None else f" not before {self.not_before:g}"
                return f"{said} {self.result or '?'}"
            case "claim":
                return {"task": f"claim:{self.work}", "empty": "claim:empty"}.get(self.result or "", "claim:?")
            case _:
                return f"{self.kind} {self.work} {self.result or '?'}"


def load(path: Path) -> tuple[list[Op], Spec | None]:
    """The history in a file, and what it says of the queue's promises. Raises BadHistory, naming the line."""
    with open(path, encoding="utf-8") as file:
        return read(file)


def read(lines: Iterable[str]) -> tuple[list[Op], Spec | None]:
    """The history in JSON lines, and what it says of the queue's promises. Raises BadHistory, naming the line."""
    ops: list[Op] = []
    names: dict[Any, int] = {}
    spec: Spec | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
            if not isinstance(told, dict):
                raise BadHistory("expected an object")
            if "spec" in told:
                if ops or spec is not None:
                    raise BadHistory("the spec belongs in the first line")
                spec = _spec(told["spec"])
                continue
            op = _op(told, number, names)
        except (ValueError, TypeError, KeyError) as error:
            what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise BadHistory(f"line {number}: {what}") from None
        names[told.get("name", number)] = number
        ops.append(op)
    check(ops)
    return ops, spec


def write(ops: Iterable[Op], spec: Spec | None = None) -> Iterator[str]:
    """The history in JSON lines."""
    if spec is not None:
        yield json.dumps({"spec": {each.name: getattr(spec, each.name) for each in fields(Spec)}})
    for op in ops:
        told: dict[str, Any] = {"process": op.process, "op": op.kind, "call": op.call, "name": op.number}
        if op.ret != inf:
            told["ret"] = op.ret
        if op.kind == "push" or op.result == "task":
            told["work"] = json.loads(op.work)
        if op.kind == "push" and op.equal != op.work:
            told["key"] = op.equal.removeprefix("key ")
        for word, default in (("priority", 0), ("not_before", None), ("id", None), ("lease", inf), ("claim", -1)):
            if getattr(op, word) != default:
                told[word] = getattr(op, word)
        match op.result:
            case None:
                told["unknown"] = True
            case "added" | "dup":
                told["added"] = op.result == "added"
            case "empty":
                told["empty"] = True
            case "ok" | "stale":
                told["taken"] = op.result == "ok"
        yield json.dumps(told)


def check(ops: Sequence[Op]) -> None:
    """Raise BadHistory unless each process has one call open at a time and each settle follows its own claim."""
    by_number = {op.number: op for op in ops}
    if len(by_number) != len(ops):
        raise BadHistory("two operations have the same number")
    last: dict[str, Op] = {}
    for op in sorted(ops, key=lambda op: op.call):
        where = f"operation {op.number}"
        if not isfinite(op.call) or op.ret < op.call:
            raise BadHistory(f"{where}: expected call <= ret, got {op.call} and {op.ret}")
        before = last.get(op.process)
        if before is not None and before.ret > op.call and before.result is not None:
            raise BadHistory(f"{where}: {op.process} called it while its operation {before.number} was open")
        last[op.process] = op
        if op.kind in ("ack", "release"):
            claim = by_number.get(op.claim)
            if claim is None or claim.kind != "claim" or claim.result != "task":
                raise BadHistory(f"{where}: settles {op.claim}, which is no claim that returned a task")
            if claim.ret > op.call:
                raise BadHistory(f"{where}: settles its claim {op.claim} before that returned")
        if op.result is not None and op.ret == inf:
            raise BadHistory(f"{where}: has an answer but never returned")


def _spec(told: Any) -> Spec:
    known = {each.name for each in fields(Spec)}
    if not isinstance(told, dict) or not known.issuperset(told):
        raise BadHistory(f"spec: expected an object with some of {', '.join(sorted(known))}")
    return Spec(**told)


def _op(told: dict[str, Any], number: int, names: dict[Any, int]) -> Op:
    kind = told["op"]
    if kind not in ("push", "claim", "ack", "release", "dead_letter"):
        raise BadHistory(f"op: expected push, claim, ack, release or dead_letter, got {kind!r}")
    ret = told.get("ret")
    op = Op(
        number,
        str(told["process"]),
        "ack" if kind == "dead_letter" else kind,
        _number(told["call"], "call"),
        inf if ret is None else _number(ret, "ret"),
    )
    if told.get("not_before") is not None:
        op.not_before = _number(told["not_before"], "not_before")
    answered = ret is not None and not told.get("unknown", False)
    if kind == "push":
        op.work = spelled(told["work"])
        op.equal = op.work if told.get("key") is None else f"key {told['key']}"
        op.priority = told.get("priority") or 0
        if answered:
            op.result = "added" if _flag(told, "added") else "dup"
            if op.result == "added" and told.get("id") is not None:
                op.id = str(told["id"])
    elif kind == "claim":
        op.lease = inf if told.get("lease") is None else _number(told["lease"], "lease")
        if answered and told.get("empty"):
            op.result = "empty"
        elif answered:
            op.result, op.work = "task", spelled(told["work"])
            op.id = None if told.get("id") is None else str(told["id"])
    else:
        if told["claim"] not in names:
            raise BadHistory(f"claim: no line before this one has the name {told['claim']!r}")
        op.claim = names[told["claim"]]
        if answered:
            op.result = "ok" if _flag(told, "taken") else "stale"
    return op


def spelled(work: Any) -> str:
    """The canonical text of a work."""
    return json.dumps(work, sort_keys=True, separators=(",", ":"))


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise BadHistory(f"{what}: expected a number, got {value!r}")
    return value


def _flag(told: dict[str, Any], word: str) -> bool:
    value = told[word]
    if not isinstance(value, bool):
        raise BadHistory(f"{word}: expected true or false, got {value!r}")
    return value
