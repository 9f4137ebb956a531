"""Reads and checks the members of a port's JSON object, one function for each kind.

The length is checked before the content, and the content against what is allowed: a tap
name ends up in kernel rules, every other text on an operator's screen. Error texts
begin as Contrail's do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeVar

from vagent.errors import WireError
from vagent.ports.port import PortOwner, PortTokens

NIL = "00000000-0000-0000-0000-000000000000"

MAX_TAP = 15
"""IFNAMSIZ - 1 (linux/if.h)."""
MAX_NAME = 255
"""Nova's ceiling for a display name."""
MAX_ADDRESS = 64
"""Characters; no IPv6 address is longer."""
MAX_FURTHER = 63
"""A port's further addresses: with its main one they fill what one tap may have
(`tap.MAX_ON_TAP`)."""
MAX_MAC = 17
INT32 = range(-(2**31), 2**31)
"""What Contrail's parser takes for an int."""
VLANS = range(-1, 4095)
"""VLAN ids; -1 means none, and so does 0 (IEEE 802.1Q: priority tag, no VLAN)."""

TAP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
"""Tap names: fewer than the kernel allows, and none that nft, a shell, a path or a
command line could read as more than a name (`*` is a wildcard to nft, `-` starts an
option)."""
RESERVED_TAPS = frozenset({"lo", "all", "default"})
"""No tap has these names: one is the loopback interface, to sysctl the others mean
every interface."""
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
PLAIN_UUID = re.compile(r"[0-9a-f]{32}")
PROJECT = re.compile(r"[!-~]([ -~]*[!-~])?")
"""A project's id is a header's value (RFC 9110, without its obs-text)."""
MAC = re.compile(r"[0-9a-f]{1,2}(?::[0-9a-f]{1,2}){5}")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
"""Characters that would break a line, a terminal, UTF-8 or XML 1.0."""
BROADCAST = IPv4Address("255.255.255.255")

Json = Mapping[str, Any]
Address = TypeVar("Address", IPv4Address, IPv6Address)


def read_text(value: Json, name: str, limit: int, what: str = "field") -> str:
    """A JSON string of at most `limit` characters."""
    text = value.get(name)
    if not isinstance(text, str):
        raise WireError(f"Invalid or missing {what} for <{name}>")
    if len(text) > limit:
        raise WireError(
            f"Invalid or missing {what} for <{name}>: "
            f"{len(text)} characters, at most {limit}"
        )
    return text


def read_integer(value: Json, name: str, allowed: range) -> int:
    """A JSON integer that must be there."""
    number = value.get(name)
    if type(number) is not int:  # True is an int to isinstance
        raise WireError(f"Invalid or missing field for <{name}>")
    if number not in allowed:
        raise WireError(
            f"Invalid or missing field for <{name}>: "
            f"not in {allowed.start} to {allowed.stop - 1}"
        )
    return number


def read_optional_integer(value: Json, name: str, default: int) -> int:
    """A JSON integer; as in Contrail, `default` stands for everything else: an absent
    member, null (which its Python port API sends), text, or a number over 32 bits.
    """
    number = value.get(name)
    return number if type(number) is int and number in INT32 else default


def read_uuid(value: Json, name: str) -> str:
    """A UUID, as lower case with dashes; 32 hex digits are taken too."""
    found = _normal_uuid(read_text(value, name, len(NIL), "data"))
    if found is None:
        raise WireError(f"Invalid or missing data for <{name}>")
    return found


def read_uuid_or_nil(value: Json, name: str) -> str:
    """A UUID; as in Contrail, text that is none stands for the nil UUID."""
    return _normal_uuid(read_text(value, name, len(NIL), "data")) or NIL


def read_tenant(value: Json, name: str, exact: str) -> str:
    """A project id. The member `exact`, ours, has it letter for letter. For Contrail's
    member `name`, a UUID with dashes, Keystone's 32 hex digits stand; "" for nil, and
    for what Contrail's tools send where there is none: "" (vrouter-port-control) and
    "None" (its Python port API).
    """
    if exact in value:
        text = read_text(value, exact, MAX_NAME)
        if not PROJECT.fullmatch(text):
            raise WireError(f"Invalid or missing data for <{exact}>")
        return text
    if value.get(name) in ("", "None"):
        return ""
    found = read_uuid(value, name)
    return "" if found == NIL else found.replace("-", "")


def dashed(tenant: str) -> str:
    """A project id as Contrail has it, a UUID with dashes; nil for any that is none."""
    return _normal_uuid(tenant) or NIL


def read_name(value: Json, name: str) -> str:
    """A name that people chose: any script, no control characters."""
    text = read_text(value, name, MAX_NAME)
    if CONTROL.search(text):
        raise WireError(f"Invalid or missing field for <{name}>: control character")
    return text


