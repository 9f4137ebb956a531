"""`vagentctl flow`: the flows of guests that the kernel carries, from introspection."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from vagent.ctl.failure import CommandError
from vagent.ctl.introspect import parse_sandesh
from vagent.ctl.parser import Group
from vagent.ctl.session import Session, uuid_argument

REQUEST = "/Snh_FlowListReq"
MAX_PAGES = 1_000
"""The most pages that are fetched: more than the agent's flow limits can fill, in case
the server never stops."""
NUMBERS = {"i32", "u32", "u64"}
COLUMNS = {
    "guest": "guest",
    "from": "from",
    "service": "service",
    "to": "to",
    "endpoint": "endpoint",
    "state": "state",
    "sent": "sent_bytes",
    "packets": "sent_packets",
    "received": "received_bytes",
    "packets back": "received_packets",
    "age": "age",
}
"""Sizes are in bytes, ages in seconds."""


def register(groups: Any) -> None:
    """Add the group to the parser."""
    group = Group(groups, "flow", "flows of guests to services, as the kernel has them")
    command = group.command("list", list_flows, "the flows that there are now")
    command.add_argument("--port", metavar="UUID", help="of this port only")


def list_flows(session: Session, args: Namespace) -> None:
    """Show the flows of all pages. If the kernel has more flows than the agent reads, a
    remark goes to standard error.
    """
    query = {} if args.port is None else {"port": uuid_argument(args.port)}
    flows: list[dict[str, Any]] = []
    for _ in range(MAX_PAGES):
        path = f"{REQUEST}?{urlencode(query)}" if query else REQUEST
        root = parse_sandesh(session.introspect.call("GET", path))
        if root.tag != "FlowListResp":
            why = root.findtext("resp") or "introspection answered something else"
            raise CommandError(why)
        flows += [_flow(each) for each in root.iter("FlowData")]
        query["flow_key"] = root.findtext("next_key") or ""
        if not query["flow_key"]:
            break
    shown = flows if session.output == "json" else [_readable(each) for each in flows]
    session.show_table(shown, COLUMNS)
    if root.findtext("cut") == "true":
        session.say("there are more flows than the agent reads at once: use --port")


def _flow(element: Any) -> dict[str, Any]:
    return {each.tag: _value(each) for each in element}


def _value(element: Any) -> str | int:
    text = element.text or ""
    is_number = element.get("type") in NUMBERS and text.isdecimal() and len(text) < 21
    return int(text) if is_number else text


def _readable(flow: Mapping[str, Any]) -> dict[str, Any]:
    to = _where(flow, "service_address", "service_port")
    return {
        **flow,
        "from": _where(flow, "guest_address", "source_port"),
        "to": f"{to} {flow.get('protocol', '')}".strip(),
        "state": _state(flow),
        "endpoint": _where(flow, "endpoint_address", "endpoint_port"),
    }


def _state(flow: Mapping[str, Any]) -> str:
    state = str(flow.get("state", ""))
    return f"{state}, fast path" if flow.get("fast_path") == "true" else state


def _where(flow: Mapping[str, Any], address: str, port: str) -> str:
    host = str(flow.get(address, ""))
    return f"[{host}]:{flow.get(port)}" if ":" in host else f"{host}:{flow.get(port)}"
