"""Promises of vagent.ports.registry and tap: one identity for each guest, never two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from vagent.errors import ConflictError, LimitError
from vagent.observe.event import Event
from vagent.ports import registry as registry_module
from vagent.ports.events import PortRegistered, PortRemoved
from vagent.ports.port import Port, PortOwner, PortTokens
from vagent.ports.registry import Change, PortRegistry
from vagent.ports.tap import MAX_ON_TAP

Make = Callable[..., Any]
NETWORK = IPv4Network("169.254.64.0/18")


@pytest.fixture
def events() -> list[Event]:
    """What the registry emitted."""
    return []


@pytest.fixture
def registry(events: list[Event]) -> PortRegistry:
    """An empty registry over the default range."""
    return PortRegistry(NETWORK, emit=events.append)


def test_a_port_is_found_by_id_identity_and_number(
    registry: PortRegistry, port: Make
) -> None:
    """The three ways that others ask."""
    [added] = registry.add([port(1)])
    assert (added.index, added.identity) == (2, IPv4Address("169.254.64.2"))
    assert registry.get(added.port.id) is added
    assert registry.at("169.254.64.2") is added
    assert registry.guests[2] is added
    assert registry.registrations() == (added,)


def test_the_ports_of_an_instance(registry: PortRegistry, port: Make) -> None:
    """As they are now, oldest first; nobody's are none."""
    one, two = port(1), replace(port(2), instance_id=port(1).instance_id)
    registry.add([one, two, port(3)])
    assert (one, two) == registry.ports_of(one.instance_id)
    renamed = replace(one, display_name="new")
    registry.add([renamed])
    assert {renamed, two} == set(registry.ports_of(one.instance_id))
    registry.remove(one.id)
    registry.remove(two.id)
    assert () == registry.ports_of(one.instance_id)
    assert (port(3),) == registry.ports_of(port(3).instance_id)


@pytest.mark.parametrize(
    "peer", ["", "169.254.64.3", "10.0.0.2", "::ffff:169.254.64.2"]
)
def test_strangers_are_nobody(registry: PortRegistry, port: Make, peer: str) -> None:
    """Only the exact text of a live identity is somebody."""
    registry.add([port(1)])
    assert registry.at(peer) is None


def test_a_removed_port_is_gone_everywhere(
    registry: PortRegistry, port: Make, events: list[Event]
) -> None:
    """Nothing of it answers, and a second removal is nothing."""
    [added] = registry.add([port(1)])
    assert registry.remove(added.port.id) is added
    assert registry.get(added.port.id) is registry.at("169.254.64.2") is None
    assert 2 not in registry.guests
    assert registry.registrations() == ()
    assert registry.remove(added.port.id) is None
    assert [type(event) for event in events] == [PortRegistered, PortRemoved]


def test_the_same_guest_keeps_its_identity(registry: PortRegistry, port: Make) -> None:
    """A new name, project or link state is no new guest."""
    [old] = registry.add([port(1)])
    [new] = registry.add([port(1, display_name="renamed", vm_project_id="")])
    assert (new.index, new.port.display_name) == (old.index, "renamed")
    assert registry.at(str(old.identity)) is new


@pytest.mark.parametrize(
    "difference",
    [
        {"instance_id": "22222222-0000-0000-0000-000000000001"},
        {"system_name": "tap-other"},
        {"mac_address": "02:00:00:00:00:ff"},
        {"ip_address": "10.9.9.9"},
        {"ip_address": "None"},
        {"ip6_address": "2001:db8::9"},
        {"ip6_address": "None"},
    ],
)
def test_another_guest_gets_another_identity(
    registry: PortRegistry, port: Make, difference: dict[str, str]
) -> None:
    """Connection tracking of the old guest must not serve the new one.
    (Contrail: PortReloadAndAddWithDifferentVMSameVMI.)
    """
    [old] = registry.add([port(1, ip6_address="2001:db8::1")])
    [new] = registry.add([port(1, **{"ip6_address": "2001:db8::1", **difference})])
    assert new.index != old.index
    assert registry.at(str(old.identity)) is None
    assert old.index not in registry.guests


