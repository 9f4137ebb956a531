"""A part becomes aligned columns: ratios under each case, goals at the end. Pure."""

from __future__ import annotations

import textwrap

from bench.report.figures import Column, Part, Result, Spread, ratio
from bench.report.goals import Verdict

WIDTH = 100
RATIO = "ratio"


def render(part: Part) -> str:
    """The part as people read it."""
    head = ["", "", *(column.title for column in part.columns)]
    blocks = [_block(part, results) for results in part.cases().values()]
    rows = [head, *(row for block in blocks for row in block)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [f"{part.letter}  {part.title}", "", _line(head, widths)]
    for block in blocks:
        lines += [_line(row, widths) for row in block]
        if len(block) > 1:
            lines.append("")
    goals = _goals(part)
    if goals and lines[-1]:
        lines.append("")
    lines += goals
    for note in part.notes:
        lines += textwrap.wrap(note, WIDTH, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines).rstrip() + "\n"


def _block(part: Part, results: list[Result]) -> list[list[str]]:
    rows = [
        [
            result.case if number == 0 else "",
            result.contestant,
            *(_cell(column, result.spread(column.key)) for column in part.columns),
        ]
        for number, result in enumerate(results)
    ]
    pairs = part.pairs(results)
    for ours, rival in pairs:
        name = f"{ours.contestant} : {rival.contestant}" if len(pairs) > 1 else RATIO
        ratios = [_ratio(column, ours, rival) for column in part.columns]
        rows.append(["", name, *ratios])
    return rows


def _goals(part: Part) -> list[str]:
    rows = [
        [
            verdict.word,
            verdict.goal.case,
            _asked(part, verdict),
            verdict.goal.limits,
            _measured(part, verdict),
        ]
        for verdict in part.verdicts()
    ]
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return [f"  goal {line}".rstrip() for line in lines]


def _asked(part: Part, verdict: Verdict) -> str:
    goal = verdict.goal
    asked = f"{goal.contestant} {part.column(goal.key).name}".strip()
    rivals = [name for name in (goal.rival, goal.rival_case) if name]
    return " : ".join([asked, *rivals])


def _measured(part: Part, verdict: Verdict) -> str:
    if verdict.value is None:
        return "-"
    if verdict.goal.is_ratio:
        return f"{verdict.value:,.2f} x"
    return f"{verdict.value:,.{part.column(verdict.goal.key).digits}f}"


def _cell(column: Column, spread: Spread | None) -> str:
    if spread is None:
        return "-"
    shown = f"{spread.median:,.{column.digits}f}"
    if not column.spread:
        return shown
    low, high = (f"{value:,.{column.digits}f}" for value in (spread.low, spread.high))
    return shown if low == high else f"{shown} ({low}–{high})"


def _ratio(column: Column, ours: Result, rival: Result) -> str:
    if not column.compare:
        return ""
    times = ratio(ours.spread(column.key), rival.spread(column.key))
    return "-" if times is None else f"{times:.2f} x"


def _line(row: list[str], widths: list[int]) -> str:
    left = [row[i].ljust(widths[i]) for i in (0, 1)]
    right = [row[i].rjust(widths[i]) for i in range(2, len(row))]
    return "  ".join([*left, *right]).rstrip()
