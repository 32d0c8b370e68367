"""A recorded history of one queue in a file: who called what, when, and what came back.

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
claim                   optional `lease` (left out: until settled) and `at_most`, where it may last longer (null:
                        until settled); the answer is `work` and optional `id`, or `empty`
ack, release,           `claim`: the `name` of the line of its claim (a line without `name` has its number, from 1);
dead_letter             optional `not_before` for release; the answer is `taken`
`killed`                optional, anywhere: when the process that called was seen dead, where it was killed
`note`                  optional, anywhere: any text of yours, which is not read
======================  ==============================================================================================

Times, `lease` and `not_before` are numbers of one unit on one clock. Any other word is an error, so that a misspelt
one is not overlooked. `docs/history.md` says the same at more length.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from math import inf, isfinite
from pathlib import Path
from sys import intern
from typing import Any

from lowq_conformance.history.operation import BadHistory, Op, check
from lowq_conformance.history.spec import Spec
from lowq_conformance.history.work_text import work_text
from lowq_conformance.support.gc_pause import not_collected
from lowq_conformance.support.text import excerpt

_ANYWHERE = {"process", "op", "call", "ret", "unknown", "name", "killed", "note"}
_WORDS: Mapping[str, set[str]] = {
    "push": {"work", "key", "priority", "not_before", "added", "id"},
    "claim": {"lease", "at_most", "work", "id", "empty"},
    "ack": {"claim", "taken"},
    "release": {"claim", "taken", "not_before"},
    "dead_letter": {"claim", "taken"},
}
_KNOWN = {kind: frozenset(words | _ANYWHERE) for kind, words in _WORDS.items()}
_raw_decode = json.JSONDecoder().raw_decode


def load(path: Path) -> tuple[list[Op], Spec | None]:
    """The history in a file, and what it says of the queue's promises.

    Raises BadHistory, naming the line, and OSError.
    """
    with open(path, "rb") as file, not_collected():
        return read(_decode(file))


def read(lines: Iterable[str]) -> tuple[list[Op], Spec | None]:
    """The history in JSON lines, and what it says of the queue's promises. Raises BadHistory, naming the line.

    The number of each operation is that of its line, from 1.
    """
    ops: list[Op] = []
    by_name: dict[Any, Op] = {}
    texts: dict[str, str] = {}
    spec: Spec | None = None
    for number, line in enumerate(lines, start=1):
        if not line or line.isspace():
            continue
        try:
            told = _object(line)
            if "spec" in told:
                if ops or spec is not None:
                    raise BadHistory("the spec belongs in the first line")
                spec = _spec(told)
                continue
            op = _op(told, number, by_name, texts)
            name = _name(told["name"]) if "name" in told else number
            if name in by_name:
                raise BadHistory(f"name: line {by_name[name].number} has the name {name!r} already")
        except KeyError as error:
            raise BadHistory(f"line {number}: it has no {error}") from None
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise BadHistory(f"line {number}: {error}") from None
        by_name[name] = op
        ops.append(op)
    check(ops, "line")
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
        for word, default in (
            ("priority", 0),
            ("not_before", None),
            ("id", None),
            ("lease", inf),
            ("at_most", None),
            ("claim", -1),
            ("killed", None),
        ):
            if getattr(op, word) != default:
                told[word] = None if getattr(op, word) == inf else getattr(op, word)
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


def _decode(file: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise BadHistory(f"line {number}: expected UTF-8: {error.reason} at byte {error.start + 1}") from None


def _object(line: str) -> dict[str, Any]:
    line = line.strip(" \t\r\n")
    try:
        told, end = _raw_decode(line)
        if end != len(line):
            raise json.JSONDecodeError("Extra data", line, end)
    except json.JSONDecodeError as error:
        raise BadHistory(f"expected JSON: {error.msg} at character {error.pos + 1}") from None
    if not isinstance(told, dict):
        raise BadHistory(f"expected an object, got {excerpt(line.strip(), 40)}")
    return told


def _spec(told: dict[str, Any]) -> Spec:
    words, default = told["spec"], Spec()
    known = {each.name for each in fields(Spec)}
    if not isinstance(words, dict) or set(told) - {"spec", "note"} or not known.issuperset(words):
        raise BadHistory(f"spec: expected an object with some of {', '.join(sorted(known))}, alone in its line")
    for word, value in words.items():
        allowed = ALLOWED.get(word)
        if allowed is not None and (value not in allowed or type(value) not in {type(each) for each in allowed}):
            raise BadHistory(f"spec: {word}: expected one of {', '.join(map(json.dumps, allowed))}, got {value!r}")
        if word == "max_deliveries":
            if value is not None and (type(value) is not int or value < 1):
                raise BadHistory(f"spec: {word}: expected a whole number from 1 on, or null, got {value!r}")
        elif allowed is None and not (word == "grace" and value is None) and _number(value, f"spec: {word}") < 0:
            raise BadHistory(f"spec: {word}: expected 0 or more, got {value!r}")
    return replace(default, **words)


ALLOWED: Mapping[str, tuple[Any, ...]] = {
    "dedupe": ("off", "until_done", "until_claimed"),
    "fifo": (True, False),
    "priority": (True, False),
    "due_order": ("push", "due", None),
    "requeue": ("place", "any"),
    "counts_release": (True, False),
}
"""What a spec may say; `grace` and `eps` are lengths of time, and `max_deliveries` is a number."""


def _name(name: Any) -> Any:
    if not isinstance(name, (str, int)):
        raise BadHistory(f"name: expected a text or a whole number, got {name!r}")
    return name


def _op(told: dict[str, Any], number: int, by_name: Mapping[Any, Op], texts: dict[str, str]) -> Op:
    """The operation that a line tells of; equal texts are one object in all operations, which saves room and time."""
    kind = told["op"]
    known = _KNOWN.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise BadHistory(f"op: expected push, claim, ack, release or dead_letter, got {kind!r}")
    if not known.issuperset(told):
        strange = min(set(told) - known)
        raise BadHistory(f"{kind} has no word {strange!r}; expected some of {', '.join(sorted(known))}")
    ret = told.get("ret")
    process = told["process"]
    op = Op(
        number,
        intern(process if type(process) is str else str(process)),
        "ack" if kind == "dead_letter" else kind,
        _number(told["call"], "call"),
        inf if ret is None else _number(ret, "ret"),
    )
    if told.get("not_before") is not None:
        op.not_before = _number(told["not_before"], "not_before")
    if told.get("killed") is not None:
        op.killed = _number(told["killed"], "killed")
    answered = ret is not None and not ("unknown" in told and _flag(told, "unknown"))
    if kind == "push":
        _push(op, told, texts, answered=answered)
    elif kind == "claim":
        _claim(op, told, texts, answered=answered)
    else:
        claim = by_name.get(_name(told["claim"]))
        if claim is None:
            raise BadHistory(f"claim: no line before this one has the name {told['claim']!r}")
        op.claim, op.work = claim.number, claim.work
        if answered:
            op.result = "ok" if _flag(told, "taken") else "stale"
    return op


def _push(op: Op, told: dict[str, Any], texts: dict[str, str], *, answered: bool) -> None:
    text = work_text(told["work"])
    op.work = op.equal = texts.setdefault(text, text)
    if told.get("key") is not None:
        key = f"key {told['key']}"
        op.equal = texts.setdefault(key, key)
    priority = told.get("priority")
    if priority is not None:
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise BadHistory(f"priority: expected a whole number, got {priority!r}")
        op.priority = priority
    if answered:
        op.result = "added" if _flag(told, "added") else "dup"
        if op.result == "added":
            op.id = _id(told, texts)


def _claim(op: Op, told: dict[str, Any], texts: dict[str, str], *, answered: bool) -> None:
    lease = told.get("lease")
    if lease is not None:
        op.lease = _number(lease, "lease")
        if op.lease < 0:
            raise BadHistory(f"lease: expected 0 or more, got {op.lease}")
    if "at_most" in told:
        op.at_most = inf if told["at_most"] is None else _number(told["at_most"], "at_most")
        if op.at_most < op.lease:
            raise BadHistory(f"at_most: expected no less than the lease, {op.lease}, got {op.at_most}")
    if answered and "empty" in told and _flag(told, "empty"):
        if "work" in told:
            raise BadHistory("claim: it is empty and has a work")
        op.result = "empty"
    elif answered:
        text = work_text(told["work"])
        op.result, op.work, op.id = "task", texts.setdefault(text, text), _id(told, texts)


def _id(told: dict[str, Any], texts: dict[str, str]) -> str | None:
    id = told.get("id")
    if id is None:
        return None
    text = id if type(id) is str else str(id)
    return texts.setdefault(text, text)


def _number(value: Any, what: str) -> float:
    if (type(value) is float or type(value) is int) and isfinite(value):
        return value
    raise BadHistory(f"{what}: expected a number, got {value!r}")


def _flag(told: dict[str, Any], word: str) -> bool:
    value = told[word]
    if value is True or value is False:
        return bool(value)
    raise BadHistory(f"{word}: expected true or false, got {value!r}")
