"""Converts ports from and to JSON, for the port REST API and for the port files.

Members, their order and the error texts are Contrail's (`port_ipc`). Where Contrail
accepts more than is safe, `members` is stricter and says so. Error texts quote nothing
of the body.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from vagent.errors import WireError
from vagent.ports.members import (
    INT32,
    MAX_ADDRESS,
    MAX_FURTHER,
    NIL,
    PLAIN_UUID,
    Json,
    dashed,
    parse_address,
    read_address,
    read_further,
    read_integer,
    read_learn,
    read_mac,
    read_name,
    read_optional_integer,
    read_owner,
    read_remark,
    read_tap,
    read_tenant,
    read_text,
    read_tokens,
    read_uuid,
    read_uuid_or_nil,
    read_vlans,
)
from vagent.ports.port import Port, PortOwner, Registration, Slot

VM_PORT, NAMESPACE_PORT, REMOTE_PORT = 0, 1, 2
"""Contrail's port types; every other number is a VM port."""


MARK = "contrail-file"
"""The member of a port file that holds `PortRecord.mark`."""


@dataclass(frozen=True, slots=True)
class PortRecord:
    """What a port file holds: the port, the identity address that it had, and those of
    its further addresses in their order, as far as the file names them. `mark` is that
    of Contrail's file of this port when ours was written, "" if there was none.
    """

    port: Port
    identity: IPv4Address | None
    further: tuple[IPv4Address | None, ...] = ()
    mark: str = ""

    def identities(self) -> dict[Slot, IPv4Address]:
        """The identity address that each of the port's addresses had."""
        said = zip(self.port.slots, (self.identity, *self.further), strict=False)
        return {slot: identity for slot, identity in said if identity is not None}


def decode_ports(body: bytes) -> tuple[Port, ...]:
    """The ports in the body of a `POST /port`: one object, or an array of objects.

    Raises WireError with Contrail's text. An array is refused if one of its elements
    is.
    """
    value = _parse(body)
    if isinstance(value, dict):
        return (decode_port(value),)
    if not isinstance(value, list):
        raise WireError("Unexpected Json string ==> neither object nor array")
    ports: list[Port] = []
    value.reverse()
    while value:
        # Each element is freed as soon as it is read: 1,000 ports take 2 MiB less.
        element, number = value.pop(), len(ports)
        if not isinstance(element, dict):
            raise WireError(f"Json Array has invalid element ==> element {number}")
        try:
            ports.append(decode_port(element))
        except WireError as error:
            raise WireError(f"{error} (element {number})") from error
    return tuple(ports)


def decode_record(text: bytes) -> PortRecord:
    """The content of a port file, written by us or by `vrouter-port-control`. Raises
    WireError.
    """
    value = _parse(text)
    if not isinstance(value, dict):
        raise WireError("Unexpected Json string ==> not an object")
    port = decode_port(value, owner=PortOwner.FILE)
    found = value.get(MARK)
    mark = found if isinstance(found, str) else ""
    if "mdata-ip" not in value:
        return PortRecord(port, None, mark=mark)
    identity = read_text(value, "mdata-ip", MAX_ADDRESS)
    further = value.get("further-mdata-ips", [])
    if not isinstance(further, list) or len(further) > MAX_FURTHER:
        raise WireError("Invalid or missing field for <further-mdata-ips>")
    return PortRecord(
        port,
        parse_address(identity, IPv4Address),
        tuple(
            parse_address(text, IPv4Address) if isinstance(text, str) else None
            for text in further
        ),
        mark,
    )


def decode_owner(body: bytes) -> PortOwner | None:
    """Whose port a `DELETE /port` may remove: that of the member `owner`, anybody's
    where there is no body, as with Contrail's tools. Raises WireError.
    """
    if not body:
        return None
    value = _parse(body)
    if not isinstance(value, dict) or "owner" not in value:
        return None
    return read_owner(value, "owner", PortOwner.API)


def decode_port(value: Json, *, owner: PortOwner = PortOwner.API) -> Port:
    """One object of `POST /port`. `owner` is whose it is where the object does not say.
    Raises WireError.
    """
    kind = _kind(value)
    network_id = read_uuid_or_nil(value, "vn-id")
    if network_id == NIL and kind == VM_PORT:
        raise WireError("Invalid VN uuid")
    port_id = read_uuid(value, "id")
    if port_id == NIL:
        raise WireError("Invalid or missing data for <id>")
    link = read_optional_integer(value, "link-state", 0 if kind == REMOTE_PORT else 1)
    rx_vlan, tx_vlan = read_vlans(value)
    return Port(
        id=port_id,
        instance_id=read_uuid(value, "instance-id"),
        tenant_id=read_tenant(value, "vm-project-id", exact="project-id"),
        network_id=network_id,
        display_name=read_name(value, "display-name"),
        tap=read_tap(value, "system-name"),
        mac=read_mac(value, "mac-address"),
        address=read_address(value, "ip-address", IPv4Address),
        address6=read_address(value, "ip6-address", IPv6Address),
        kind=kind,
        rx_vlan=rx_vlan,
        tx_vlan=tx_vlan,
        vhostuser_mode=read_optional_integer(value, "vhostuser-mode", 0),
        link_up=link != 0,
        author=read_remark(value, "author"),
        time=read_remark(value, "time"),
        session_tokens=read_tokens(value, "session-tokens"),
        further=read_further(value, "further-addresses"),
        learn=read_learn(value, "learn", apart_from="further-addresses"),
        owner=read_owner(value, "owner", owner),
    )