def test_an_address_that_becomes_known_changes_no_identity(
    registry: PortRegistry, port: Make
) -> None:
    """nova registers with 0.0.0.0 first; such a port has no flows to mix up."""
    [old] = registry.add([port(1, ip_address="0.0.0.0")])
    [new] = registry.add([port(1)])
    assert new.index == old.index


def test_the_same_again_is_no_change(registry: PortRegistry, port: Make) -> None:
    """Clients repeat themselves after a sync; nobody is bothered."""
    [old] = registry.add([port(1, time="1")])
    changes: list[Change] = []
    registry.subscribe(changes.append)
    assert registry.add([port(1, time="2")]) == [old]
    assert changes == []


@pytest.mark.parametrize("more", [{}, {"display_name": "renamed"}])
def test_session_tokens_stay_as_they_are_until_something_is_said(
    registry: PortRegistry, port: Make, more: dict[str, str]
) -> None:
    """An orchestrator that does not know them does not take them away."""
    registry.add([port(1, session_tokens="required")])
    [again] = registry.add([port(1, **more)])
    assert "required" == again.port.session_tokens
    [reset] = registry.add([port(1, session_tokens="default", **more)])
    assert "default" == reset.port.session_tokens


def test_session_tokens_do_not_make_another_port(
    registry: PortRegistry, port: Make
) -> None:
    """The registration is new, but not its time: tokens are bound to that."""
    [old] = registry.add([port(1, time="1")])
    [new] = registry.add([port(1, time="2", session_tokens="required")])
    assert replace(old.port, session_tokens=PortTokens.REQUIRED) == new.port
    assert (old.index, old.identity) == (new.index, new.identity)
    assert registry.at(str(old.identity)) is new


def test_session_tokens_of_another_instance_are_none_of_ours(
    registry: PortRegistry, port: Make
) -> None:
    """A port that is given to another instance begins anew."""
    registry.add([port(1, session_tokens="off")])
    [new] = registry.add([port(1, instance_id="2" * 32)])
    assert "" == new.port.session_tokens


def test_subscribers_hear_once_for_each_call(
    registry: PortRegistry, port: Make
) -> None:
    """A thousand ports in one call are one change."""
    changes: list[Change] = []
    registry.subscribe(changes.append)
    one, two = registry.add([port(1), port(2)])
    [other] = registry.add([port(1, ip_address="10.9.9.9")])
    registry.remove(two.port.id)
    registry.remove(two.port.id)
    assert changes == [
        Change(added=(one, two)),
        Change(added=(other,), removed=(one,)),
        Change(removed=(two,)),
    ]
    assert list(changes[1].pairs()) == [(one, other)]
    assert list(changes[2].pairs()) == [(two, None)]
    assert list(changes[0].pairs()) == [(None, one), (None, two)]


def test_of_two_with_one_id_the_later_counts(
    registry: PortRegistry, port: Make
) -> None:
    """As in Contrail, where the second replaces the first."""
    [added] = registry.add([port(1, display_name="a"), port(1, display_name="b")])
    assert added.port.display_name == "b"
    assert len(registry) == 1


def test_a_port_that_learns_is_alone_on_its_tap_and_vlan(
    registry: PortRegistry, port: Make
) -> None:
    """Else what it would learn might be the other's; whoever came first stays."""
    mine = port(1, learn=True, ip_address="None")
    first = replace(port(2), tap="tap1", instance_id=mine.instance_id)
    registry.add([mine])
    with pytest.raises(ConflictError) as refused:
        registry.add([first])
    assert (
        f"tap tap1 has port {mine.id}, and a port that learns its address must be alone"
        " there; delete one of them, or register both without learn"
    ) == str(refused.value)
    in_vlan = replace(first, rx_vlan=5, tx_vlan=5)
    registry.add([in_vlan])
    beside = replace(in_vlan, id=port(3).id, address=None, learn=True)
    with pytest.raises(ConflictError, match=f"tap tap1 VLAN 5 has port {in_vlan.id}"):
        registry.add([beside])
    registry.add([replace(mine, display_name="again")])
    registry.add([replace(mine, learn=False), first])
    assert 2 == len(registry)


