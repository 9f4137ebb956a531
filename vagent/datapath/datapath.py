"""The data path of one host: registered ports and provisioned services in, verdicts and
kernel state out. Wires the pure parts of this room to the kernel; decides nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from twisted.internet.interfaces import IReactorFDSet, IReactorTime

from vagent.config.model import DataPathConfig, WhenStopped
from vagent.datapath.endpoints.active_check import EndpointChecks
from vagent.datapath.endpoints.liveness import EndpointState, Liveness
from vagent.datapath.endpoints.passive_check import Witness
from vagent.datapath.events import (
    AgesMissing,
    GuardStays,
    Ipv6Missing,
    PortState,
    VlanMissing,
)
from vagent.datapath.fast_path.offload import FastPath
from vagent.datapath.names import SERVICE_MAC, TAG, Names
from vagent.datapath.rules.applier import Applier
from vagent.datapath.rules.counters import KernelWatch
from vagent.datapath.rules.features import Features, probe
from vagent.datapath.rules.ipv6 import open_ipv6
from vagent.datapath.rules.render import removal
from vagent.datapath.state import Attachment, Services, Tag
from vagent.datapath.system import System
from vagent.datapath.taps import LinkMonitor
from vagent.datapath.trap.flow_limits import FlowLimits
from vagent.datapath.trap.nfqueue import PacketTrap
from vagent.datapath.trap.verdicts import CountFlows, Judge
from vagent.errors import KernelError
from vagent.linklocal.service import LinkLocalService
from vagent.observe.event import Emit
from vagent.ports.port import Port, Registration

ACTIVE = "Active"
NO_DEVICE = "Inactive < no-dev >"
NO_ADDRESS = "Inactive < no-address >"
NO_VLAN = "Inactive < no-vlan >"
NOT_YET = "Inactive < kernel-pending >"


class DataPath:
    """Everything between the taps and the listener.

    `liveness` takes one of several endpoints, as well as `check` and the flows that the
    kernel carries say; `fast_path` is opened if configured; `count_flows` asks the
    kernel how many flows each port has, by its index.
    """

    def __init__(
        self,
        config: DataPathConfig,
        names: Names,
        *,
        limits: FlowLimits,
        count_flows: CountFlows,
        system: System,
        liveness: Liveness,
        checks: EndpointChecks,
        fast_path: FastPath,
        emit: Emit,
        reactor: IReactorFDSet,
        clock: IReactorTime,
    ) -> None:
        self._names = names
        self._system = system
        self._emit = emit
        self._services = Services.of((), names, None)
        self._features = Features(nft_queue=True)
        self._when_stopped = config.when_stopped
        self._uses_fast_path = config.fast_path
        self._fast_path = fast_path
        self._owned = False
        self._made_interfaces = False
        self._in_force = False
        self._registered: dict[int, Registration] = {}
        self._by_tap: dict[str, set[int]] = {}
        self._applier = Applier(
            names,
            system=system,
            services=self._services,
            refresh=self._look_at_all,
            fast_path=fast_path,
            emit=emit,
            clock=clock,
        )
        self._liveness = liveness
        self._checks = checks
        self._witness = Witness(liveness, find=system.find_flow, emit=emit, clock=clock)
        self._judge = Judge(
            int(config.identity_range.network_address),
            limits=limits,
            count_flows=count_flows,
            liveness=liveness,
            witness=self._witness,
            attachment_of=self._applier.applied,
            system=system,
            emit=emit,
            clock=clock,
        )
        fast_path.guests = self._judge.guests
        # What is told of a guest names its port.
        self._judge.registered = self._registered
        fast_path.registered = self._registered
        liveness.registered = self._registered
        self._trap = PacketTrap(
            config.queue_number,
            queue_length=config.queue_length,
            judge=self._judge.judge,
            told=self._judge.refused,
            emit=emit,
            reactor=reactor,
        )
        self._links = LinkMonitor(self._look_at, reactor=reactor)
        self._limits = limits
        self.watch = KernelWatch(
            names,
            system=system,
            lost=self._applier.put_back,
            looked=self._judge.count_again,
            emit=emit,
            clock=clock,
        )

    async def prepare(self) -> None:
        """Make the interfaces, for the listener to bind to. Raises KernelError."""
        self._features = await probe(self._system, self._names.table)
        await self._make_interfaces()
        if not self._features.ct_timeout:
            self._emit(AgesMissing())
        missing = await open_ipv6(self._names, self._features, self._system)
        if missing:
            self._emit(Ipv6Missing(missing))
        no_vlan = await self._make_tag_side()
        if no_vlan:
            self._emit(VlanMissing(no_vlan))
        self._features = replace(self._features, ipv6=not missing, vlan=not no_vlan)

    @property
    def carries_ipv6(self) -> bool:
        """Does this host serve IPv6? Known after `prepare`."""
        return self._features.ipv6

    async def start(self) -> None:
        """Open the queue, then put the rules in place. Raises KernelError; what was
        begun is then taken back by `stop`.
        """
        self._trap.open()
        self._owned = True
        if self._uses_fast_path:
            self._fast_path.open()
        else:
            self._fast_path.clear()
        self._links.open()
        self.watch.start()
        self._checks.start()
        self._look_at_all()
        await self._applier.start(
            self._features, self._system.mac(self._names.host_side)
        )
        self._in_force = True

    async def stop(self) -> None:
        """Leave rules and interfaces as a guard, closed for new flows, where there are
        ports to guard; else take away everything that is ours, as far as the kernel
        lets us. Another agent's rules of the same name are not: whoever has the queue
        owns them.
        """
        self._applier.stop()
        self.watch.stop()
        self._checks.stop()
        self._witness.stop()
        self._links.close()
        self._trap.close()
        self._fast_path.close()
        if self._guards():
            self._emit(GuardStays(len(self._registered)))
            return
        if self._owned:
            await self._system.run_nft(removal(self._names, self._features))
        if self._made_interfaces or self._owned:
            await self._system.run_ip(f"link del {self._names.guest_side}\n")

    async def settle(self) -> None:
        """Return when the kernel serves what is registered and provisioned now. Raises
        KernelError when it refused.
        """
        await self._applier.settled()

    def port_changed(self, old: Registration | None, new: Registration | None) -> None:
        """A port was registered (old is None), replaced, or removed (new is None)."""
        taps = set()
        if old is not None:
            taps.add(old.port.tap)
            self._forget(old, kept=() if new is None else new.indexes)
        if new is not None:
            taps.add(new.port.tap)
            for index in new.indexes:
                self._registered[index] = new
                self._judge.guests[index] = new.index
            self._by_tap.setdefault(new.port.tap, set()).update(new.indexes)
        self._look_at(taps)

    def services_changed(self, services: Iterable[LinkLocalService]) -> None:
        """The provisioned services are these now."""
        self._services = Services.of(services, self._names, self._services)
        self._judge.offers = self._services.offers
        self._liveness.follow(self._services.fabric())
        self._witness.follow(self._services.offered())
        self._checks.follow(self._services)
        self._applier.offer(self._services)

    def endpoints_of(self, service: LinkLocalService) -> tuple[EndpointState, ...]:
        """The fabric endpoints that a service has now, and how they are."""
        offer = self._services.offers.get((int(service.address), service.port))
        states = map(self._liveness.state, offer.endpoints if offer else ())
        return tuple(state for state in states if state is not None)

    def state(self, registration: Registration) -> str:
        """The port's state in Contrail's words: `Active` or `Inactive < why >`."""
        why_not = self._why_not(registration.port)
        if why_not:
            return why_not
        if all(map(self._applier.is_applied, registration.indexes)):
            return ACTIVE
        if self._system.ifindex(registration.port.tap) is None:
            return NO_DEVICE
        return NOT_YET

    def _guards(self) -> bool:
        """Are there ports to guard, and rules that do, be they of an agent before?"""
        return (
            self._when_stopped is WhenStopped.GUARD
            and self._owned
            and bool(self._registered)
            and (self._in_force or not self._made_interfaces)
        )

    async def _make_interfaces(self) -> None:
        names, system = self._names, self._system
        guest_side, host_side = names.guest_side, names.host_side
        if not await self._adopts_interfaces():
            await system.run_ip(
                f"link add {guest_side} type veth peer name {host_side}\n"
            )
            self._made_interfaces = True
            for side in (guest_side, host_side):
                # No router or neighbour discovery on interfaces without neighbours, and
                # no IPv6 at all before `open_ipv6`. The key is absent where IPv6 is.
                if system.has_sysctl(f"net/ipv6/conf/{side}/disable_ipv6"):
                    system.write_sysctl(f"net/ipv6/conf/{side}/disable_ipv6", "1")
        # A fabric endpoint 127.0.0.1 means this host; only translated flows get there.
        system.write_sysctl(f"net/ipv4/conf/{host_side}/route_localnet", "1")
        system.write_sysctl(f"net/ipv4/conf/{host_side}/forwarding", "1")
        await system.run_ip(
            f"link set {guest_side} up\n"
            f"link set {host_side} address {SERVICE_MAC} arp off up\n"
            f"addr replace {names.listener_interface} dev {host_side}\n"
        )

    async def _adopts_interfaces(self) -> bool:
        """Is the pair of an agent before us there, to be used without a gap? One that
        is half made, or has another identity range, is taken away with its routes.
        Raises KernelError where an interface of such a name is somebody else's.
        """
        names, system = self._names, self._system
        tied = {
            names.guest_side: names.host_side,
            names.host_side: names.guest_side,
            names.tag_side: names.guest_side,
        }
        there = [name for name in tied if system.ifindex(name) is not None]
        for name in there:
            if system.linked(name) != system.ifindex(tied[name]):
                raise KernelError(
                    f"interface {name} is not ours, as it is not tied to {tied[name]};"
                    " rename it, or choose another <name> in <data-path>"
                )
        if not there:
            return False
        if system.address(names.host_side) == names.listener_interface:
            return True
        await system.run_ip(f"link del {names.guest_side}\n")
        return False

    async def _make_tag_side(self) -> str:
        """Make the interface that tags replies; why this kernel cannot, or ""."""
        names, system = self._names, self._system
        if system.ifindex(names.tag_side) is None:
            try:
                await system.run_ip(
                    f"link add link {names.guest_side} name {names.tag_side}"
                    f" type vlan id {TAG}\n"
                )
            except KernelError as failure:
                return str(failure)
        if system.has_sysctl(f"net/ipv6/conf/{names.tag_side}/disable_ipv6"):
            system.write_sysctl(f"net/ipv6/conf/{names.tag_side}/disable_ipv6", "1")
        await system.run_ip(f"link set {names.tag_side} up\n")
        return ""

    def _look_at(self, taps: set[str] | None) -> None:
        if taps is None:
            self._look_at_all()
            return
        for tap in taps:
            for index in self._by_tap.get(tap, ()):
                self._look(index)

    def _look_at_all(self) -> None:
        for index in self._registered:
            self._look(index)

    def _look(self, index: int) -> None:
        registration = self._registered[index]
        port = registration.port
        ifindex = self._system.ifindex(port.tap)
        why_not = self._why_not(port)
        address, address6 = registration.addresses_at(index)
        if why_not or ifindex is None:
            self._applier.detach(index)
            state = why_not or NO_DEVICE
        else:
            self._applier.attach(
                Attachment(
                    index=index,
                    identity=registration.identity_at(index),
                    tap=port.tap,
                    ifindex=ifindex,
                    mac=port.mac,
                    address=address,
                    address6=address6 if self._features.ipv6 else None,
                    takes_link_local=self._takes_link_local(index, port),
                    tag=self._tag(port),
                    port=registration.index if registration.further else None,
                )
            )
            state = f"wanted at interface {ifindex}"
        self._emit(PortState(port.id, port.tap, state))

    def _why_not(self, port: Port) -> str:
        """Why a port cannot be served at any tap, or "". A guest has a link-local
        address, where IPv6 is, whatever is registered.
        """
        if port.address is None and not self._features.ipv6:
            return NO_ADDRESS
        return NO_VLAN if port.vlan and not self._features.vlan else ""

    def _takes_link_local(self, index: int, port: Port) -> bool:
        """One port of a tap, VLAN and MAC does: the first."""
        return self._features.ipv6 and not any(
            other < index and _is_beside(self._registered[other].port, port)
            for other in self._by_tap[port.tap]
        )

    def _tag(self, port: Port) -> Tag | None:
        if not port.vlan:
            return None
        ifindex = self._system.ifindex(self._names.tag_side)
        return None if ifindex is None else Tag(port.rx_vlan, port.tx_vlan, ifindex)

    def _forget(self, registration: Registration, kept: Collection[int]) -> None:
        """The port is not at this place any more; indexes that it keeps stay wanted."""
        indexes = self._by_tap[registration.port.tap]
        indexes.difference_update(registration.indexes)
        if not indexes:
            del self._by_tap[registration.port.tap]
        for index in set(registration.indexes).difference(kept):
            del self._registered[index]
            del self._judge.guests[index]
            self._limits.forget(index)
            self._liveness.forget(index)
            self._witness.forget(index)
            self._applier.detach(index)


def _is_beside(one: Port, other: Port) -> bool:
    return (one.mac, one.vlan) == (other.mac, other.vlan)
