"""Ports and services reach the kernel, and what went leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address
from pathlib import Path
from typing import Any, cast
from unittest.mock import create_autospec, patch

import pytest
from twisted.internet.defer import Deferred

from tests.unit.vagent.datapath.tap.fake_tap_kernel import FakeTapKernel
from tests.walks.machine import Machine, OpenNamespace, Queue
from vagent.config.model import (
    DataPathConfig,
    EndpointCheckConfig,
    LinkLocalFlowsConfig,
    WhenStopped,
)
from vagent.datapath.datapath import (
    ACTIVE,
    NO_ADDRESS,
    NO_DEVICE,
    NO_ENDPOINT,
    NOT_KNOWN,
    NOT_YET,
    DataPath,
)
from vagent.datapath.endpoints.active_check import EndpointChecks
from vagent.datapath.endpoints.health import EndpointHealth
from vagent.datapath.events import GuardStays, Ipv6Missing
from vagent.datapath.fast_path.offload import FastPath
from vagent.datapath.names import Names
from vagent.datapath.rules.events import RulesLost
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.rules_watch import LOOK_DEADLINE, LOOK_INTERVAL
from vagent.datapath.tap.guard import TapGuard
from vagent.datapath.trap.flow_limits import FlowLimits
from vagent.errors import KernelError
from vagent.kernel import namespace
from vagent.kernel.nf_tables import NftMessage
from vagent.kernel.nf_tables_dump import TableCounts
from vagent.linklocal.service import LinkLocalService
from vagent.observe.event import Event
from vagent.ports.port import Port
from vagent.ports.registry import PortRegistry

_QUEUE = "vagent.datapath.trap.nfqueue.NetfilterQueue"
ALICE = Port(
    id="alice",
    instance_id="a",
    tenant_id="t",
    network_id="",
    display_name="",
    tap="tap1",
    mac="02:00:00:00:00:01",
    address=IPv4Address("10.0.0.5"),
    address6=None,
    further=(IPv4Address("10.0.0.6"),),
)
BOB = replace(ALICE, id="bob", instance_id="b", tap="tap2", further=())


class Host:
    """A network of the operating system: interfaces by name, and what was asked of
    it.
    """

    def __init__(self, **interfaces: int) -> None:
        self.interfaces = interfaces
        self.scripts: list[str] = []
        self.commands: list[str] = []
        self.ended: list[int] = []
        self.refuses_scripts = False
        self.generation = 0
        self.reading: Deferred[TableCounts] | None = None

    def nft_generation(self) -> int:
        return self.generation

    async def table_counts(
        self, table: str, counted: object, wanted: object
    ) -> TableCounts:
        if self.reading is None:
            return TableCounts()
        return await self.reading

    async def run_nft(self, script: str, *, check: bool = False) -> None:
        if self.refuses_scripts:
            raise KernelError("no")
        self.scripts.append(script)

    async def transact(self, messages: Sequence[NftMessage]) -> None:
        self.scripts.append("\n".join(text for each in messages for text in each.about))

    async def run_ip(self, batch: str, *, ipv6: bool = False) -> None:
        del ipv6
        self.commands.append(batch)

    async def end_flows(self, mark: int, mask: int) -> None:
        self.ended.append(mark)

    def find_flow(self, packet: object) -> None:
        raise AssertionError(packet)

    def ifindex(self, name: str) -> int | None:
        return self.interfaces.get(name)

    def is_up(self, name: str) -> bool:
        return name in self.interfaces

    def address(self, name: str) -> IPv4Interface | None:
        return IPv4Interface("169.254.64.1/18")

    def mac(self, name: str) -> str:
        return "02:00:00:00:00:07"

    def mtu(self, name: str) -> int | None:
        return 1500 if name in self.interfaces else None


class Bench:
    """A data path without IPv6 and VLANs, with the registry of its ports."""

    def __init__(self, *, when_stopped: WhenStopped = WhenStopped.GUARD) -> None:
        config = DataPathConfig(when_stopped=when_stopped)
        self.host = Host(tap1=11, tap2=12, tap3=13, vagent0=1, vagentu=3)
        self.inside, self.namespace = Host(vagent1=2, vagent2=4), OpenNamespace()
        self.machine = Machine()
        self.taps = FakeTapKernel()
        self.events: list[Event] = []
        self.alive: dict[int, int] = {}
        self.limits = FlowLimits(LinkLocalFlowsConfig())
        emit = self.events.append
        self.registry = PortRegistry(config.identity_range, emit=emit)
        guests = self.registry.guests
        self.data_path = DataPath(
            config,
            Names.of(config, listener_port=8097, guest_rate=1000),
            guests=guests,
            limits=self.limits,
            count_flows=self.count,
            host=cast("Any", self.host),
            inside=cast("Any", self.inside),
            namespace=self.namespace,
            taps=TapGuard(self.taps),
            health=EndpointHealth(
                EndpointCheckConfig(), pick=max, guests=guests, emit=emit
            ),
            checks=create_autospec(EndpointChecks, instance=True),
            fast_path=create_autospec(FastPath, instance=True),
            emit=emit,
            reactor=self.machine,
            clock=self.machine,
        )
        self.registry.subscribe(self.data_path.ports_changed)

    async def count(self) -> dict[int, int]:
        return self.alive

    def start(self) -> None:
        with patch(_QUEUE, Queue):
            done = Deferred.fromCoroutine(self.data_path.start())
        assert (True, []) == (done.called, failures(done))

    def add(self, *ports: Port) -> None:
        """Register, and let the kernel follow."""
        self.registry.add(ports)
        self.machine.advance(0)

    def state(self, port_id: str) -> str:
        registration = self.registry.get(port_id)
        assert registration is not None
        return self.data_path.state(registration)

    def stop(self) -> list[object]:
        """Stop; what failed."""
        return failures(Deferred.fromCoroutine(self.data_path.stop()))


def failures(done: Deferred[None]) -> list[object]:
    found: list[object] = []
    done.addErrback(lambda failure: found.append(failure.value))
    return found


@pytest.fixture(autouse=True)
def no_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No namespace has a name."""
    monkeypatch.setattr(namespace, "NAMED", tmp_path)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    made.start()
    yield made
    made.stop()