def test_what_was_learned_stays_when_the_port_is_registered_again(
    registry: PortRegistry, port: Make
) -> None:
    """With its identity, as long as the client names no other address, and the port is
    at the same place and learns.
    """
    mine = port(1, learn=True, ip_address="None")
    registry.add([mine])
    both = mine.with_learned(IPv4Address("10.9.9.9")).with_learned(IPv6Address("::9"))
    [learned] = registry.add([both])
    [again] = registry.add([mine])
    assert learned is again
    [named] = registry.add([port(1, learn=True, ip_address="10.0.0.8")])
    assert (IPv4Address("10.0.0.8"), IPv6Address("::9")) == named.port.addresses
    [moved] = registry.add([replace(mine, mac="02:00:00:00:00:77")])
    assert () == moved.port.addresses
    registry.add([both])
    [unlearned] = registry.add([replace(mine, learn=False)])
    assert () == unlearned.port.addresses


def test_another_learned_address_is_another_identity(
    registry: PortRegistry, port: Make
) -> None:
    """So the flows of the one before end; the first one changes nothing."""
    mine = port(1, learn=True, ip_address="None")
    [before] = registry.add([mine])
    [first] = registry.add([mine.with_learned(IPv4Address("10.9.9.9"))])
    [second] = registry.add([mine.with_learned(IPv4Address("10.9.9.10"))])
    assert before.index == first.index != second.index


def test_the_snapshot_is_one_object_until_a_change(
    registry: PortRegistry, port: Make
) -> None:
    """Pages and metrics may ask often."""
    registry.add([port(1)])
    snapshot = registry.registrations()
    assert registry.registrations() is snapshot
    registry.add([port(2)])
    assert len(registry.registrations()) == 2


def test_several_addresses_of_one_guest_share_its_tap(
    registry: PortRegistry, port: Make
) -> None:
    """Each address has its own identity."""
    mine = port(1).instance_id
    one, two = registry.add([port(1), port(2, system_name="tap1", instance_id=mine)])
    assert (one.port.tap, one.index != two.index) == (two.port.tap, True)


def test_one_address_on_one_tap_is_one_port(registry: PortRegistry, port: Make) -> None:
    """Two identities for one source would be a race; the message says who is there."""
    [old] = registry.add([port(1)])
    twin = port(
        2,
        system_name="tap1",
        instance_id=old.port.instance_id,
        ip_address=str(old.port.address),
    )
    with pytest.raises(ConflictError) as caught:
        registry.add([twin])
    assert str(caught.value) == (
        f"tap tap1 already has 10.0.0.2 (port {old.port.id}); delete that port first"
    )


def test_one_ipv6_address_on_one_tap_is_one_port(
    registry: PortRegistry, port: Make
) -> None:
    """The same for the other family."""
    [old] = registry.add([port(1, ip6_address="2001:db8::1")])
    mine = {"system_name": "tap1", "instance_id": old.port.instance_id}
    with pytest.raises(ConflictError, match="2001:db8::1"):
        registry.add([port(2, ip6_address="2001:db8::1", **mine)])


def test_one_address_in_two_vlans_of_one_tap_is_two_ports(
    registry: PortRegistry, port: Make
) -> None:
    """Each VLAN is a network of its own; in one of them an address is one port's."""
    instance = port(1).instance_id
    mine = {"instance_id": instance, "system_name": "tap1", "ip_address": "10.0.0.5"}
    registry.add([port(1, **mine), port(2, **mine, rx_vlan_id=7, tx_vlan_id=7)])
    with pytest.raises(ConflictError, match=r"tap tap1 VLAN 7 already has 10\.0\.0\.5"):
        registry.add([port(3, **mine, rx_vlan_id=7, tx_vlan_id=8)])


def test_another_vlan_is_another_guest(registry: PortRegistry, port: Make) -> None:
    """What was answered in one network is not said in another."""
    (before,) = registry.add([port(1)])
    (after,) = registry.add([port(1, rx_vlan_id=7, tx_vlan_id=7)])
    assert before.index != after.index


def test_a_tap_belongs_to_one_instance(registry: PortRegistry, port: Make) -> None:
    """A reused tap whose old port nobody deleted: the new guest could take the old
    guest's address, and would be served as the old guest.
    """
    [old] = registry.add([port(1)])
    with pytest.raises(ConflictError) as caught:
        registry.add([port(2, system_name="tap1")])
    assert str(caught.value) == (
        f"tap tap1 belongs to instance {old.port.instance_id} "
        f"(port {old.port.id}); delete that port first"
    )
    registry.remove(old.port.id)
    registry.add([port(2, system_name="tap1")])


