"""Draws a small history as SVG: one row for each client, a bar for each operation, the times below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from lowq_conformance.history.operation import Op
from lowq_conformance.history.timeline import LONGEST_NAME, Layout, label, lay_out, lease
from lowq_conformance.history.units import Unit
from lowq_conformance.report.html import element, text
from lowq_conformance.support.text import excerpt, printable

CHARACTER, ROW, BAR = 7.4, 46, 28
"""The width of a character, the height of a row and that of a bar, in pixels."""
STAMPS = 3
"""Lines of times below the rows; a time that has room in none of them is only in the operation's title."""


def draw(ops: Sequence[Op], culprit: Op, unit: Unit, described_by: str) -> str:
    """The picture of the operations, with the culprit marked; `described_by` is the id of the same in words."""
    layout = lay_out(ops, [f"! {label(op, unit)}" if op.number == culprit.number else label(op, unit) for op in ops])
    processes = list(dict.fromkeys(op.process for op in sorted(ops, key=lambda op: op.call)))
    return _Picture(layout, ops, processes, culprit, unit).svg(described_by)


@dataclass(slots=True)
class _Picture:
    layout: Layout
    ops: Sequence[Op]
    processes: list[str]
    culprit: Op
    unit: Unit

    def svg(self, described_by: str) -> str:
        first = min(op.call for op in self.ops)
        bottom = ROW * len(self.processes)
        rows = [self._row(number, process) for number, process in enumerate(self.processes)]
        bars = [self._bar(at, first) for at in sorted(self.layout.begins, key=lambda at: self.layout.begins[at])]
        kills = [self._kill(process, column, first) for process, column in self.layout.kills.items()]
        width = self._x(self.layout.width) + 90
        height = bottom + 14 * STAMPS + 8
        return element(
            "svg",
            *self._stamps(first, bottom),
            *rows,
            *bars,
            *kills,
            role="img",
            aria_label=f"Timeline of {len(self.ops)} operations; the table below says the same in words",
            aria_describedby=described_by,
            width=f"{width:.0f}",
            height=f"{height}",
            viewBox=f"0 0 {width:.0f} {height}",
        )

    def _x(self, column: float) -> float:
        margin = max(len(_name(process)) for process in self.processes) * CHARACTER + 20
        return margin + column * CHARACTER

    def _y(self, process: str) -> float:
        return self.processes.index(process) * ROW + (ROW - BAR) / 2

    def _row(self, number: int, process: str) -> str:
        y = number * ROW + ROW / 2
        line = (
            f'<line class="row" x1="{self._x(0):.1f}" x2="{self._x(self.layout.width) + 20:.1f}" y1="{y}" y2="{y}"/>'
        )
        return f'{line}<text x="4" y="{y + 4}">{text(_name(process))}</text>'

    def _bar(self, at: int, first: float) -> str:
        op, begin, end = self.ops[at], self._x(self.layout.begins[at]), self._x(self.layout.end(at))
        top = self._y(op.process)
        bottom = top + BAR
        if at in self.layout.ends:
            shape = f"M{begin:.1f} {top}H{end:.1f}V{bottom}H{begin:.1f}Z"
        else:  # open at its end, with an arrow
            middle = top + BAR / 2
            shape = f"M{end:.1f} {top}H{begin:.1f}V{bottom}H{end:.1f}M{end:.1f} {middle}h24m-6 -5l6 5l-6 5"
        said = self.layout.labels[at]
        name = (
            f'<text x="{begin + CHARACTER / 2 + 2:.1f}" y="{top + BAR / 2 + 4}" xml:space="preserve" '
            f'textLength="{len(said) * CHARACTER - 4:.1f}" lengthAdjust="spacingAndGlyphs">{text(said)}</text>'
        )
        path = f'<path class="bar{"" if op.result is not None else " open"}" d="{shape}"/>'
        guilty = op.number == self.culprit.number
        hover = element("title", text(in_words(op, first, self.unit, guilty=guilty), 2000))
        return element("g", hover, path, name, class_="guilty" if guilty else "op")

    def _kill(self, process: str, column: int, first: float) -> str:
        x, y = self._x(column) + 4, self._y(process) + BAR / 2
        when = next(op.killed for op in self.ops if op.process == process and op.killed is not None)
        hover = element("title", text(f"{process} was killed; seen dead at {self.unit.since(first, when)}"))
        cross = f'<path class="kill" d="M{x - 6:.1f} {y - 6}l12 12m0 -12l-12 12"/>'
        return element("g", hover, cross, f'<text class="death" x="{x + 10:.1f}" y="{y + 4}">killed</text>')

    def _stamps(self, first: float, bottom: float) -> list[str]:
        """The times of the events, each in the first line in which it has room."""
        free = [0.0] * STAMPS
        made = []
        for column, when in sorted(self.layout.instants.items()):
            x, stamp = self._x(column), self.unit.since(first, when)
            line = next((line for line in range(STAMPS) if free[line] <= x), None)
            if line is None:
                continue
            free[line] = x + (len(stamp) + 1) * CHARACTER
            y = bottom + 14 * (line + 1)
            made.append(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{y - 10}"/>')
            made.append(f'<text class="stamp" x="{x:.1f}" y="{y}">{text(stamp)}</text>')
        return made


def _name(process: str) -> str:
    return excerpt(printable(process), LONGEST_NAME)


def in_words(op: Op, first: float, unit: Unit, *, guilty: bool) -> str:
    """The operation in a sentence: who, what, when, and how it ended."""
    what = f"{op.process}: {op}{lease(op, unit)}"
    said = f"{what}; called at {unit.since(first, op.call)}, {describe_end(op, first, unit)}"
    return f"{said}; no order explains this answer" if guilty else said


def describe_end(op: Op, first: float, unit: Unit) -> str:
    """When and how the operation ended."""
    if op.result is not None:
        return f"returned at {unit.since(first, op.ret)}"
    if op.killed is not None:
        return f"cut off: its process was killed, seen dead at {unit.since(first, op.killed)}"
    if op.ret == inf:
        return "never returned"
    return f"not known whether it happened; not after {unit.since(first, op.ret)}"
