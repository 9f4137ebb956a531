"""`vagentctl service`: the link-local services that the config API has."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from vagent.ctl.parser import Group
from vagent.ctl.session import Session, objects_of

SERVICE_COLUMNS = {
    "name": "linklocal_service_name",
    "address": "linklocal_service_ip",
    "port": "linklocal_service_port",
    "fabric address": "ip_fabric_service_ip",
    "fabric port": "ip_fabric_service_port",
    "fabric name": "ip_fabric_DNS_service_name",
    "endpoints": "endpoints",
}


def register(groups: Any) -> None:
    """Add the group to the parser."""
    service = Group(groups, "service", "link-local services that guests are offered")
    service.command("list", list_services, "the services in force")


def list_services(session: Session, _args: Namespace) -> None:
    """Show the services. Those that are not in force go to standard error, with the
    reason.
    """
    reply = session.config_api.json("GET", "/vagent/services")
    services = reply.get("services", []) if isinstance(reply, Mapping) else reply
    endpoints = reply.get("endpoints", []) if isinstance(reply, Mapping) else []
    shown = [
        {**each, "endpoints": _endpoints_of(each, objects_of(endpoints))}
        for each in objects_of(services)
    ]
    if session.output != "json":
        shown = [{**each, "endpoints": _health(each["endpoints"])} for each in shown]
    session.show_table(shown, SERVICE_COLUMNS)
    found = reply if isinstance(reply, Mapping) else {}
    for entry in objects_of([*found.get("left_out", []), *found.get("pending", [])]):
        name = entry.get("linklocal_service_name")
        why = f"{entry.get('reason')} {entry.get('detail') or ''}".strip()
        session.say(f"not in force: {name}: {why}")


def _endpoints_of(
    service: Mapping[str, Any], endpoints: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The endpoints of one service."""
    where = ("linklocal_service_ip", "linklocal_service_port")
    return [
        {name: value for name, value in each.items() if name not in where}
        for each in endpoints
        if all(each.get(name) == service.get(name) for name in where)
    ]


def _health(endpoints: Sequence[Mapping[str, Any]]) -> str:
    """How many fabric endpoints are up, and which are not, in words."""
    ill = [
        f"{each.get('address')} {name.upper()} {each.get(name)}"
        for each in endpoints
        for name in ("tcp", "udp")
        if each.get(name) != "up"
    ]
    well = len(endpoints) - len({text.split()[0] for text in ill})
    return ", ".join([f"{well} of {len(endpoints)} up", *ill]) if endpoints else ""