def test_an_interface_of_the_agent_is_no_guests_tap(
    events: list[Event], port: Make
) -> None:
    """All guests' traffic goes through it. The whole call is refused."""
    registry = PortRegistry(
        NETWORK, emit=events.append, own_interfaces=frozenset({"vagent0", "vagent1"})
    )
    with pytest.raises(ConflictError) as caught:
        registry.add([port(1), port(2, system_name="vagent1")])
    assert str(caught.value) == (
        "tap vagent1 is an interface of the agent itself (data-path/name in "
        "agent.conf); name the guest's tap"
    )
    assert () == registry.registrations()
    registry.add([port(1), port(2, system_name="vagent10")])


def test_the_same_address_on_other_taps_is_fine(
    registry: PortRegistry, port: Make
) -> None:
    """Tenants overlap."""
    one, two = registry.add([port(1), port(2, ip_address="10.0.0.2")])
    assert one.port.address == two.port.address


def test_two_ports_may_change_places_in_one_call(
    registry: PortRegistry, port: Make
) -> None:
    """What counts is how it is afterwards."""
    registry.add([port(1), port(2)])
    registry.add([port(1, system_name="tap2"), port(2, system_name="tap1")])
    assert [r.port.tap for r in registry.registrations()] == ["tap2", "tap1"]


def test_a_refused_batch_changes_nothing(
    registry: PortRegistry, port: Make, events: list[Event]
) -> None:
    """All or none: ports, numbers, subscribers, events."""
    registry.add([port(1)])
    before, heard = registry.registrations(), len(events)
    with pytest.raises(ConflictError):
        registry.add([port(2), port(3, system_name="tap1")])
    assert registry.registrations() is before
    assert len(events) == heard
    assert registry.add([port(4)])[0].index == 3


def test_a_full_range_refuses_the_whole_batch(port: Make) -> None:
    """n and n+1, and numbers that were set aside come back."""
    small = PortRegistry(IPv4Network("169.254.64.0/29"), emit=lambda _event: None)
    with pytest.raises(LimitError, match=r"169\.254\.64\.0/29 is full \(5 ports\)"):
        small.add([port(n) for n in range(6)])
    assert len(small.add([port(n) for n in range(5)])) == 5


def test_who_registers_again_and_when_is_no_change(
    registry: PortRegistry, port: Make
) -> None:
    """Neither of the two alone; what changes has the new ones."""
    [old] = registry.add([port(1, author="one", time="then")])
    for author, time in (("two", "then"), ("one", "now")):
        assert [old] == registry.add([port(1, author=author, time=time)])
        assert registry.get(old.port.id) is old
    [new] = registry.add([port(1, display_name="x", author="two", time="now")])
    assert ("x", "two", "now") == (
        new.port.display_name,
        new.port.author,
        new.port.time,
    )


def test_a_replaced_port_gives_its_number_back(port: Make) -> None:
    """A port that is another guest each time uses up no identity range: five guests
    fit, and the number of each that was replaced serves again.
    """
    small = PortRegistry(IPv4Network("169.254.64.0/29"), emit=lambda _event: None)
    given = []
    for turn in range(7):
        [one] = small.add([port(1, mac_address=f"02:00:00:00:01:0{turn}")])
        given.append(one.index)
    assert [2, 3, 4, 5, 6, 2, 3] == given
    assert 4 == len(small.add([port(n) for n in range(2, 6)]))


def test_a_further_address_that_goes_gives_its_number_back(port: Make) -> None:
    """So does one address of several, while the others keep theirs."""
    small = PortRegistry(IPv4Network("169.254.64.0/29"), emit=lambda _event: None)
    for turn in range(7):
        [one] = small.add([port(1, further_addresses=[f"10.9.0.{turn + 1}"])])
        assert 2 == one.index
    assert 3 == len(small.add([port(n) for n in range(2, 5)]))


def test_an_abandoned_plan_leaves_nothing(port: Make) -> None:
    """The journal refused: the numbers are free again."""
    small = PortRegistry(IPv4Network("169.254.64.0/30"), emit=lambda _event: None)
    for _ in range(3):
        small.abandon(small.plan([port(1)]))
    assert len(small) == 0
    assert small.add([port(1)])[0].index == 2


