"""`vagentctl trace` and `vagentctl stats`: what the introspection port tells."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from introspect.trace_json import PATH
from vagent.ctl.failure import CommandError
from vagent.ctl.parser import add_command
from vagent.ctl.session import Session, uuid_argument
from vagent.ctl.table import as_json

METADATA = "/Snh_MetadataInfo"
_TAIL = ("tap", "port_id", "request")
"""Facts that stand behind the text of an entry: it does not say them."""


def register(groups: Any) -> None:
    """Add both commands to the parser."""
    trace = add_command(
        groups, "trace", show_trace, "what happened, oldest first; or which buffers"
    )
    about = "the buffer, e.g. Metadata (default: list them)"
    trace.add_argument("name", nargs="?", metavar="NAME", help=about)
    about = "only what concerns this port"
    trace.add_argument("--port", metavar="UUID", help=about)
    about = "only what concerns this metadata request"
    trace.add_argument("--request", metavar="ID", help=about)
    add_command(groups, "stats", show_statistics, "counters of the metadata proxy")


def show_trace(session: Session, args: Namespace) -> None:
    """The entries of a buffer, or the names of all. In JSON an entry has its facts."""
    if args.name is None:
        document = session.introspect.json("GET", PATH)
        session.show_lines([each["name"] for each in _list(document, "buffers")])
        return
    wanted = {}
    if args.port is not None:
        wanted["port_id"] = uuid_argument(args.port)
    if args.request is not None:
        wanted["request"] = args.request.lower()
    path = f"{PATH}/{quote(args.name, safe='')}"
    if wanted:
        path += f"?{urlencode(wanted)}"
    entries = _list(session.introspect.json("GET", path), "entries")
    if session.output == "json":
        session.stdout.write(as_json(entries))
    else:
        session.show_lines([trace_line(entry) for entry in entries])


def trace_line(entry: Mapping[str, Any]) -> str:
    """An entry on one line: time, text, then whose it is. Raises CommandError."""
    try:
        when = datetime.fromtimestamp(entry["time"], UTC)
        tail = "".join(f"  {each}={entry[each]}" for each in _TAIL if entry.get(each))
        return f"{when:%Y-%m-%d %H:%M:%S.%f} {entry['text']}{tail}"
    except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
        raise CommandError("an entry of the trace has another form") from error


def show_statistics(session: Session, _args: Namespace) -> None:
    """The members of MetadataResponse, under Contrail's names."""
    root = parse_sandesh(session.introspect.call("GET", METADATA))
    session.show_record({e.tag: _number(e.text or "") for e in root if e.tag != "more"})


def parse_sandesh(text: bytes) -> Any:
    """The root element. No entity is resolved and nothing fetched."""
    # Imported late: lxml takes 20 ms to load.
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True
    )
    try:
        return etree.fromstring(text, parser)
    except etree.XMLSyntaxError as error:
        raise CommandError("introspection answered something else than XML") from error


def _list(document: Any, member: str) -> list[Any]:
    try:
        found = list(document[member])
    except (KeyError, TypeError) as error:
        raise CommandError("the agent's traces have another form") from error
    return found


def _number(text: str) -> int | str:
    return int(text) if text.isdecimal() and len(text) < 20 else text
