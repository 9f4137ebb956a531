"""`vagentctl port`: adds, removes, lists and shows ports, by the port API."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from vagent.ctl.failure import USAGE, CommandError
from vagent.ctl.parser import Group
from vagent.ctl.session import Session, uuid_argument
from vagent.ctl.table import table
from vagent.ports.members import parse_address
from vagent.ports.port import NO_NETWORK, PortTokens
from vagent.web.json_client import ApiError

COLUMNS = {
    "id": "id",
    "name": "display-name",
    "tap": "system-name",
    "address": "ip-address",
    "address6": "v6-ip-address",
    "mac": "mac-address",
    "identity": "mdata-ip",
    "instance": "instance-id",
    "tokens": "session-tokens",
    "owner": "owner",
    "state": "state",
}
TOKENS = tuple(filter(None, PortTokens))
TYPES = {"vm": 0, "namespace": 1, "remote": 2}

_REFUSED = ("refused", "packets", "mac", "address", "vlan", "differs", "last")
"""Columns."""


def register(groups: Any) -> None:
    """Add the group to the parser."""
    group = Group(groups, "port", "register guests' interfaces, and list them")
    add = group.command("add", add_port, "register a port, or change one")
    add.add_argument("--instance", required=True, metavar="UUID",
                     help="the instance, as Nova knows it")  # fmt: skip
    add.add_argument("--tap", required=True, metavar="NAME",
                     help="its interface on this host")  # fmt: skip
    add.add_argument("--mac", required=True, help="its MAC address")
    add.add_argument("--ip", metavar="ADDRESS", action="append", default=[],
                     help="its IPv4 address; without one no IPv4 service;"
                     " may be repeated")  # fmt: skip
    add.add_argument("--ip6", metavar="ADDRESS", action="append", default=[],
                     help="its IPv6 address; may be repeated")  # fmt: skip
    add.add_argument("--vlan", type=int, default=-1, metavar="ID",
                     help="the VLAN tag of its frames (default: none)")  # fmt: skip
    add.add_argument("--tenant", default="", metavar="ID",
                     help="its project, letter for letter as Nova holds it"
                     " (Keystone's ids have neither dashes nor capitals)")  # fmt: skip
    add.add_argument("--name", help="a name for people (default: the tap)")
    add.add_argument("--network", default=NO_NETWORK, metavar="UUID",
                     help="its network (default: a stand-in for none)")  # fmt: skip
    add.add_argument("--uuid", help="the port (default: the same for the same instance,"
                     " tap and VLAN)")  # fmt: skip
    add.add_argument("--type", choices=TYPES, default="vm",
                     help="what is behind it (default: vm)")  # fmt: skip
    add.add_argument("--session-tokens", choices=TOKENS,
                     help="its session tokens (default: as they are; "
                     "of a new port as agent.conf says)")  # fmt: skip
    add.add_argument("--learn", action="store_true",
                     help="the port takes the address that its MAC address uses, and"
                     " follows it; it must be alone on its tap and VLAN")  # fmt: skip
    delete = group.command("del", delete_ports, "remove ports", aliases=["delete"])
    delete.add_argument("uuids", nargs="+", metavar="UUID")
    group.command("list", list_ports, "all ports with their identities and states")
    show = group.command("show", show_port, "one port, every member")
    show.add_argument("uuid", metavar="UUID")


def add_port(session: Session, args: Namespace) -> None:
    """Register a port, and show it."""
    port_id = uuid_argument(args.uuid) if args.uuid else _same_again(args)
    _check(args.ip, "--ip", like="10.0.0.5", is_right=_is_ipv4)
    _check(args.ip6, "--ip6", like="2001:db8::5", is_right=_is_ipv6)
    ip, *further = args.ip or ["0.0.0.0"]  # noqa: S104 - Contrail's "unknown"
    ip6, *further6 = args.ip6 or ["None"]
    session.port_api.call(
        "POST",
        "/port",
        {
            "id": port_id,
            "instance-id": uuid_argument(args.instance),
            "vn-id": uuid_argument(args.network),
            **_project(args.tenant),
            "display-name": args.tap if args.name is None else args.name,
            "ip-address": ip,
            "ip6-address": ip6,
            "mac-address": args.mac,
            "system-name": args.tap,
            "type": TYPES[args.type],
            "rx-vlan-id": args.vlan,
            "tx-vlan-id": args.vlan,
            "author": "vagentctl",
            "owner": "cli",
            **({"further-addresses": further + further6} if further + further6 else {}),
            **_tokens(args.session_tokens),
            **({"learn": True} if args.learn else {}),
        },
    )
    _show(session, port_id)


def _project(tenant: str) -> dict[str, str]:
    """Contrail's member, which is a UUID, and ours, which is what Nova compares."""
    try:
        contrail = str(UUID(tenant))
    except ValueError:
        contrail = ""
    exact = bool(tenant) and tenant != contrail.replace("-", "")
    return {"vm-project-id": contrail, **({"project-id": tenant} if exact else {})}


def delete_ports(session: Session, args: Namespace) -> None:
    """Remove ports. One that does not exist is an error, as it is likely a mistake."""
    ports = [uuid_argument(text) for text in args.uuids]
    missing = []
    for port_id in ports:
        if not _exists(session, port_id):
            missing.append(port_id)
        session.port_api.call("DELETE", f"/port/{port_id}")
    if missing:
        raise CommandError(f"no such port: {', '.join(missing)}")


def list_ports(session: Session, _args: Namespace) -> None:
    """Show all ports."""
    session.show_table(session.port_api.json("GET", "/ports"), COLUMNS)


def show_port(session: Session, args: Namespace) -> None:
    """Show one port."""
    _show(session, uuid_argument(args.uuid))


def _show(session: Session, port_id: str) -> None:
    shown = session.port_api.json("GET", f"/port/{port_id}")
    if session.output == "json":
        session.show_record(shown)
        return
    refused = shown.pop("refused", ())
    session.show_record(shown)
    if refused:
        session.stdout.write("\n" + table(_REFUSED, map(_refused, refused)))


def _refused(one: Mapping[str, Any]) -> tuple[object, ...]:
    """Frames of one sender that were dropped at the port's tap, as a row."""
    return (
        one["reason"],
        one["packets"],
        one["mac-address"],
        one["ip-address"],
        one["vlan"],
        " and ".join(f"another {each}" for each in one["differs"]),
        f"{one['seconds-ago']} s ago",
    )


def _check(
    texts: list[str], option: str, *, like: str, is_right: Callable[[str], bool]
) -> None:
    """The port API takes what is no address for "unknown", as Contrail does; here it is
    a slip of the keyboard. Raises CommandError.
    """
    for text in texts:
        if not is_right(text):
            raise CommandError(
                f"{option} {text}: not an address that a guest can have; give it as"
                f" {like}, without a prefix length",
                code=USAGE,
            )


def _is_ipv4(text: str) -> bool:
    return parse_address(text, IPv4Address) is not None


def _is_ipv6(text: str) -> bool:
    return parse_address(text, IPv6Address) is not None


def _same_again(args: Namespace) -> str:
    """The UUID of a port that is added without one: who repeats the command registers
    the same port, not another one beside it.
    """
    instance = uuid_argument(args.instance)
    return str(uuid5(NAMESPACE_URL, f"vagent:{instance}:{args.tap}:{args.vlan}"))


def _tokens(mode: str | None) -> dict[str, str]:
    return {} if mode is None else {"session-tokens": mode}


def _exists(session: Session, port_id: str) -> bool:
    try:
        session.port_api.call("GET", f"/port/{port_id}")
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True
