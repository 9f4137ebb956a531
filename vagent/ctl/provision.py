"""`vagentctl service` and `vagentctl instance`: services in force, and instances of the
embedded metadata server, by the config API.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from vagent.ctl.failure import FAILED, CommandError
from vagent.ctl.parser import Group
from vagent.ctl.session import Session, uuid_argument
from vagent.web.json_client import ApiError

SERVICE_COLUMNS = {
    "name": "linklocal_service_name",
    "address": "linklocal_service_ip",
    "port": "linklocal_service_port",
    "fabric address": "ip_fabric_service_ip",
    "fabric port": "ip_fabric_service_port",
    "fabric name": "ip_fabric_DNS_service_name",
    "endpoints": "endpoints",
}
INSTANCE_COLUMNS = {"uuid": "uuid", "name": "name", "tenant": "tenant_id"}


def register(groups: Any) -> None:
    """Add both groups to the parser."""
    service = Group(groups, "service", "link-local services that guests are offered")
    service.command("list", list_services, "the services in force")
    instance = Group(groups, "instance", "instances of the embedded metadata server")
    add = instance.command("add", add_instances, "create or replace instances")
    about = "JSON object with a uuid, or an array of them; - is stdin"
    add.add_argument("file", metavar="FILE", help=about)
    delete = instance.command(
        "del", delete_instances, "remove instances", aliases=["delete"]
    )
    delete.add_argument("uuids", nargs="+", metavar="UUID")
    instance.command("list", list_instances, "all instances")
    show = instance.command("show", show_instance, "one instance, every member")
    show.add_argument("uuid", metavar="UUID")


def list_services(session: Session, _args: Namespace) -> None:
    """Show the services in force. Entries that are not in force go to standard error,
    with the reason.
    """
    reply = session.config_api.json("GET", "/vagent/services")
    services = reply.get("services", []) if isinstance(reply, Mapping) else reply
    endpoints = reply.get("endpoints", []) if isinstance(reply, Mapping) else []
    shown = [
        {**each, "endpoints": _endpoints_of(each, _objects(endpoints))}
        for each in _objects(services)
    ]
    if session.output != "json":
        shown = [{**each, "endpoints": _health(each["endpoints"])} for each in shown]
    session.show_table(shown, SERVICE_COLUMNS)
    left_out = reply.get("left_out", []) if isinstance(reply, Mapping) else []
    for entry in _objects(left_out):
        name = entry.get("linklocal_service_name")
        why = f"{entry.get('reason')} {entry.get('detail') or ''}".strip()
        session.say(f"not in force: {name}: {why}")


def add_instances(session: Session, args: Namespace) -> None:
    """Create or replace instances, one by one. Stops at the first that is refused, and
    says which.
    """
    text = session.read_input(args.file)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{args.file}: not JSON: {error}") from error
    documents = value if isinstance(value, list) else [value]
    for number, document in enumerate(documents):
        if not isinstance(document, dict) or not isinstance(document.get("uuid"), str):
            raise CommandError(f"{args.file}: instance {number}: no uuid")
    for document in documents:
        uuid = uuid_argument(document["uuid"])
        session.config_api.call("PUT", f"/vagent/instance/{uuid}", document)
    session.show_table(documents, INSTANCE_COLUMNS)


def delete_instances(session: Session, args: Namespace) -> None:
    """Remove instances. Those that do not exist are named at the end."""
    missing = []
    for uuid in [uuid_argument(text) for text in args.uuids]:
        try:
            session.config_api.call("DELETE", f"/vagent/instance/{uuid}")
        except ApiError as error:
            if error.status != 404:
                raise
            missing.append(uuid)
    if missing:
        raise CommandError(f"no such instance: {', '.join(missing)}", code=FAILED)


def list_instances(session: Session, _args: Namespace) -> None:
    """Show all instances, each document with its UUID."""
    reply = session.config_api.json("GET", "/vagent/instances")
    items = reply.get("instances", []) if isinstance(reply, Mapping) else reply
    instances = [
        {"uuid": item.get("uuid"), **item["instance"]}
        if isinstance(item.get("instance"), dict)
        else item
        for item in _objects(items)
    ]
    session.show_table(instances, INSTANCE_COLUMNS)


def show_instance(session: Session, args: Namespace) -> None:
    """Show one instance."""
    path = f"/vagent/instance/{uuid_argument(args.uuid)}"
    session.show_record(session.config_api.json("GET", path))


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


def _objects(value: Any) -> Sequence[Mapping[str, Any]]:
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    raise CommandError("the config API answered with something else than a list")
