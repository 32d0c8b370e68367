"""Judges a recorded history from a file against what its queue promises."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from lowq_conformance.checker.judge import check
from lowq_conformance.contract.promises import PROMISES, BrokenHarness
from lowq_conformance.history.jsonlines import load
from lowq_conformance.history.operation import BadHistory
from lowq_conformance.history.spec import Spec
from lowq_conformance.report.history_report import HistoryReport


def judge_file(file: str, promises: Iterable[str], lease: float | None, words: Mapping[str, Any]) -> HistoryReport:
    """The judgement on the history in the file.

    `promises`, where there are any, are all that is promised of order: `fifo`, `priority`, or neither. `words` are
    fields of Spec and count more than the file's own; `lease` is that of claims which state none. Raises BadHistory,
    BrokenHarness and OSError.
    """
    began = time.monotonic()
    ops, told = load(Path(file))
    if not ops:
        raise BadHistory("there is no operation in it")
    named = [promise for several in promises for promise in several.replace(",", " ").split()]
    if unknown := [promise for promise in named if promise not in PROMISES]:
        raise BrokenHarness(f"--promise: unknown promise {unknown[0]!r}; expected some of {' '.join(PROMISES)}")
    spec = replace(told or Spec(), **words)
    if named:
        spec = replace(spec, fifo="fifo" in named, priority="priority" in named)
    if lease is not None:
        for op in ops:
            if op.kind == "claim" and op.lease == inf:
                op.lease = lease
    judgement = check(ops, spec)
    return HistoryReport(file, spec, judgement, time.monotonic() - began)
