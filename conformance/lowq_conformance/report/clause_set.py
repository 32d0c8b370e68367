"""The set of clauses, as data that another tool may implement, and as a table."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lowq import Dedupe
from lowq_conformance.contract.clauses import CLAUSES, GROUPS, VERSION, Clause, needs_of, since
from lowq_conformance.contract.profile import QUICK
from lowq_conformance.contract.promises import PROMISES, Traits


def describe_clauses() -> dict[str, Any]:
    """The clauses as JSON: conformance/README.md says what each field means."""
    return {
        "version": VERSION,
        "promises": {word: promise.says for word, promise in PROMISES.items()},
        "clauses": [
            {
                "id": clause.id,
                "title": GROUPS[clause.group],
                "meaning": clause.text,
                "needs": [_need(need) for need in clause.needs],
                "profile": QUICK.name if clause.checked else None,
                "since": since(clause.id),
            }
            for clause in CLAUSES.values()
        ],
    }


def _need(need: str) -> dict[str, Any]:
    """A promise, or one of several; or a trait, which has one of these values."""
    name, is_trait, value = need.partition("=")
    if is_trait:
        assert name in {field.name for field in fields(Traits)}
        return {"trait": name, "is": [value]}
    if need == "dedupe":
        return {"trait": need, "is": [each for each in get_args(Dedupe) if each != "off"]}
    return {"promise": need.split("|")}


def show_clauses(console: Console) -> None:
    """The clauses are on the terminal."""
    table = Table(title=f"The clauses, version {VERSION}", title_justify="left", box=None, pad_edge=False)
    for column in ("clause", "promise", "needs"):
        table.add_column(column, no_wrap=column == "clause")
    group = ""
    for clause in CLAUSES.values():
        if clause.group != group:
            group = clause.group
            table.add_row("", Text(GROUPS[group], style="bold"))
        table.add_row(clause.id, _words(clause), needs_of(clause))
    console.print(table)


def _words(clause: Clause) -> str:
    return clause.text if clause.checked else f"{clause.text} (not checked yet)"
