"""`vagentctl status`: what is wrong, for whom, since when, and what mends it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from vagent.ctl.failure import FAILED, CommandError
from vagent.ctl.parser import add_command
from vagent.ctl.session import Session
from vagent.ctl.table import as_json
from vagent.errors import WireError
from vagent.judgements.codec import PATH, read_status
from vagent.judgements.judgement import Judgement, Severity

_SIGNS = {Severity.WRONG: "✗", Severity.WARNING: "!", Severity.NOTE: "·"}
_GOOD = "✓"


def register(groups: Any) -> None:
    """Add the command to the parser."""
    add_command(groups, "status", show_status, "what is wrong now, and what mends it")


_NOTHING = (
    "nothing is known to be wrong (services that are not in force: vagentctl "
    "service list)"
)


def show_status(session: Session, _args: Namespace) -> None:
    """Readiness and every judgement. Raises CommandError if something stops guests."""
    document = session.introspect.json("GET", PATH)
    try:
        reason, judgements = read_status(document)
    except WireError as error:
        raise CommandError(str(error)) from error
    if session.output == "json":
        session.stdout.write(as_json(document))
    else:
        session.show_lines([*_lines(reason, judgements)])
    wrong = sum(one.severity is Severity.WRONG for one in judgements)
    if reason or wrong:
        text = f"not ready: {reason}" if reason else f"{wrong} wrong"
        raise CommandError(f"status: {text}", code=FAILED)


def _lines(reason: str, judgements: tuple[Judgement, ...]) -> Iterator[str]:
    ready = f"{_SIGNS[Severity.WRONG]} not ready: {reason}"
    yield ready if reason else f"{_GOOD} ready"
    for one in judgements:
        yield f"{_SIGNS[one.severity]} {one.subject}: {one.text}"
        since = datetime.fromtimestamp(one.since, UTC)
        yield f"    since {since:%Y-%m-%d %H:%M:%S} UTC"
        yield f"    {one.remedy}"
    if not judgements:
        yield f"{_GOOD} {_NOTHING}"
