"""Faults that are known: clauses that a queue is known to break, each with where that is written down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.contract.verdict import Verdict

KNOWN, SOMETIMES = "known", "sometimes"
"""The two statements of a harness, and the options --known and --sometimes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that is known: `link` is where it is written down, in one line; one that shows `sometimes` is one
    that not every run comes to see."""

    link: str
    sometimes: bool = False

    def judge(self, seen: Verdict, *, in_part: bool = False) -> Verdict:
        """The verdict of a clause of which this is known, when that was seen of it. Where it was looked at `in_part`
        only, what was kept says nothing of the fault.

        A clause that was not observed, or is not promised, stays what it is: the fault excuses only what it explains.
        """
        if seen is Verdict.BROKEN:
            return Verdict.KNOWN
        if seen is Verdict.KEPT and not self.sometimes and not in_part:
            return Verdict.MENDED
        return seen

    def __str__(self) -> str:
        return f"known to break sometimes: {self.link}" if self.sometimes else f"known: {self.link}"


def read_known(known: object, sometimes: object, who: str) -> dict[str, Fault]:
    """The faults that a harness states, by clause. Raises BrokenHarness for anything but two mappings of ids of
    checked clauses to texts of one line, which have no clause in common."""
    found: dict[str, Fault] = {}
    for word, stated in ((KNOWN, known), (SOMETIMES, sometimes)):
        if not isinstance(stated, Mapping):
            raise BrokenHarness(
                f'{who}: {word}: expected a mapping such as {{"RACE-1": "https://…"}}, got {type(stated).__name__}'
            )
        for id, link in stated.items():
            _check_clause(id, f"{who}: {word}")
            if not isinstance(link, str) or not link.strip() or not link.isprintable():
                raise BrokenHarness(
                    f"{who}: {word}: {id}: expected where the fault is written down, in one line, got {link!r}"
                )
            if id in found:
                raise BrokenHarness(
                    f"{who}: {id} is said to be known and to show sometimes; it is in one of the two only"
                )
            found[id] = Fault(link.strip(), word == SOMETIMES)
    return found


def read_options(known: Iterable[str], sometimes: Iterable[str]) -> dict[str, Fault]:
    """The faults that a command line states, each as CLAUSE=URL. Raises BrokenHarness."""
    stated: dict[str, dict[str, str]] = {KNOWN: {}, SOMETIMES: {}}
    for word, texts in ((KNOWN, known), (SOMETIMES, sometimes)):
        for text in texts:
            id, equals, link = text.partition("=")
            id = id.strip().upper()
            if not equals:
                raise BrokenHarness(f"--{word}: expected CLAUSE=URL, such as RACE-1=https://…, got {text!r}")
            if id in stated[word]:
                raise BrokenHarness(f"--{word}: {id} is said twice")
            _check_clause(id, f"--{word}")
            stated[word][id] = link
    return read_known(stated[KNOWN], stated[SOMETIMES], "the command line")


def spell(faults: Mapping[str, Fault]) -> list[tuple[str, str]]:
    """The words of a command line that state these faults: an option's name and what it is given."""
    return [(SOMETIMES if fault.sometimes else KNOWN, f"{id}={fault.link}") for id, fault in faults.items()]


def _check_clause(id: object, who: str) -> None:
    if not isinstance(id, str) or id not in CLAUSES:
        near = get_close_matches(str(id).upper(), CLAUSES, n=1, cutoff=0.75)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise BrokenHarness(f"{who}: there is no clause {id!r}{hint}")
    if not CLAUSES[id].checked:
        raise BrokenHarness(f"{who}: {id} is not checked by this version, so that nothing of it can be known")