def test_a_port_is_served_at_its_tap(bench: Bench) -> None:
    """With all its addresses; where the tap is not there it waits."""
    bench.add(ALICE, replace(BOB, tap="nowhere"))
    assert (ACTIVE, NO_DEVICE) == (bench.state("alice"), bench.state("bob"))
    assert "map port_of, tap tap1" in bench.inside.scripts[-1]
    assert {11} == bench.taps.taps


def test_until_the_kernel_has_it_a_port_is_pending(bench: Bench) -> None:
    """The tap is there, the rules are not yet."""
    bench.registry.add([ALICE])
    settled = Deferred.fromCoroutine(bench.data_path.settle())
    assert (NOT_YET, False) == (bench.state("alice"), settled.called)
    bench.machine.advance(0)
    assert (ACTIVE, True) == (bench.state("alice"), settled.called)


def test_what_this_host_cannot_serve_says_why(bench: Bench) -> None:
    """Without IPv6 a port needs an IPv4 address."""
    only6 = replace(ALICE, address=None, address6=IPv6Address("2001:db8::5"))
    bench.add(only6, replace(BOB, rx_vlan=100, tx_vlan=100))
    assert (NO_ADDRESS, ACTIVE) == (bench.state("alice"), bench.state("bob"))


def test_who_goes_takes_flows_and_counts_along(bench: Bench) -> None:
    """Of each of its identities."""
    bench.add(ALICE)
    (registration,) = bench.registry.registrations()
    bench.registry.remove("alice")
    bench.machine.advance(0)
    assert [*registration.indexes] == sorted(bench.inside.ended)
    assert set() == bench.taps.taps