def encode_record(registration: Registration, mark: str = "") -> bytes:
    """The content of a port file: Contrail's members in Contrail's order, then ours."""
    port = registration.port
    link = {"link-state": int(port.link_up)}
    always = port.kind != REMOTE_PORT and port.link_up
    members: dict[str, Any] = {
        "id": port.id,
        "instance-id": port.instance_id,
        "display-name": port.display_name,
        "ip-address": str(port.address or "0.0.0.0"),  # noqa: S104 - "unknown"
        "ip6-address": str(port.address6 or "::"),
        "vn-id": port.network_id,
        "vm-project-id": dashed(port.tenant_id),
        "mac-address": port.mac,
        "system-name": port.tap,
        "type": port.kind,
        "rx-vlan-id": port.rx_vlan,
        "tx-vlan-id": port.tx_vlan,
        "vhostuser-mode": port.vhostuser_mode,
        **({} if always else link),
        "author": port.author,
        "time": port.time,
        "mdata-ip": str(registration.identity),
        "owner": port.owner.value,
        **_project(port),
        **_tokens(port),
        **_learn(port),
        **_further(registration),
        **({MARK: mark} if mark else {}),
    }
    return pretty(members)


def describe(registration: Registration, *, state: str) -> dict[str, Any]:
    """The object of `GET /port/UUID`: Contrail's members, then ours.

    Contrail answers with what the control plane told it; without one the prefix is /32
    and there is neither DNS server nor gateway.
    """
    port = registration.port
    v6 = {
        "v6-ip-address": str(port.address6),
        "v6-dns-server": "::",
        "v6-gateway": "::",
    }
    return {
        "id": port.id,
        "instance-id": port.instance_id,
        "vn-id": port.network_id,
        "vm-project-id": dashed(port.tenant_id),
        "mac-address": port.mac,
        "system-name": port.tap,
        "rx-vlan-id": port.rx_vlan,
        "tx-vlan-id": port.tx_vlan,
        "vhostuser-mode": port.vhostuser_mode,
        "ip-address": str(port.address or "0.0.0.0"),  # noqa: S104 - "unknown"
        "plen": 32,
        "dns-server": "0.0.0.0",  # noqa: S104 - "none", nothing listens
        "gateway": "0.0.0.0",  # noqa: S104 - "none", nothing listens
        **(v6 if port.address6 else {}),
        "author": port.author,
        "time": port.time,
        "display-name": port.display_name,
        "type": port.kind,
        "mdata-ip": str(registration.identity),
        **({"mdata-ip6": str(registration.identity6)} if port.address6 else {}),
        "state": state,
        "owner": port.owner.value,
        **_project(port),
        **_tokens(port),
        **_learn(port),
        **_further(registration),
    }


def _learn(port: Port) -> dict[str, bool]:
    """The member `learn`, left out where it says nothing."""
    return {"learn": True} if port.learn else {}


def _further(registration: Registration) -> dict[str, list[str]]:
    if not registration.further:
        return {}
    identities = map(registration.identity_at, registration.further)
    return {
        "further-addresses": [str(each) for each in registration.port.further],
        "further-mdata-ips": [str(each) for each in identities],
    }


def pretty(value: object) -> bytes:
    """JSON as rapidjson's PrettyWriter prints it."""
    return json.dumps(value, indent=4, ensure_ascii=False).encode()


def _project(port: Port) -> dict[str, str]:
    """The member `project-id`, left out where `vm-project-id` says the same."""
    plain = not port.tenant_id or PLAIN_UUID.fullmatch(port.tenant_id)
    return {} if plain else {"project-id": port.tenant_id}


def _tokens(port: Port) -> dict[str, str]:
    """The member `session-tokens`, left out where no client ever set it: the object
    then has exactly Contrail's members.
    """
    said = port.session_tokens
    return {"session-tokens": said.value} if said else {}


def _parse(body: bytes) -> object:
    try:
        return json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        where = f"{error.msg} at line {error.lineno} column {error.colno}"
        raise WireError(f"Invalid Json string ==> {where}") from error
    except UnicodeDecodeError as error:
        what = f"not UTF-8 at byte {error.start}"
        raise WireError(f"Invalid Json string ==> {what}") from error
    except ValueError as error:  # an integer of more digits than Python converts
        raise WireError("Invalid Json string ==> a number is too long") from error
    except RecursionError as error:
        raise WireError("Invalid Json string ==> nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise WireError("Invalid Json string ==> a member occurs twice")
    return members


def _refuse_constant(name: str) -> None:
    raise WireError(f"Invalid Json string ==> {name} is not JSON")


def _kind(value: Json) -> int:
    kind = read_integer(value, "type", INT32)
    return kind if kind in (NAMESPACE_PORT, REMOTE_PORT) else VM_PORT
