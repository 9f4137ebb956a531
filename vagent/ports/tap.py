"""Who may be on a tap, and who is still the same guest: decisions over Port values.

A tap is what a guest is known by. If two instances were on one, each could take the
other's address and with it the other's identity, so a port that nobody removed when its
guest went keeps the next guest out until it is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from vagent.errors import ConflictError, LimitError
from vagent.ports.port import Port, PortTokens

MAX_ON_TAP = 64
"""Identities of one tap, that is ports and their further addresses: more than any cloud
gives, and few enough to look at each time one of them changes."""

Place = tuple[int, IPv4Address | IPv6Address]
"""A VLAN of the tap (0 for none), and an address in it."""


def is_same_guest(old: Port, new: Port) -> bool:
    """May `new` keep the identity of `old`? An address that was unknown may appear."""
    return (
        (old.tap, old.vlan, old.tx_vlan, old.mac, old.instance_id)
        == (new.tap, new.vlan, new.tx_vlan, new.mac, new.instance_id)
        and old.address in (None, new.address)
        and old.address6 in (None, new.address6)
    )


def renewed(old: Port, new: Port) -> Port:
    """What a port of one instance is when it is registered again.

    Who says so, and when, is no change, and so is the mode of its session tokens: they
    are bound to `time`, and stay good. An orchestrator that knows nothing of that mode
    does not take it away.
    """
    unsaid = new.session_tokens is PortTokens.UNSAID
    tokens = old.session_tokens if unsaid else new.session_tokens
    again = replace(
        new, author=old.author, time=old.time, session_tokens=old.session_tokens
    )
    return replace(old if again == old else new, session_tokens=tokens)


def check_tap(tap: str, ports: Iterable[Port]) -> None:
    """May all these ports be on this tap together?

    Raises ConflictError, naming the port that is in the way (the earlier one), or
    LimitError.
    """
    owner: Port | None = None
    holders: dict[Place, Port] = {}
    number = 0
    for port in ports:
        number += len(port.slots)
        owner = owner or port
        if port.instance_id != owner.instance_id:
            raise ConflictError(
                f"tap {tap} belongs to instance {owner.instance_id} "
                f"(port {owner.id}); delete that port first"
            )
        if number > MAX_ON_TAP:
            raise LimitError(
                f"tap {tap} would have {number} ports and further addresses, "
                f"at most {MAX_ON_TAP}"
            )
        _claim(port, holders)


def _claim(port: Port, holders: dict[Place, Port]) -> None:
    for address in port.addresses:
        holder = holders.get((port.vlan, address))
        holders[port.vlan, address] = port
        if holder is not None:
            where = f"tap {port.tap}" + (f" VLAN {port.vlan}" if port.vlan else "")
            raise ConflictError(
                f"{where} already has {address} (port {holder.id}); "
                "delete that port first"
            )