def test_two_ports_may_change_their_taps_in_one_call(bench: Bench) -> None:
    """One of them gets the tap that the other one leaves."""
    bench.add(ALICE, BOB)
    guests = bench.registry.guests
    before = dict(guests)
    bench.add(replace(BOB, tap="tap3"), replace(ALICE, tap="tap2"))
    assert (ACTIVE, ACTIVE) == (bench.state("alice"), bench.state("bob"))
    assert {"tap2", "tap3"} == {each.port.tap for each in guests.values()}
    assert sorted(before) == sorted(bench.inside.ended)


def test_a_tap_that_comes_and_goes_is_followed(bench: Bench) -> None:
    """What the kernel tells of interfaces is looked up."""
    bench.add(ALICE)
    bench.host.interfaces["tap1"] = 99
    bench.data_path._look_at({"tap1", "of-nobody"})  # what the monitor calls
    bench.machine.advance(0)
    assert {99} == bench.taps.taps
    del bench.host.interfaces["tap1"]
    bench.data_path._look_at(None)
    bench.machine.advance(0)
    assert NO_DEVICE == bench.state("alice")


def test_services_reach_the_kernel_with_their_endpoints(
    bench: Bench, dns: LinkLocalService
) -> None:
    """And their health is known."""
    bench.data_path.services_changed([dns])
    bench.machine.advance(0)
    assert "192.0.2.53" in bench.inside.scripts[-1]
    states = bench.data_path.endpoints_of(dns)
    assert [*dns.fabric_addresses] == sorted(each.endpoint.address for each in states)
    bench.data_path.services_changed([])
    bench.machine.advance(0)
    assert () == bench.data_path.endpoints_of(dns)
    assert 2 == len(bench.inside.ended)


def test_why_a_service_is_not_served(bench: Bench, dns: LinkLocalService) -> None:
    """Nothing is said of one that guests reach."""
    assert NOT_KNOWN == bench.data_path.why_not_served(dns)
    bench.data_path.services_changed([replace(dns, fabric_addresses=())])
    assert NO_ENDPOINT == bench.data_path.why_not_served(dns)
    bench.data_path.services_changed([dns])
    assert "the kernel does not have it yet" == bench.data_path.why_not_served(dns)
    bench.machine.advance(0)
    assert "" == bench.data_path.why_not_served(dns)


def test_flows_that_an_earlier_agent_left_are_ended_or_counted() -> None:
    """Those of no port end; those of a port count for it from the start."""
    bench = Bench()
    bench.registry.add([BOB])
    (index,) = bench.registry.guests
    bench.alive = {index: 3, 77: 1}
    bench.start()
    bench.machine.advance(0)
    assert [77] == bench.inside.ended
    assert 3 == bench.limits.counts().now
    bench.stop()


def looked(bench: Bench) -> bool:
    """Has somebody who asks for a look got an answer?"""
    looking = Deferred.fromCoroutine(bench.data_path.look())
    bench.machine.advance(0)
    return bool(looking.called)


def test_lost_rules_are_put_back_by_itself(bench: Bench) -> None:
    """A second later at the latest."""
    before = len(bench.inside.scripts)
    bench.inside.generation = 77
    bench.machine.advance(LOOK_INTERVAL)
    bench.machine.advance(0)
    assert bench.inside.scripts[before].startswith("table ip vagent\ndelete table")
    assert any(isinstance(event, RulesLost) for event in bench.events)


def test_a_look_says_what_is_the_matter(bench: Bench) -> None:
    """Rules that the kernel does not take back."""
    bench.inside.generation = 77
    bench.inside.refuses_scripts = True
    assert looked(bench)
    assert "table ip vagent is gone" in bench.data_path.trouble


def test_a_kernel_that_does_not_say_is_a_trouble(bench: Bench) -> None:
    """Whoever asks is told after some seconds."""
    bench.inside.reading = Deferred()
    assert not looked(bench)
    bench.machine.advance(LOOK_DEADLINE)
    assert "the kernel took more than 5 s" in bench.data_path.trouble
    bench.inside.generation = 5
    bench.inside.reading.callback(TableCounts())