@pytest.mark.parametrize(("ports", "fits"), [(2, True), (3, True), (4, False)])
def test_there_is_a_ceiling_on_ports(
    registry: PortRegistry,
    port: Make,
    monkeypatch: pytest.MonkeyPatch,
    ports: int,
    fits: bool,
) -> None:
    """n-1, n, n+1; a port that is there already takes no room."""
    monkeypatch.setattr(registry_module, "MAX_PORTS", 3)
    registry.add([port(0)])
    wanted = [port(n) for n in range(ports)]
    if fits:
        assert len(registry.add(wanted)) == ports
    else:
        with pytest.raises(LimitError, match="1 ports are registered, 3 more"):
            registry.add(wanted)


@pytest.mark.parametrize(("count", "fits"), [(-1, True), (0, True), (1, False)])
def test_there_is_a_ceiling_on_a_tap(
    registry: PortRegistry,
    port: Make,
    count: int,
    fits: bool,
) -> None:
    """n-1, n, n+1 addresses of one guest."""
    mine = {"system_name": "tap", "instance_id": port(1).instance_id}
    wanted = [port(n, **mine) for n in range(MAX_ON_TAP + count)]
    if fits:
        registry.add(wanted)
    else:
        with pytest.raises(LimitError, match="tap tap would have 65 ports"):
            registry.add(wanted)


def test_further_addresses_count_towards_the_ceiling_of_a_tap(
    registry: PortRegistry, port: Make
) -> None:
    """Each has an identity, as a port has."""
    mine = {"system_name": "tap", "instance_id": port(1).instance_id}
    most = [f"10.9.0.{n}" for n in range(1, MAX_ON_TAP)]
    registry.add([port(1, **mine, further_addresses=most)])
    with pytest.raises(LimitError, match="tap tap would have 65"):
        registry.add([port(2, **mine)])


def test_each_further_address_has_an_identity_of_its_own(
    registry: PortRegistry, port: Make
) -> None:
    """It finds the port, and says which of the guest's addresses it stands for."""
    (made,) = registry.add(
        [port(1, ip6_address="2001:db8::1", further_addresses=["10.9.0.1", "fd00::1"])]
    )
    assert 3 == len(set(made.indexes))
    main, four, six = made.indexes
    for peer, address in (
        (str(made.identity), "10.0.0.2"),
        (f"fd40:140:{main:x}::1", "2001:db8::1"),
        (str(made.identity_at(four)), "10.9.0.1"),
        (f"fd40:140:{six:x}::1", "fd00::1"),
        (f"fd40:140:{main:x}:{main ^ 0xFFFF:x}::5", "fe80::5"),
    ):
        assert registry.at(peer) is made
        assert address == str(made.address_behind(peer)), peer
    for peer in (str(made.identity_at(six)), f"fd40:140:{four:x}::1"):
        assert made.address_behind(peer) is None
    for stranger in ("169.254.64.99", "fd40:140:63::1", "fe80::5"):
        assert made.address_behind(stranger) is None
    registry.remove(made.port.id)
    assert registry.at(str(made.identity_at(four))) is None


def test_a_further_address_keeps_its_identity_while_it_stays(
    registry: PortRegistry, port: Make
) -> None:
    """Others may come and go around it; what went is free for others."""
    mine = {"further_addresses": ["10.9.0.1", "10.9.0.2"]}
    (before,) = registry.add([port(1, **mine)])
    (after,) = registry.add([port(1, further_addresses=["10.9.0.2", "10.9.0.3"])])
    assert (before.index, before.further[1]) == (after.index, after.further[0])
    assert before.further[0] not in after.indexes
    assert before.further[0] not in registry.guests
    assert registry.guests[after.further[1]] is after
    (moved,) = registry.add([port(1, system_name="other", **mine)])
    assert not set(moved.indexes) & set(after.indexes)