def read_tap(value: Json, name: str) -> str:
    """The name of a network interface."""
    tap = read_text(value, name, MAX_TAP)
    if not TAP.fullmatch(tap) or tap in RESERVED_TAPS:
        raise WireError(
            f"Invalid or missing field for <{name}>: not the name of a tap "
            "(letters, digits, _ . + -)"
        )
    return tap


def read_mac(value: Json, name: str) -> str:
    """A unicast MAC address, lower case, two digits a group."""
    text = read_text(value, name, MAX_MAC).lower()
    octets = [int(part, 16) for part in text.split(":")] if MAC.fullmatch(text) else []
    if not any(octets):
        raise WireError("Invalid MAC, Use xx:xx:xx:xx:xx:xx format")
    if octets[0] & 1:
        raise WireError("Invalid MAC, multicast or broadcast")
    return ":".join(f"{octet:02x}" for octet in octets)


def read_address(value: Json, name: str, family: type[Address]) -> Address | None:
    """A guest's address; None for text that is none (clients send `None`)."""
    return parse_address(read_text(value, name, MAX_ADDRESS), family)


def parse_address(text: str, family: type[Address]) -> Address | None:
    """The address; None for a text that is none, and for one that no guest can have. A
    zone (`%eth0`) is refused because it may be any text.
    """
    try:
        address = family(text)
    except ValueError:
        return None
    unusable = (
        "%" in text
        or address.is_unspecified
        or address.is_multicast
        or address.is_loopback
        or address == BROADCAST
    )
    return None if unusable else address


def read_vlans(value: Json) -> tuple[int, int]:
    """The VLAN ids of the frames that the guest sends, and of those that it
    receives.
    """
    rx, tx = (read_integer(value, name, VLANS) for name in ("rx-vlan-id", "tx-vlan-id"))
    if (rx > 0) != (tx > 0):
        said, other = ("RX (isolated)", "TX") if rx > 0 else ("TX", "RX (isolated)")
        raise WireError(f"Invalid request. {said} vlan set, but {other} vlan not set")
    return rx, tx


def read_further(value: Json, name: str) -> tuple[IPv4Address | IPv6Address, ...]:
    """More addresses of a guest: a list of texts, each of which must be one."""
    texts = value.get(name, [])
    if not isinstance(texts, list) or len(texts) > MAX_FURTHER:
        raise WireError(
            f"Invalid or missing field for <{name}>: "
            f"not a list of at most {MAX_FURTHER} addresses"
        )
    addresses = [
        parse_address(text, IPv4Address) or parse_address(text, IPv6Address)
        for text in texts
        if isinstance(text, str) and len(text) <= MAX_ADDRESS
    ]
    found = tuple(address for address in addresses if address is not None)
    if len(found) < len(texts) or len(set(found)) < len(found):
        raise WireError(
            f"Invalid or missing field for <{name}>: "
            "not a guest's address, or one that occurs twice"
        )
    return found


def read_learn(value: Json, name: str, *, apart_from: str) -> bool:
    """May the port learn its addresses? Not beside further ones: which of them a new
    one would replace is not known.
    """
    learn = value.get(name, False)
    if not isinstance(learn, bool):
        raise WireError(f"Invalid or missing field for <{name}>: not true or false")
    if learn and value.get(apart_from):
        raise WireError(
            f"Invalid or missing field for <{name}>: a port with <{apart_from}> cannot "
            "learn"
        )
    return learn


def read_remark(value: Json, name: str) -> str:
    """A short plain text; anything else becomes "", because nothing depends on it."""
    text = value.get(name)
    if not isinstance(text, str) or len(text) > MAX_NAME or CONTROL.search(text):
        return ""
    return text


def read_tokens(value: Json, name: str) -> PortTokens:
    """The port's mode of session tokens; if the member is absent, the mode that it has
    stays.
    """
    if name not in value:
        return PortTokens.UNSAID
    try:
        return PortTokens(read_text(value, name, MAX_NAME))
    except ValueError:
        allowed = ", ".join(filter(None, PortTokens))
        raise WireError(
            f"Invalid or missing field for <{name}>: not one of {allowed}"
        ) from None


def read_owner(value: Json, name: str, default: PortOwner) -> PortOwner:
    """Who makes the port; `default` where the member is absent."""
    if name not in value:
        return default
    try:
        return PortOwner(read_text(value, name, MAX_NAME))
    except ValueError:
        allowed = ", ".join(PortOwner)
        raise WireError(
            f"Invalid or missing field for <{name}>: not one of {allowed}"
        ) from None


def _normal_uuid(text: str) -> str | None:
    lower = text.lower()
    if UUID.fullmatch(lower):
        return lower
    if not PLAIN_UUID.fullmatch(lower):
        return None
    parts = (lower[:8], lower[8:12], lower[12:16], lower[16:20], lower[20:])
    return "-".join(parts)
