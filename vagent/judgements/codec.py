"""Judgements as JSON: what `GET /status` says, and what our own tools read of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vagent.errors import WireError
from vagent.judgements.judgement import (
    Judgement,
    JudgementKind,
    Severity,
    Subject,
    SubjectKind,
)

PATH = "/status"
VERSION = 1
"""Of the form. Members, kinds and subjects may be added to it; another version is
needed where one that is there goes, or means something else."""


def to_json(judgements: Iterable[Judgement]) -> list[dict[str, Any]]:
    """As `/status` has them."""
    return [
        {
            "kind": one.kind.value,
            "severity": one.severity.value,
            "subject": {
                "kind": one.subject.kind.value,
                "id": one.subject.id,
                "name": one.subject.name,
                "instance": one.subject.instance,
                "tap": one.subject.tap,
            },
            "text": one.text,
            "remedy": one.remedy,
            "since": round(one.since, 3),
            "request": one.request,
        }
        for one in judgements
    ]


def read_status(document: Any) -> tuple[str, tuple[Judgement, ...]]:
    """Why the agent is not ready ("" if it is), and the judgements. Raises
    WireError.
    """
    try:
        if document["version"] != VERSION:
            raise WireError(f"a status of form {document['version']!r}")
        reason = document["not_ready"]
        found = tuple(_judgement(each) for each in document["judgements"])
    except (KeyError, TypeError, ValueError) as error:
        raise WireError("the agent's status has another form") from error
    return str(reason or ""), found


def _judgement(raw: Any) -> Judgement:
    subject = raw["subject"]
    kind, named = SubjectKind(subject["kind"]), ("id", "name", "instance", "tap")
    return Judgement(
        JudgementKind(raw["kind"]),
        Severity(raw["severity"]),
        Subject(kind, *(str(subject.get(name, "")) for name in named)),
        str(raw["text"]),
        str(raw["remedy"]),
        float(raw["since"]),
        str(raw.get("request", "")),
    )