@pytest.mark.parametrize("name", ["vagent0", "vagent1", "vagentu", "vagent2"])
def test_an_interface_that_is_gone_is_a_trouble(bench: Bench, name: str) -> None:
    """No rule helps without it."""
    assert "" == bench.data_path.trouble
    for network in (bench.host, bench.inside):
        network.interfaces.pop(name, None)
    assert f"interface {name} is gone" in bench.data_path.trouble


def test_a_stop_leaves_a_guard_where_there_are_ports(bench: Bench) -> None:
    """Rules and interfaces stay, here and in the namespace; that is told."""
    bench.add(BOB)

    def asked() -> list[list[str]]:
        return [
            [*each]
            for network in (bench.host, bench.inside)
            for each in (network.scripts, network.commands)
        ]

    before = asked()
    assert [] == bench.stop()
    assert before == asked()
    assert GuardStays(1) in bench.events


@pytest.mark.parametrize("refuses", [False, True])
def test_a_stop_takes_all_away_as_far_as_it_can(*, refuses: bool) -> None:
    """Rules that the kernel does not let go do not keep the interfaces. What is in the
    namespace goes with it.
    """
    bench = Bench(when_stopped=WhenStopped.REMOVE)
    bench.start()
    bench.add(BOB)
    bench.host.refuses_scripts = refuses
    inside = len(bench.inside.scripts)
    assert refuses == bool(bench.stop())
    assert ["link del vagent0\nlink del vagentu\n"] == bench.host.commands
    assert (inside, True) == (len(bench.inside.scripts), bench.namespace.is_closed)
    if not refuses:
        assert "delete table ip vagent" in bench.host.scripts[-1]


def test_tables_of_an_earlier_version_go_once_ours_are_there(bench: Bench) -> None:
    """They were in the host's network, where the table of the uplink is now."""
    uplink, former = bench.host.scripts
    assert "table ip vagent {" in uplink
    assert "delete table netdev vagent" in former
    assert "delete table ip vagent" not in former


def test_the_queue_is_that_of_the_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets of the host's queue of the same number are another program's."""
    bench = Bench()
    inside: list[bool] = []
    queues: list[list[bool]] = []

    @contextmanager
    def entered() -> Iterator[None]:
        inside.append(True)
        yield
        inside.append(False)

    def queue() -> Queue:
        queues.append([*inside])
        return Queue()

    monkeypatch.setattr(bench.namespace, "entered", entered)
    with patch(_QUEUE, queue):
        Deferred.fromCoroutine(bench.data_path.start())
    # Then it is inside once more, to hear of changes of rules.
    assert ([[True]], [True, False] * 2) == (queues, inside)
    bench.stop()


def test_the_interfaces_are_made_in_the_namespace() -> None:
    """Before anything else, as rules are tried there; then whether there is IPv6 is
    told.
    """
    bench = Bench()
    made: list[tuple[object, ...]] = []
    room = "vagent.datapath.datapath"

    async def make_namespace(*these: object) -> None:
        made.append(("namespace", *these[1:]))

    async def probe(*these: object) -> Features:
        made.append(("probe", *these))
        return Features(nft_queue=True)

    async def make_pairs(*these: object) -> bool:
        made.append(("pairs", *these[1:]))
        return True

    with (
        patch(f"{room}.make_namespace", make_namespace),
        patch(f"{room}.probe", probe),
        patch(f"{room}.make_pairs", make_pairs),
    ):
        assert [] == failures(Deferred.fromCoroutine(bench.data_path.prepare()))
    assert [
        ("namespace", bench.host, bench.namespace),
        ("probe", bench.inside, "vagent"),
        ("pairs", bench.host, bench.inside),
    ] == made
    assert any(isinstance(event, Ipv6Missing) for event in bench.events)
