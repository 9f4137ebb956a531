"""What the watcher has to tell the port API: the ports that there should be, beside
those that there are. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vagent.guests.wanted import WantedPort, is_as_wanted
from vagent.ports.port import Port, PortOwner


@dataclass(frozen=True, slots=True)
class Correction:
    """Ports to register, UUIDs of ports of ours to remove, and what is left alone
    because somebody else registered a port for it.
    """

    register: tuple[WantedPort, ...] = ()
    remove: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def difference(wanted: Iterable[WantedPort], found: Iterable[Port]) -> Correction:
    """From what is registered (`found`) to what is wanted. A port that somebody else
    made goes ahead of ours: the one with the same UUID, and any on the same tap. One of
    ours that is there beside it goes.
    """
    there = {port.id: port for port in found}
    others_at = {
        port.tap: port for port in there.values() if port.owner is not PortOwner.WATCHER
    }
    register: list[WantedPort] = []
    others: list[str] = []
    stays: set[str] = set()
    for each in wanted:
        port = each.port
        old = there.get(port.id)
        if old is not None and old.owner is not PortOwner.WATCHER:
            others.append(f"port {port.id} belongs to {old.owner}")
        elif port.tap in others_at:
            other = others_at[port.tap]
            others.append(f"tap {port.tap} has port {other.id} of {other.owner}")
        else:
            stays.add(port.id)
            if old is None or not is_as_wanted(old, port):
                register.append(each)
    ours = (p.id for p in there.values() if p.owner is PortOwner.WATCHER)
    remove = tuple(port_id for port_id in ours if port_id not in stays)
    return Correction(tuple(register), remove, tuple(others))
