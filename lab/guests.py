"""Guests behind taps: one machine is the host, each guest is a machine of its own.

The host's end of a veth pair is the tap. A guest may be bridged behind a gateway that
is not the host, bridged with the link-local network on-link, or routed by the host.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from lab.namespaces import Machine, run


class Wiring(Enum):
    """How a guest is connected, and how it finds 169.254.169.254."""

    BRIDGED = "Linux bridge, default gateway is another machine"
    ON_LINK = "Linux bridge, 169.254.0.0/16 on-link"
    ROUTED = "routed tap, the host is the gateway"


@dataclass(frozen=True, slots=True)
class Guest:
    """One guest. `port_id`, `instance_id` and `tenant_id` are what gets registered."""

    name: str
    machine: Machine
    wiring: Wiring
    tap: str
    mac: str
    address: str
    port_id: str
    instance_id: str
    tenant_id: str


@dataclass(slots=True)
class Lab:
    """A host with guests. `prefix` keeps two labs on one machine apart."""

    prefix: str
    host: Machine = field(init=False)
    guests: list[Guest] = field(default_factory=list)
    _machines: list[Machine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.host = self._machine("host")

    def close(self) -> None:
        """Take everything away."""
        for machine in reversed(self._machines):
            machine.destroy()

    @staticmethod
    def remains(prefix: str, names: Iterable[str]) -> None:
        """Take away what a lab of this prefix may have left behind."""
        for name in names:
            Machine(f"{prefix}-{name}").destroy()

    def bridge(self, name: str, gateway: str) -> None:
        """A bridge of the host, with a gateway machine on it that is not the host."""
        self.host.run("ip", "link", "add", name, "type", "bridge")
        self.host.run("ip", "link", "set", name, "up")
        router = self._machine(f"{name}-gw")
        self._wire(router, f"{name}-gw")
        self.host.run("ip", "link", "set", f"{name}-gw", "master", name)
        router.run("ip", "address", "add", gateway, "dev", "eth0")

    def guest(
        self,
        name: str,
        wiring: Wiring,
        *,
        address: str,
        gateway: str,
        bridge: str = "",
        mac: str = "",
    ) -> Guest:
        """A guest with `address` (with prefix length) whose router is `gateway`."""
        number = len(self.guests) + 1
        machine = self._machine(name)
        tap = f"tap-{name}"[:15]
        mac = mac or f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
        self._wire(machine, tap, mac=mac)
        machine.run("ip", "address", "add", address, "dev", "eth0")
        if wiring is Wiring.ROUTED:
            length = address.partition("/")[2]
            self.host.run("ip", "address", "add", f"{gateway}/{length}", "dev", tap)
        else:
            self.host.run("ip", "link", "set", tap, "master", bridge)
        machine.run("ip", "route", "add", "default", "via", gateway)
        if wiring is Wiring.ON_LINK:
            machine.run("ip", "route", "add", "169.254.0.0/16", "dev", "eth0")
        guest = Guest(
            name=name,
            machine=machine,
            wiring=wiring,
            tap=tap,
            mac=mac,
            address=address.partition("/")[0],
            port_id=str(uuid.uuid4()),
            instance_id=str(uuid.uuid4()),
            tenant_id=uuid.uuid4().hex,
        )
        self.guests.append(guest)
        return guest

    def _machine(self, name: str) -> Machine:
        machine = Machine.create(f"{self.prefix}-{name}")
        self._machines.append(machine)
        return machine

    def _wire(self, machine: Machine, tap: str, mac: str = "") -> None:
        given = ["address", mac] if mac else []
        run(
            *("ip", "link", "add", tap, "netns", self.host.name, "type", "veth"),
            *("peer", "name", "eth0", *given, "netns", machine.name),
        )
        self.host.run("ip", "link", "set", tap, "up")
        machine.run("ip", "link", "set", "eth0", "up")
