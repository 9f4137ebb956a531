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
from lab.openvswitch import Switch


class Wiring(Enum):
    """How a guest is connected, and how it finds 169.254.169.254."""

    BRIDGED = "Linux bridge, default gateway is another machine"
    ON_LINK = "Linux bridge, 169.254.0.0/16 on-link"
    ROUTED = "routed tap, the host is the gateway"
    SWITCHED = "Open vSwitch port, default gateway is another machine"


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
    address6: str = ""

    def link_local(self) -> str:
        """The IPv6 address that its kernel gave its interface; "" until it has one."""
        shown = self.machine.run(
            *("ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link"),
            "-tentative",
        )
        return shown.split()[3].partition("/")[0] if shown else ""


@dataclass(slots=True)
class Lab:
    """A host with guests. `prefix` keeps two labs on one machine apart."""

    prefix: str
    host: Machine = field(init=False)
    guests: list[Guest] = field(default_factory=list)
    _machines: list[Machine] = field(default_factory=list)
    _switches: dict[str, Switch] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.host = self.machine("host")

    def close(self) -> None:
        """Take everything away."""
        for machine in reversed(self._machines):
            machine.destroy()

    @staticmethod
    def remains(prefix: str, names: Iterable[str]) -> None:
        """Take away what a lab of this prefix may have left behind."""
        for name in names:
            Machine(f"{prefix}-{name}").destroy()

    def bridge(self, name: str, gateway: str, switch: Switch | None = None) -> None:
        """A bridge of the host, or of a switch on it, with a gateway machine on it that
        is not the host.
        """
        if switch is None:
            self.host.run("ip", "link", "add", name, "type", "bridge")
        else:
            switch.bridge(name)
            self._switches[name] = switch
        self.host.run("ip", "link", "set", name, "up")
        router = self.machine(f"{name}-gw")
        self._wire(router, f"{name}-gw")
        self._plug(f"{name}-gw", name)
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
        address6: str = "",
    ) -> Guest:
        """A guest with `address` (with prefix length) whose router is `gateway`.

        `address6` (with prefix length) is one more, for IPv6; it has a link-local
        address in any case, and the way to EC2's IPv6 service address is on-link.
        """
        number = len(self.guests) + 1
        machine = self.machine(name)
        tap = f"tap-{name}"[:15]
        mac = mac or f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
        self._wire(machine, tap, mac=mac)
        machine.run("ip", "address", "add", address, "dev", "eth0")
        if wiring is Wiring.ROUTED:
            length = address.partition("/")[2]
            self.host.run("ip", "address", "add", f"{gateway}/{length}", "dev", tap)
        else:
            self._plug(tap, bridge)
        machine.run("ip", "route", "add", "default", "via", gateway)
        if wiring is Wiring.ON_LINK:
            machine.run("ip", "route", "add", "169.254.0.0/16", "dev", "eth0")
        if address6:
            machine.run("ip", "address", "add", address6, "dev", "eth0", "nodad")
        onlink = ("ip", "-6", "route", "add", "fd00:ec2::254", "dev", "eth0")
        machine.run(*onlink, check=False)  # there may be no IPv6 here
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
            address6=address6.partition("/")[0],
        )
        self.guests.append(guest)
        return guest

    def beyond(self, name: str, address: str, gateway: str) -> Machine:
        """A machine of the fabric: the host is its router, at `gateway`. `address` has
        the prefix length of both.
        """
        machine = self.machine(name)
        self._wire(machine, name)
        length = address.partition("/")[2]
        self.host.run("ip", "address", "add", f"{gateway}/{length}", "dev", name)
        machine.run("ip", "address", "add", address, "dev", "eth0")
        machine.run("ip", "route", "add", "default", "via", gateway)
        return machine

    def machine(self, name: str) -> Machine:
        """One more machine, without any interface; it goes with the lab."""
        machine = Machine.create(f"{self.prefix}-{name}")
        self._machines.append(machine)
        return machine

    def _plug(self, interface: str, bridge: str) -> None:
        if bridge in self._switches:
            self._switches[bridge].port(bridge, interface)
        else:
            self.host.run("ip", "link", "set", interface, "master", bridge)

    def _wire(self, machine: Machine, tap: str, mac: str = "") -> None:
        given = ["address", mac] if mac else []
        run(
            *("ip", "link", "add", tap, "netns", self.host.name, "type", "veth"),
            *("peer", "name", "eth0", *given, "netns", machine.name),
        )
        self.host.run("ip", "link", "set", tap, "up")
        machine.run("ip", "link", "set", "eth0", "up")
