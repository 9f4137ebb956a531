"""JSON of a link-local service, read and written: Contrail's LinklocalServiceEntryType.

There are three steps, each stricter than the one before. `wire_entry` writes an entry
as an operator typed it. `conform_entry` converts types as Contrail's API server does
before it stores an entry: unknown keys are refused, ports become integers, addresses
stay text. `decode_entry` makes a service of it, or says why that is not possible.

No HTTP, no store and no Twisted here: the operator's script shares this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from vagent.errors import WireError
from vagent.linklocal.service import LinkLocalService

KIND = "global-vrouter-config"
"""Contrail's type of the object that holds the services."""
FQ_NAME = ("default-global-system-config", "default-global-vrouter-config")
"""The only object of that type that the agent reads."""
OBJECT_ID = ":".join(FQ_NAME)
"""Where the store keeps it; its UUID is inside, so two creators cannot both win."""
PROPERTY = "linklocal_services"

MAX_FABRIC_ADDRESSES = 64
"""Per service. Contrail rolls dice over them and its largest sites list five; the data
path makes one map element of each."""
MAX_NAME = 255
"""Characters: the longest domain name (RFC 1035 §3.1), which kube-manager's joined
names stay below."""
MAX_PORT = 65535
BROADCAST = IPv4Address("255.255.255.255")
_SHOWN = 80
"""Characters of a refused value that a message repeats."""

_TEXT, _NUMBER, _TEXTS = "string", "integer", "list of strings"
_FIELDS = {
    "linklocal_service_name": _TEXT,
    "linklocal_service_ip": _TEXT,
    "linklocal_service_port": _NUMBER,
    "ip_fabric_DNS_service_name": _TEXT,
    "ip_fabric_service_port": _NUMBER,
    "ip_fabric_service_ip": _TEXTS,
}


def wire_entry(
    *,
    name: str,
    address: str = "",
    port: int = 0,
    fabric_addresses: Iterable[str] = (),
    fabric_port: int = 0,
    fabric_dns_name: str = "",
) -> dict[str, Any]:
    """The JSON object of an entry. What is not given is as Contrail's script sends
    it.
    """
    return {
        "linklocal_service_name": name,
        "linklocal_service_ip": address,
        "linklocal_service_port": port,
        "ip_fabric_DNS_service_name": fabric_dns_name,
        "ip_fabric_service_port": fabric_port,
        "ip_fabric_service_ip": list(fabric_addresses),
    }


def encode_entry(service: LinkLocalService) -> dict[str, Any]:
    """The JSON object of a service: the reverse of `decode_entry`."""
    return wire_entry(
        name=service.name,
        address=str(service.address),
        port=service.port,
        fabric_addresses=[str(address) for address in service.fabric_addresses],
        fabric_port=service.fabric_port,
        fabric_dns_name=service.fabric_dns_name,
    )


def conform_entry(raw: object) -> dict[str, Any]:
    """All six keys with the right types, as Contrail's API server stores them.

    A missing or null text becomes None, a missing list []. Raises WireError for an
    unknown key or a value that cannot be converted; ranges are not checked here.
    """
    if not isinstance(raw, dict):
        raise WireError(f"an entry is a JSON object, got {_show(raw)}")
    unknown = sorted(str(key) for key in raw if key not in _FIELDS)
    if unknown:
        raise WireError(
            f"class LinklocalServiceEntryType does not have field {_show(unknown[0])}"
        )
    return {key: _CONVERSIONS[kind](key, raw.get(key)) for key, kind in _FIELDS.items()}


def conform_entries(raw: object) -> list[dict[str, Any]]:
    """The entries of a `linklocal_services` property; null means none.

    Raises WireError if it is not Contrail's LinklocalServicesTypes.
    """
    return [conform_entry(entry) for entry in raw_entries(raw)]


def raw_entries(raw: object) -> list[object]:
    """The list of a `linklocal_services` property; its entries are not looked at."""
    if raw is None:
        return []
    if not isinstance(raw, dict):
        raise WireError(f"{PROPERTY} is a JSON object, got {_show(raw)}")
    unknown = sorted(str(key) for key in raw if key != "linklocal_service_entry")
    if unknown:
        raise WireError(
            f"class LinklocalServicesTypes does not have field {_show(unknown[0])}"
        )
    entries = raw.get("linklocal_service_entry")
    if entries is None:
        return []
    if isinstance(entries, dict):
        return [entries]
    if not isinstance(entries, list):
        raise WireError(f"linklocal_service_entry is a list, got {_show(entries)}")
    return entries


