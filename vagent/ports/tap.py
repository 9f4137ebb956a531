"""Which ports may share a tap, and when a port still stands for the same guest. Pure.

A guest is known by its tap. If ports of two instances were on one tap, each guest could
use the other's address and would be taken for it. So a port that was not removed when
its guest went keeps ports of other instances off the tap until it is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from vagent.errors import ConflictError, LimitError
from vagent.ports.port import Port, PortOwner, PortTokens

MAX_ON_TAP = 64
"""Identity addresses of one tap, that is ports and their further addresses: more than
any cloud gives a guest, and few enough to compare whenever one changes."""

Place = tuple[int, IPv4Address | IPv6Address]
"""Where an address is on a tap: the VLAN (0 for none) and the address."""


def is_same_guest(old: Port, new: Port) -> bool:
    """May the new port keep the identity address of the old one? It may if it is the
    same guest; an address that was not known before may be added.
    """
    return (
        is_same_place(old, new)
        and old.address in (None, new.address)
        and old.address6 in (None, new.address6)
    )


def is_same_place(old: Port, new: Port) -> bool:
    """Do both stand for the same instance at the same tap, VLAN and MAC address?"""
    return (old.tap, old.vlan, old.tx_vlan, old.mac, old.instance_id) == (
        new.tap,
        new.vlan,
        new.tx_vlan,
        new.mac,
        new.instance_id,
    )


def renewed(old: Port, new: Port) -> Port:
    """The port to store when one of the same instance is registered again.

    The client and the time of registration do not count as changes, nor does the mode
    of session tokens: tokens are bound to the old `time`, which stays, so they remain
    valid. If the client does not name a mode, the port keeps the one that it has, and
    an address that was learned stays as long as the client does not name another. Its
    owner stays, too, unless that is the watcher, from which everybody else takes over.
    """
    if old.learn and new.learn and is_same_place(old, new):
        new = replace(
            new,
            address=new.address or old.address,
            address6=new.address6 or old.address6,
        )
    unsaid = new.session_tokens is PortTokens.UNSAID
    tokens = old.session_tokens if unsaid else new.session_tokens
    taken_over = old.owner is PortOwner.WATCHER
    again = replace(
        new,
        author=old.author,
        time=old.time,
        session_tokens=old.session_tokens,
        owner=new.owner if taken_over else old.owner,
    )
    new = replace(new, owner=again.owner)
    return replace(old if again == old else new, session_tokens=tokens)


def check_owner(old: Port, new: Port) -> None:
    """Check that a port may be registered in place of the one with its id.

    Raises ConflictError where the watcher asks for a port that somebody else made.
    """
    if new.owner is PortOwner.WATCHER and old.owner is not PortOwner.WATCHER:
        raise ConflictError(
            f"port {old.id} was made by another owner ({old.owner}), and the watcher "
            "changes its own ports alone; delete that port first"
        )


def check_tap(tap: str, ports: Iterable[Port]) -> None:
    """Check that these ports may be on this tap together.

    Raises ConflictError, naming the earlier port that is in the way, or LimitError.
    """
    owner: Port | None = None
    holders: dict[Place, Port] = {}
    in_vlan: dict[int, Port] = {}
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
        _check_alone(port, in_vlan)
        _claim(port, holders)


def _check_alone(port: Port, in_vlan: dict[int, Port]) -> None:
    """A port that learns its address is alone on its tap and VLAN: else what it would
    learn might be the other's.
    """
    other = in_vlan.setdefault(port.vlan, port)
    if other is not port and (port.learn or other.learn):
        raise ConflictError(
            f"{_where(port)} has port {other.id}, and a port that learns its address "
            "must be alone there; delete one of them, or register both without learn"
        )


def _claim(port: Port, holders: dict[Place, Port]) -> None:
    for address in port.addresses:
        holder = holders.get((port.vlan, address))
        holders[port.vlan, address] = port
        if holder is not None:
            raise ConflictError(
                f"{_where(port)} already has {address} (port {holder.id}); "
                "delete that port first"
            )


def _where(port: Port) -> str:
    return f"tap {port.tap}" + (f" VLAN {port.vlan}" if port.vlan else "")
