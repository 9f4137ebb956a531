"""`vagentctl trace` and `vagentctl stats`: Sandesh XML of the introspection port."""

from __future__ import annotations

from argparse import Namespace
from typing import Any
from urllib.parse import quote

from vagent.ctl.failure import CommandError
from vagent.ctl.parser import add_command
from vagent.ctl.session import Session

BUFFERS = "/Snh_SandeshTraceBufferListRequest"
TRACE = "/Snh_SandeshTraceRequest?x="
METADATA = "/Snh_MetadataInfo"


def register(groups: Any) -> None:
    """Add both commands to the parser."""
    trace = add_command(
        groups, "trace", show_trace, "what happened, oldest first; or which buffers"
    )
    about = "the buffer, e.g. Metadata (default: list them)"
    trace.add_argument("name", nargs="?", metavar="NAME", help=about)
    add_command(groups, "stats", show_statistics, "counters of the metadata proxy")


def show_trace(session: Session, args: Namespace) -> None:
    """The lines of a buffer, or the names of all."""
    if args.name is None:
        root = parse_sandesh(session.introspect.call("GET", BUFFERS))
        session.show_lines([e.text or "" for e in root.iter("trace_buf_name")])
        return
    known = parse_sandesh(session.introspect.call("GET", BUFFERS))
    names = {e.text for e in known.iter("trace_buf_name")}
    if args.name not in names:
        there = ", ".join(sorted(filter(None, names))) or "none"
        raise CommandError(f"no trace buffer {args.name!r}; there are: {there}")
    path = TRACE + quote(args.name, safe="")
    root = parse_sandesh(session.introspect.call("GET", path))
    session.show_lines([e.text or "" for e in root.iter("element")])


def show_statistics(session: Session, _args: Namespace) -> None:
    """The members of MetadataResponse, under Contrail's names."""
    root = parse_sandesh(session.introspect.call("GET", METADATA))
    session.show_record({e.tag: _number(e.text or "") for e in root if e.tag != "more"})


def parse_sandesh(text: bytes) -> Any:
    """The root element. No entity is resolved and nothing fetched."""
    # lxml takes 20 ms to load: only these commands pay for it
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True
    )
    try:
        return etree.fromstring(text, parser)
    except etree.XMLSyntaxError as error:
        raise CommandError("introspection answered something else than XML") from error


def _number(text: str) -> int | str:
    return int(text) if text.isdecimal() and len(text) < 20 else text