def decode_entry(
    raw: object, skipped: Callable[[str], None] = lambda _why: None
) -> LinkLocalService:
    """The service that an entry means.

    Raises WireError if there is none. A fabric address that is none is left out, the
    rest stay (Contrail's rule); `skipped` is told why.
    """
    entry = conform_entry(raw)
    name = entry["linklocal_service_name"] or ""
    if not 1 <= len(name) <= MAX_NAME:
        raise WireError(
            f"linklocal_service_name has {len(name)} characters (1–{MAX_NAME})"
        )
    if not name.isprintable():
        raise WireError(f"linklocal_service_name {_show(name)} is not printable")
    service = LinkLocalService(
        name=name.lower(),
        address=parse_service_address(entry["linklocal_service_ip"] or ""),
        port=parse_port("linklocal_service_port", entry["linklocal_service_port"]),
        fabric_addresses=_fabric_addresses(entry["ip_fabric_service_ip"], skipped),
        fabric_port=parse_port(
            "ip_fabric_service_port", entry["ip_fabric_service_port"]
        ),
        fabric_dns_name=entry["ip_fabric_DNS_service_name"] or "",
    )
    if not service.fabric_addresses:
        _check_name(service.fabric_dns_name)
    return service


def parse_service_address(text: str) -> IPv4Address | IPv6Address:
    """An address that guests may be offered: any unicast address, as in Contrail.

    Raises WireError for text that is no address, and for loopback, multicast,
    unspecified, reserved, IPv4-mapped and zoned addresses, which a tap cannot carry.
    """
    address = _address("linklocal_service_ip", text)
    reserved = address.version == 4 and address.is_reserved
    if address.is_loopback or address.is_multicast or address.is_unspecified:
        reserved = True
    if reserved:
        raise WireError(
            f"linklocal_service_ip {address} is not a unicast address that a guest "
            "can reach (allowed: unicast, not loopback)"
        )
    return address


def parse_fabric_address(text: str) -> IPv4Address | IPv6Address:
    """The address of a server that provides a service; loopback is the agent's host.

    Raises WireError for what no server can listen on.
    """
    address = _address("ip_fabric_service_ip", text)
    why_not = why_no_server(address)
    if why_not:
        raise WireError(f"ip_fabric_service_ip {address} {why_not}")
    return address


def why_no_server(address: IPv4Address | IPv6Address) -> str:
    """Why no server can be at this address, "" if one can: `is not a unicast address`.
    It holds for addresses that are provisioned and for those that a name resolves to.
    """
    if isinstance(address, IPv6Address) and (address.scope_id or address.ipv4_mapped):
        return "has a zone or an IPv4-mapped form, which is not allowed"
    if address.is_multicast or address.is_unspecified or address == BROADCAST:
        return "is not a unicast address"
    return ""


def parse_port(field: str, port: int | None) -> int:
    """A TCP or UDP port. Raises WireError outside 1–65535."""
    if port is None:
        raise WireError(f"{field} is missing (1–{MAX_PORT})")
    if not 1 <= port <= MAX_PORT:
        raise WireError(f"{field} {_show(port)} is not a port (1–{MAX_PORT})")
    return port


def _address(field: str, text: str) -> IPv4Address | IPv6Address:
    try:
        address = ip_address(text)
    except ValueError:
        raise WireError(f"{field} {_show(text)} is not an IP address") from None
    if isinstance(address, IPv6Address) and (address.scope_id or address.ipv4_mapped):
        raise WireError(
            f"{field} {_show(text)}: a zone or an IPv4-mapped form is not allowed"
        )
    return address


def _check_name(name: str) -> None:
    """Raise WireError for a name that is an address at which no server can be."""
    try:
        address = ip_address(name)
    except ValueError:
        return
    why_not = why_no_server(address)
    if why_not:
        raise WireError(f"ip_fabric_DNS_service_name {_show(name)} {why_not}")


def _fabric_addresses(
    texts: list[str], skipped: Callable[[str], None]
) -> tuple[IPv4Address | IPv6Address, ...]:
    """The addresses in the order given, without repetitions."""
    addresses: dict[IPv4Address | IPv6Address, None] = {}
    for text in texts[:MAX_FABRIC_ADDRESSES]:
        try:
            addresses[parse_fabric_address(text)] = None
        except WireError as error:
            skipped(str(error))
    excess = len(texts) - MAX_FABRIC_ADDRESSES
    if excess > 0:
        skipped(f"ip_fabric_service_ip: {excess} beyond {MAX_FABRIC_ADDRESSES}")
    return tuple(addresses)


def _as_text(field: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise WireError(f"{field}: string value expected instead of {_show(value)}")


def _as_number(field: str, value: object) -> int | None:
    """Contrail: whatever int() takes; here not bool, nor numbers with a fraction."""
    if value is None:
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise TypeError
        number = int(value)
        if isinstance(value, float) and number != value:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise WireError(
            f"{field}: integer value expected instead of {_show(value)}"
        ) from None
    return number


def _as_texts(field: str, value: object) -> list[str]:
    """A list of texts. A single text is a list of one; [[]] is what old scripts send
    for an empty list.
    """
    if value is None:
        return []
    items = value if isinstance(value, list) else [value]
    return [text for item in items if item != [] and (text := _as_text(field, item))]


_CONVERSIONS: dict[str, Callable[[str, object], Any]] = {
    _TEXT: _as_text,
    _NUMBER: _as_number,
    _TEXTS: _as_texts,
}


def _show(value: object) -> str:
    """A refused value as text for an error message: short, and on one line."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more than 4,300 digits
        text = type(value).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