def test_a_further_address_is_nobody_elses(registry: PortRegistry, port: Make) -> None:
    """On one tap it is one port's, main or further."""
    mine = {"system_name": "tap", "instance_id": port(1).instance_id}
    registry.add([port(1, **mine, further_addresses=["10.9.0.1"])])
    for other in (
        port(2, **mine, ip_address="10.9.0.1"),
        port(2, **mine, further_addresses=["10.9.0.1"]),
        port(2, **mine, further_addresses=["10.0.0.2"]),
    ):
        with pytest.raises(ConflictError, match="already has"):
            registry.add([other])
    with pytest.raises(ConflictError, match="already has"):
        registry.add([port(1, **mine, further_addresses=["10.0.0.2"])])


def test_identities_of_the_journal_are_honoured(
    registry: PortRegistry, port: Make
) -> None:
    """At start: the number that the file names, once; the others get what is left."""
    one, two, three = port(1), port(2), port(3)
    held = registry.hold(
        {
            (one.id, None): IPv4Address("169.254.64.11"),
            (two.id, None): IPv4Address("169.254.64.11"),
            (three.id, None): IPv4Address("10.0.0.1"),
        }
    )
    assert held == {(one.id, None): 11}
    indexes = []
    for each in (one, two, three):
        plan = registry.plan([each], held=held)
        registry.commit(plan)
        indexes.append(plan.registrations[0].index)
    assert indexes == [11, 12, 13]


def test_repr_says_how_many(registry: PortRegistry, port: Make) -> None:
    """For logs and failing tests."""
    registry.add([port(1)])
    assert repr(registry) == (
        "<PortRegistry 1 ports, <IndexPool 169.254.64.0/18 1/16381>>"
    )


GUESTS = st.integers(0, 4)


class RegistryMachine(RuleBasedStateMachine):
    """Adds, replaces, moves and removes over few ids, taps, guests and numbers."""

    @initialize()
    def start(self) -> None:
        self.registry = PortRegistry(
            IPv4Network("169.254.64.0/29"), emit=lambda _event: None
        )
        self.model: dict[str, Port] = {}
        self.seen: dict[int, Port] = {}
        self.registry.subscribe(self.heard)
        self.heard_of: dict[str, Port] = {}

    def heard(self, change: Change) -> None:
        for old, new in change.pairs():
            if old is not None:
                assert self.heard_of.pop(old.port.id) == old.port
            if new is not None:
                self.heard_of[new.port.id] = new.port

    @rule(
        batch=st.lists(
            st.builds(
                lambda n, guest, tap, host: (n, guest, tap, host),
                st.integers(0, 7), GUESTS, st.integers(0, 4), st.integers(0, 3),
            ),
            max_size=4,
        ),
        abandon=st.booleans(),
    )  # fmt: skip
    def add(self, batch: list[tuple[int, int, int, int]], abandon: bool) -> None:
        ports = [
            Port(
                id=f"port-{n}", instance_id=f"vm-{guest}", tenant_id="", network_id="",
                display_name="", tap=f"tap{tap}", mac=f"02:00:00:00:00:0{guest}",
                address=IPv4Address(f"10.0.0.{host}") if host else None, address6=None,
            )
            for n, guest, tap, host in batch
        ]  # fmt: skip
        try:
            plan = self.registry.plan(ports)
        except (ConflictError, LimitError):
            return
        if abandon:
            self.registry.abandon(plan)
            return
        before = {r.port.id: r for r in self.registry.registrations()}
        self.registry.commit(plan)
        for registration in plan.registrations:
            old = before.get(registration.port.id)
            if (
                old is not None
                and old.port.instance_id != registration.port.instance_id
            ):
                assert old.index != registration.index
        self.model.update({port.id: port for port in ports})

    @rule(n=st.integers(0, 7))
    def remove(self, n: int) -> None:
        gone = self.registry.remove(f"port-{n}")
        assert (gone.port if gone else None) == self.model.pop(f"port-{n}", None)

    @invariant()
    def no_two_live_ports_share_an_identity(self) -> None:
        live = self.registry.registrations()
        assert {r.port.id: r.port for r in live} == self.model == self.heard_of
        assert len({r.identity for r in live}) == len({r.index for r in live})
        assert len({r.index for r in live}) == len(live)
        for registration in live:
            assert self.registry.at(str(registration.identity)) is registration
            assert self.registry.guests[registration.index] is registration
            assert 2 <= registration.index <= 6
            assert registration.port in self.registry.ports_of(
                registration.port.instance_id
            )

    @invariant()
    def no_tap_has_two_instances_or_one_address_twice(self) -> None:
        ports = list(self.model.values())
        owners = {(port.tap, port.instance_id) for port in ports}
        assert len(owners) == len({tap for tap, _owner in owners})
        known = [(p.tap, p.address) for p in ports if p.address]
        assert len(known) == len(set(known))


RegistryMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25)
TestRegistryMachine = RegistryMachine.TestCase


def test_a_port_is_found_by_its_ipv6_identities(
    registry: PortRegistry, port: Make
) -> None:
    """That of its registered address, and that of any link-local one."""
    (added,) = registry.add([port()])
    assert "fd40:140:2::1" == str(added.identity6)
    for peer in ("fd40:140:2::1", "fd40:140:2:fffd::1", "fd40:140:2:fffd:a:b:c:d"):
        assert registry.at(peer) is added
    for peer in ("fd40:140:3::1", "fd40:140:2::2", "fe80::1", "::ffff:169.254.64.2"):
        assert registry.at(peer) is None
    registry.remove(added.port.id)
    assert registry.at("fd40:140:2::1") is None


def test_each_change_is_told(
    registry: PortRegistry, port: Make, events: list[Event]
) -> None:
    """Which port, at which tap, with which identity, and whether it was there."""
    [one] = registry.add([port(1)])
    registry.add([port(2), port(1, system_name="other")])
    registry.remove(one.port.id)
    added = [each for each in events if isinstance(each, PortRegistered)]
    (removed,) = [each for each in events if isinstance(each, PortRemoved)]
    assert [
        ("tap1", "169.254.64.2", False),
        ("tap2", "169.254.64.3", False),
        ("other", "169.254.64.4", True),
    ] == [(each.tap, each.identity, each.replaced) for each in added]
    gone = (removed.port_id, removed.tap, removed.identity)
    assert (one.port.id, "other", "169.254.64.4") == gone


def test_a_tap_is_its_guests_while_any_of_its_ports_is_there(
    registry: PortRegistry, port: Make
) -> None:
    """The last one to go makes it free."""
    mine = {"system_name": "tap", "instance_id": port(1).instance_id}
    one, two = registry.add([port(1, **mine), port(2, **mine)])
    for each in (one, two):
        with pytest.raises(ConflictError, match="belongs to instance"):
            registry.add([port(3, system_name="tap")])
        registry.remove(each.port.id)
    registry.add([port(3, system_name="tap")])


def test_the_watcher_changes_no_port_of_others(
    registry: PortRegistry, port: Make
) -> None:
    """Whatever it says of the port, and nothing else of its request is done."""
    theirs = port(1)
    registry.add([theirs])
    ours = replace(theirs, tap="tap9", owner=PortOwner.WATCHER)
    other = replace(port(2), owner=PortOwner.WATCHER)
    with pytest.raises(ConflictError, match=f"port {theirs.id} was made by .*api"):
        registry.add([other, ours])
    assert [theirs] == [each.port for each in registry.registrations()]


def test_the_watcher_changes_its_own_ports(registry: PortRegistry, port: Make) -> None:
    """As anybody does."""
    mine = replace(port(1), owner=PortOwner.WATCHER)
    registry.add([mine])
    [changed] = registry.add([replace(mine, tap="vnet7")])
    assert ("vnet7", PortOwner.WATCHER) == (changed.port.tap, changed.port.owner)


@pytest.mark.parametrize("owner", [one for one in PortOwner if one != "watcher"])
def test_others_take_over_what_the_watcher_made(
    registry: PortRegistry, port: Make, owner: PortOwner
) -> None:
    """The explicit registration goes ahead, with the same identity."""
    [before] = registry.add([replace(port(1), owner=PortOwner.WATCHER)])
    [after] = registry.add([replace(port(1), owner=owner)])
    assert (owner, before.index) == (after.port.owner, after.index)


def test_a_port_keeps_its_maker_among_others(
    registry: PortRegistry, port: Make
) -> None:
    """Also where the second client changes something."""
    [before] = registry.add([replace(port(1), owner=PortOwner.CLI)])
    assert registry.add([port(1)]) == [before]
    [after] = registry.add([replace(port(1), display_name="other")])
    assert ("other", PortOwner.CLI) == (after.port.display_name, after.port.owner)
