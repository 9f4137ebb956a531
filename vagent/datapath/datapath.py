"""The data path of one host: registered ports and provisioned services in, verdicts and
kernel state out. Wires the pure parts of this room to the kernel; decides nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from twisted.internet.interfaces import IReactorFDSet, IReactorTime

from vagent.config.model import DataPathConfig, WhenStopped
from vagent.datapath.endpoints.active_check import EndpointChecks
from vagent.datapath.endpoints.health import EndpointHealth, EndpointState
from vagent.datapath.endpoints.passive_check import PassiveCheck
from vagent.datapath.events import (
    AgesMissing,
    GuardStays,
    Ipv6Missing,
    PortState,
)
from vagent.datapath.fast_path.offload import FastPath
from vagent.datapath.interfaces import (
    make_namespace,
    make_pairs,
    remove_all,
    trouble_with_pairs,
)
from vagent.datapath.lost_filters import LostFilters
from vagent.datapath.names import SERVICE_MAC, Names
from vagent.datapath.rules.applier import Applier
from vagent.datapath.rules.counters import KernelWatch
from vagent.datapath.rules.features import Features, probe
from vagent.datapath.rules.ipv6 import open_ipv6
from vagent.datapath.rules.render import former_removal
from vagent.datapath.rules.rules_changes import RulesChanges
from vagent.datapath.rules.rules_watch import LOOK_DEADLINE, RulesWatch
from vagent.datapath.rules.uplink import uplink_removal
from vagent.datapath.state import USUAL_MTU, Address, Attachment, Services, Tag
from vagent.datapath.system import System
from vagent.datapath.tap.guard import TapGuard
from vagent.datapath.tap.layout import Constants
from vagent.datapath.taps import LinkMonitor
from vagent.datapath.trap.flow_limits import FlowLimits
from vagent.datapath.trap.icmp_reject import IcmpReject
from vagent.datapath.trap.nfqueue import PacketTrap
from vagent.datapath.trap.recount import CountFlows, FlowRecount
from vagent.datapath.trap.verdicts import Verdicts
from vagent.errors import KernelError
from vagent.kernel.namespace import Namespace, OwnNetwork
from vagent.linklocal.service import LinkLocalService
from vagent.observe.event import Emit
from vagent.ports.port import Port, Registration
from vagent.ports.registry import Change

ACTIVE = "Active"
NO_DEVICE = "Inactive < no-dev >"
NO_ADDRESS = "Inactive < no-address >"
NOT_YET = "Inactive < kernel-pending >"
NOT_KNOWN = "the data path does not know it yet"
NO_ENDPOINT = "it has no fabric address to which flows can go"


class DataPath:
    """The data path of one host, between the taps and the listener.

    `guests` has the registered ports by index; the registry changes it. `health`
    chooses among the endpoints of a service, by what `checks` and the flows of guests
    say of them. `fast_path` is opened if configured. `count_flows` asks the kernel how
    many flows each index has.
    """

    def __init__(
        self,
        config: DataPathConfig,
        names: Names,
        *,
        guests: Mapping[int, Registration],
        limits: FlowLimits,
        count_flows: CountFlows,
        host: System,
        inside: System,
        namespace: Namespace,
        taps: TapGuard,
        health: EndpointHealth,
        checks: EndpointChecks,
        fast_path: FastPath,
        emit: Emit,
        reactor: IReactorFDSet,
        clock: IReactorTime,
    ) -> None:
        self._names = names
        self._host = host
        self._inside = inside
        self._namespace = namespace
        self._taps = taps
        self._emit = emit
        self._services = Services.of((), names, None)
        self._features = Features(nft_queue=True)
        self._when_stopped = config.when_stopped
        self._uses_fast_path = config.fast_path
        self._fast_path = fast_path
        self._owned = False
        self._made_interfaces = False
        self._in_force = False
        self._guests = guests
        self._at_tap: dict[str, set[int]] = {}
        self._applier = Applier(
            names,
            inside=inside,
            host=host,
            taps=taps,
            services=self._services,
            refresh=self._look_at_all,
            fast_path=fast_path,
            emit=emit,
            clock=clock,
        )
        self._health = health
        self._checks = checks
        self._passive_check = PassiveCheck(
            health, find=inside.find_flow, emit=emit, clock=clock
        )
        self._recount = FlowRecount(
            limits,
            count_flows=count_flows,
            guests=guests,
            end_flows_of=self._applier.end_flows_of,
            emit=emit,
            clock=clock,
        )
        self._verdicts = Verdicts(
            int(config.identity_range.network_address),
            guests=guests,
            limits=limits,
            recount=self._recount,
            health=health,
            passive_check=self._passive_check,
            icmp_reject=IcmpReject(
                attachment_of=self._applier.applied,
                system=host,
                emit=emit,
                clock=clock,
            ),
            emit=emit,
            clock=clock,
        )
        self._trap = PacketTrap(
            config.queue_number,
            queue_length=config.queue_length,
            mark_of=self._verdicts.mark_of,
            reject=self._verdicts.reject,
            network=namespace,
            emit=emit,
            reactor=reactor,
        )
        self.hold_back_metadata = self._verdicts.hold_back_metadata
        self._links = LinkMonitor(
            self._look_at,
            LostFilters(taps, emit=emit, clock=clock).discipline_changed,
            reactor=reactor,
        )
        self._limits = limits
        self.watch = KernelWatch(
            names,
            inside=inside,
            host=host,
            drops=taps.drops,
            looked=self._recount.from_time_to_time,
            emit=emit,
            clock=clock,
        )

        self._rules_watch = RulesWatch(
            self._applier.look,
            lambda: self._applier.look(at_taps=False),
            clock=clock,
        )
        self._rules_changes = [
            RulesChanges(network, self._rules_watch.changed, reactor=reactor)
            for network in (OwnNetwork(), namespace)
        ]
        self._told_late = False

    async def prepare(self) -> None:
        """Make the interfaces, for the listener to bind to. Raises KernelError."""
        names, host, inside = self._names, self._host, self._inside
        await make_namespace(names, host, self._namespace)
        self._features = await probe(inside, names.table)
        self._made_interfaces = await make_pairs(names, host, inside)
        if not self._features.ct_timeout:
            self._emit(AgesMissing())
        missing = await open_ipv6(names, self._features, host, inside)
        if missing:
            self._emit(Ipv6Missing(missing))
        self._features = replace(self._features, ipv6=not missing)

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
        self._links.open()
        self.watch.start()
        self._rules_watch.start()
        for each in self._rules_changes:
            each.open()
        self._checks.start()
        self._look_at_all()
        self._taps.open(self._constants())
        if self._uses_fast_path:
            self._fast_path.open()
        await self._applier.start(self._features)
        await self._host.run_nft(former_removal(self._names, self._features))
        self._in_force = True
        self._recount.at_start()

    async def stop(self) -> None:
        """Where there are ports to guard, leave rules and interfaces in force, which
        then let no new flow in; else take away everything that is ours, as far as the
        kernel lets us. What has our name is another agent's if that has the queue, and
        then stays.
        """
        self._applier.stop()
        self.watch.stop()
        for each in self._rules_changes:
            each.close()
        self._rules_watch.stop()
        self._checks.stop()
        self._passive_check.stop()
        self._links.close()
        self._trap.close()
        self._fast_path.close()
        if self._guards():
            self._taps.close()
            self._emit(GuardStays(len(self._guests)))
            return
        try:
            if self._owned:
                self._taps.remove()
                self._taps.close()
                await self._host.run_nft(
                    uplink_removal(self._names, features=self._features)
                )
        finally:
            if self._made_interfaces or self._owned:
                await remove_all(self._names, self._host)
            self._namespace.close()

    async def look(self) -> None:
        """Ask the kernel whether our rules are in force, and put them back if not;
        `trouble` then says what was found. Takes LOOK_DEADLINE seconds at most.
        """
        self._told_late = not await self._rules_watch.ask()

    @property
    def trouble(self) -> str:
        """Why guests are not served as wanted, by the last look; "" if they are."""
        late = self._told_late and (
            f"the kernel took more than {LOOK_DEADLINE:g} s to say which rules it holds"
        )
        pair = trouble_with_pairs(self._names, self._host, self._inside)
        return pair or late or self._applier.trouble

    async def settle(self) -> None:
        """Return when the kernel serves what is registered and provisioned now, and the
        flows of what went have ended. Raises KernelError when it refused the rules.
        """
        await self._applier.settled()

    def ports_changed(self, change: Change) -> None:
        """Ports were registered, replaced or removed. The registry (`guests`) has
        changed already.
        """
        kept = {index for new in change.added for index in new.indexes}
        for old in change.removed:
            self._forget(old, kept)
        for new in change.added:
            self._at_tap.setdefault(new.port.tap, set()).update(new.indexes)
        concerned = (*change.removed, *change.added)
        self._look_at(dict.fromkeys(each.port.tap for each in concerned))

    def services_changed(self, services: Iterable[LinkLocalService]) -> None:
        """These services are provisioned now."""
        self._services = Services.of(services, self._names, self._services)
        self._verdicts.follow(self._services)
        self._health.follow(self._services.fabric)
        self._passive_check.follow(self._services.offered)
        self._checks.follow(self._services)
        self._applier.offer(self._services)

    @property
    def near_endpoints(self) -> dict[tuple[Address, int], tuple[Address, int]]:
        """Where the namespace sends flows to services of this host, and where these
        are.
        """
        uplink = self._names.uplink_address
        return {
            each.seen_inside(uplink): (each.address, each.port)
            for each in self._services.endpoints
            if each.is_near
        }

    def endpoints_of(self, service: LinkLocalService) -> tuple[EndpointState, ...]:
        """The fabric endpoints that a service has now, and how they are."""
        offer = self._services.offers.get((int(service.address), service.port))
        states = map(self._health.state, offer.endpoints if offer else ())
        return tuple(state for state in states if state is not None)

    def why_not_served(self, service: LinkLocalService) -> str:
        """Why no flow of a guest gets to this service, or ""."""
        offer = self._services.offers.get((int(service.address), service.port))
        if offer is None:
            return NOT_KNOWN
        if not offer.endpoints:
            return NO_ENDPOINT
        return self._applier.why_not_served(service.address, offer.endpoints)

    @property
    def service_addresses(self) -> frozenset[Address]:
        """The addresses that are guarded at taps."""
        return self._services.addresses

    def state(self, registration: Registration) -> str:
        """The port's state in Contrail's words: `Active` or `Inactive < why >`."""
        why_not = self._why_not(registration.port)
        if why_not:
            return why_not
        if all(map(self._applier.is_applied, registration.indexes)):
            return ACTIVE
        if self._host.ifindex(registration.port.tap) is None:
            return NO_DEVICE
        return NOT_YET

    def _constants(self) -> Constants:
        guest_side = self._host.ifindex(self._names.guest_side)
        if guest_side is None:
            raise KernelError(f"interface {self._names.guest_side} is gone")
        return Constants(
            guest_side=guest_side,
            host_mac=_bytes_of(self._inside.mac(self._names.inner_side)),
            service_mac=_bytes_of(SERVICE_MAC),
            identity_base=int(self._names.identity_range.network_address),
            identity_prefix6=self._names.identity_range6.network_address.packed[:4],
            fast_path=self._uses_fast_path,
        )

    def _guards(self) -> bool:
        """Are there ports to guard, and rules that guard them, ours or those of an
        earlier agent?
        """
        return (
            self._when_stopped is WhenStopped.GUARD
            and self._owned
            and bool(self._guests)
            and (self._in_force or not self._made_interfaces)
        )

    def _look_at(self, taps: Iterable[str] | None) -> None:
        """These interfaces may have come, gone or changed; None means any."""
        if taps is None:
            self._look_at_all()
            return
        for tap in taps:
            for index in self._at_tap.get(tap, ()):
                self._look(index)

    def _look_at_all(self) -> None:
        for index in self._guests:
            self._look(index)

    def _look(self, index: int) -> None:
        """Attach this index where its tap is now, or detach it."""
        registration = self._guests[index]
        port = registration.port
        ifindex = self._host.ifindex(port.tap)
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
                    tag=Tag(port.rx_vlan, port.tx_vlan) if port.vlan else None,
                    mtu=self._host.mtu(port.tap) or USUAL_MTU,
                    learns=port.learn,
                    port=registration.index if registration.further else None,
                )
            )
            state = f"wanted at interface {ifindex}"
        self._emit(PortState(port.id, port.tap, state, ifindex is not None))

    def _why_not(self, port: Port) -> str:
        """Why a port cannot be served at any tap, or "". Where the host has IPv6 every
        guest has an address, the link-local one.
        """
        if port.address is None and not port.learn and not self._features.ipv6:
            return NO_ADDRESS
        return ""

    def _takes_link_local(self, index: int, port: Port) -> bool:
        """Is the link-local address of this tap, VLAN and MAC the port's? It is that of
        the first port among several.
        """
        return self._features.ipv6 and not any(
            other < index and _is_beside(self._guests[other].port, port)
            for other in self._at_tap[port.tap]
        )

    def _forget(self, registration: Registration, kept: Collection[int]) -> None:
        """The port is no longer at this tap; it may keep some of its indexes."""
        indexes = self._at_tap[registration.port.tap]
        indexes.difference_update(registration.indexes)
        if not indexes:
            del self._at_tap[registration.port.tap]
        for index in set(registration.indexes).difference(kept):
            self._limits.forget(index)
            self._health.forget(index)
            self._passive_check.forget(index)
            self._applier.detach(index)


def _bytes_of(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _is_beside(one: Port, other: Port) -> bool:
    return (one.mac, one.vlan) == (other.mac, other.vlan)
