"""What is wrong now, for people: a table that stands above everything else."""

from __future__ import annotations

from collections.abc import Sequence

from introspect.page import Block, Cell, Column, Table, Tone, link
from introspect.pages.traces import utc
from vagent.judgements.judgement import Judgement, Severity, Subject, SubjectKind

MAX_ROWS = 50
"""The rest is at /status."""
_TONES: dict[Severity, Tone] = {
    Severity.WRONG: "bad",
    Severity.WARNING: "bad",
    Severity.NOTE: "quiet",
}


def judgement_blocks(judgements: Sequence[Judgement]) -> tuple[Block, ...]:
    """The table, the worst first; nothing where nothing is wrong."""
    if not judgements:
        return ()
    rows = tuple(
        (
            Cell(one.severity.value, tone=_TONES[one.severity]),
            Cell(one.subject.name or one.subject.id, _page_of(one.subject)),
            Cell(one.text),
            Cell(utc(one.since)[:19], tone="code"),
            Cell(one.remedy),
        )
        for one in judgements[:MAX_ROWS]
    )
    columns = (
        Column("Severity"),
        Column("Subject"),
        Column("What is wrong"),
        Column("Since (UTC)"),
        Column("What mends it"),
    )
    more = len(judgements) - MAX_ROWS
    note = f"{more:,} more are at /status." if more > 0 else ""
    return (Table("What is wrong", columns, rows, note=note),)


def _page_of(subject: Subject) -> str:
    if subject.kind is SubjectKind.PORT:
        return link("ItfReq", uuid=subject.id)
    if subject.kind is SubjectKind.HOST:
        return link("ItfReq")
    return link("MetadataInfo")
