"""Wanted state reaches the kernel, one transaction at a time, and again after a no."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any, cast
from unittest.mock import AsyncMock, Mock, call, create_autospec

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.unit.vagent.datapath.tap.fake_tap_kernel import FakeTapKernel
from vagent.datapath.fast_path.offload import FastPath
from vagent.datapath.names import Names
from vagent.datapath.rules.applier import RETRY_AFTER, Applier
from vagent.datapath.rules.events import (
    FlowsNotEnded,
    RulesApplied,
    RulesLost,
    RulesRefused,
    RulesUnread,
)
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.table_counts import FAMILIES
from vagent.datapath.state import ENDPOINT_MASK, INDEX_MASK, Attachment, Services
from vagent.datapath.tap.guard import TapGuard
from vagent.errors import KernelError
from vagent.kernel.nf_tables import NftMessage
from vagent.kernel.nf_tables_dump import TableCounts
from vagent.linklocal.service import LinkLocalService
from vagent.observe.event import Event


class Plenty(dict[tuple[int, str], int]):
    """As many rules or elements as anybody wants, everywhere."""

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return iter([(family, "any") for family in FAMILIES.values()])

    def get(self, key: Any, default: Any = None) -> Any:
        return 1 << 16


PLENTY = TableCounts(Plenty(), Plenty())


class Kernel:
    """Records what it is asked; says yes at once, no, or later, as it is told."""

    def __init__(self) -> None:
        self.scripts: list[str] = []
        self.commands: list[str] = []
        self.ended: list[tuple[int, int]] = []
        self.refuse = False
        self.refuse_messages = False
        self.refused_ends = 0
        self.hold: Deferred[None] | None = None
        self.generation = 1
        self.counts_held = PLENTY
        self.reading: Deferred[None] | None = None
        self.looks = 0

    async def run_nft(self, script: str, *, check: bool = False) -> None:
        assert not check
        await self._take(script)

    async def transact(self, steps: Sequence[NftMessage]) -> None:
        await self._take("\n".join(about for step in steps for about in step.about))
        if self.refuse_messages:
            raise KernelError("no messages")

    async def _take(self, script: str) -> None:
        self.scripts.append(script)
        if self.hold is not None:
            await self.hold
        if self.refuse:
            raise KernelError("the kernel says no")
        self.generation += 1
        self.counts_held = PLENTY

    async def run_ip(self, batch: str, *, ipv6: bool = False) -> None:
        del ipv6
        self.commands.append(batch)

    def nft_generation(self) -> int:
        return self.generation

    async def table_counts(
        self, table: str, counted: object, wanted: object
    ) -> TableCounts:
        assert table == "vagent"
        del counted
        self.looks += 1
        if self.reading is not None:
            await self.reading
        return self.counts_held

    async def counters(self, table: str) -> dict[str, int]:
        raise AssertionError(table)

    def queue_drops(self, queue_number: int) -> int:
        raise AssertionError(queue_number)

    def send_frame(self, ifindex: int, frame: bytes) -> None:
        raise AssertionError(frame)

    async def end_flows(self, mark: int, mask: int) -> None:
        if self.refused_ends:
            self.refused_ends -= 1
            raise KernelError("no end")
        self.ended.append((mark, mask))
        self.scripts.append(f"end of {mark:#x}")

    def ifindex(self, name: str) -> int | None:
        return {"tap-alice": 11, "tap-bob": 12, "tap-new": 99}.get(name)

    def mac(self, name: str) -> str:
        raise AssertionError(name)

    def has_sysctl(self, key: str) -> bool:
        raise AssertionError(key)

    def read_sysctl(self, key: str) -> str:
        raise AssertionError(key)

    def write_sysctl(self, key: str, value: str) -> None:
        raise AssertionError(key)


class Bench:
    """An applier with the kernel of the namespace and that of the host, clock and
    events.
    """

    def __init__(
        self, names: Names, *, nft_queue: bool = True, ipv6: bool = False
    ) -> None:
        self.kernel, self.host = Kernel(), Kernel()
        self.taps = FakeTapKernel()
        self.taps.guest_side = True
        self.clock = Clock()
        self.events: list[Event] = []
        self.refreshed = 0
        self.fast_path = create_autospec(FastPath, instance=True)
        self.services = Services.of((), names, None)
        self.applier = Applier(
            names,
            inside=cast(Any, self.kernel),
            host=cast(Any, self.host),
            taps=TapGuard(self.taps),
            services=self.services,
            refresh=self.refresh,
            fast_path=self.fast_path,
            emit=self.events.append,
            clock=self.clock,
        )
        self.features = Features(nft_queue=nft_queue, ip6_tables=ipv6, ipv6=ipv6)

    def refresh(self) -> None:
        self.refreshed += 1

    def start(self) -> None:
        done = Deferred.fromCoroutine(self.applier.start(self.features))
        assert [] == self.failures(done)
        self.kernel.scripts.clear()
        self.host.scripts.clear()

    def failures(self, done: Deferred[None]) -> list[object]:
        found: list[object] = []
        done.addErrback(lambda failure: found.append(failure.value))
        return found

    def lose(self) -> Deferred[None]:
        """Somebody flushes the ruleset, and it is looked for."""
        self.kernel.generation += 1
        self.kernel.counts_held = TableCounts()
        return self.look()

    def look(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.applier.look())

    def turn(self) -> None:
        self.clock.advance(0)


@pytest.fixture
def alice(alice: Attachment) -> Attachment:
    """One of several addresses, so that her coming is a transaction of nftables."""
    return replace(alice, port=alice.index)


@pytest.fixture
def bob(bob: Attachment) -> Attachment:
    """Likewise."""
    return replace(bob, port=bob.index)


@pytest.fixture
def bench(names: Names) -> Iterator[Bench]:
    """An applier that has not been started. No timer may be left at the end."""
    made = Bench(names)
    yield made
    made.applier.stop()
    assert [] == [call for call in made.clock.getDelayedCalls() if call.getTime() > 60]


def test_nothing_happens_before_start(bench: Bench, alice: Attachment) -> None:
    """Wanting is free."""
    bench.applier.attach(alice)
    bench.turn()
    assert [] == bench.kernel.scripts


def test_start_replaces_everything(bench: Bench, alice: Attachment) -> None:
    """What was wanted before is in the first transaction."""
    bench.applier.attach(alice)
    Deferred.fromCoroutine(bench.applier.start(bench.features))
    (script,) = bench.kernel.scripts
    assert script.startswith("table ip vagent\ndelete table ip vagent\n")
    assert "port_of { 2 : 2 }" in script
    assert {11} == bench.taps.taps
    assert bench.applier.is_applied(alice.index)


@pytest.mark.parametrize("where", ["kernel", "host"])
def test_start_fails_loudly(bench: Bench, where: str) -> None:
    """A kernel that says no at start keeps the agent from starting."""
    getattr(bench, where).refuse = True
    done = Deferred.fromCoroutine(bench.applier.start(bench.features))
    (failure,) = bench.failures(done)
    assert isinstance(failure, KernelError)


def test_start_replaces_the_table_of_the_uplink(
    bench: Bench, alice: Attachment
) -> None:
    """In the host's own network; nothing else is written there."""
    bench.applier.attach(alice)
    Deferred.fromCoroutine(bench.applier.start(bench.features))
    (script,) = bench.host.scripts
    assert script.startswith("table ip vagent\ndelete table ip vagent\n")
    assert "chain to_near_service" in script
    assert [] == bench.host.commands


def test_services_of_this_host_are_told_to_it(
    bench: Bench, names: Names, dns: LinkLocalService
) -> None:
    """The namespace first loses them; other services are not told."""
    bench.start()
    near = replace(dns, fabric_addresses=(IPv4Address("127.0.0.1"),))
    with_near = Services.of([near], names, bench.services)
    bench.applier.offer(with_near)
    bench.turn()
    assert ["add element ip vagent near { 65533 : 127.0.0.1 . 53 }\n"] == (
        bench.host.scripts
    )
    with_dns = Services.of([dns], names, with_near)
    bench.applier.offer(with_dns)
    bench.turn()
    assert "delete element ip vagent near" in bench.host.scripts.pop()
    bench.applier.offer(Services.of([], names, with_dns))
    bench.turn()
    assert 1 == len(bench.host.scripts)


def test_a_service_that_the_host_refuses_is_tried_again(
    bench: Bench, names: Names, dns: LinkLocalService
) -> None:
    """Whole, in both networks."""
    bench.start()
    near = replace(dns, fabric_addresses=(IPv4Address("127.0.0.1"),))
    bench.host.refuse = True
    bench.applier.offer(Services.of([near], names, bench.services))
    bench.turn()
    assert "the kernel says no" == bench.applier.refusal
    bench.host.refuse = False
    bench.clock.advance(RETRY_AFTER)
    assert "" == bench.applier.refusal
    assert "near { 65533 : 127.0.0.1 . 53 }" in bench.host.scripts[-1]
    assert bench.kernel.scripts[-1].startswith("table ip vagent\ndelete")


def test_what_is_lost_at_the_uplink_is_put_back(bench: Bench) -> None:
    """Another program of the host can flush that table only."""
    bench.start()
    bench.look()
    bench.turn()
    bench.host.generation += 1
    bench.host.counts_held = TableCounts()
    bench.look()
    bench.turn()
    assert RulesLost("table ip vagent is gone") in bench.events
    assert "chain to_near_service" in bench.host.scripts[-1]
    assert "" == bench.applier.trouble


def test_an_uplink_that_cannot_be_read_is_a_trouble(bench: Bench) -> None:
    """As rules in the namespace are."""
    bench.start()
    reading: Deferred[None] = Deferred()
    bench.host.reading = reading
    bench.look()
    bench.turn()
    reading.errback(KernelError("no buffer space"))
    assert "rules it holds: no buffer space" in bench.applier.trouble
    assert RulesUnread("no buffer space") in bench.events


def test_our_own_changes_at_the_uplink_need_no_second_look(
    bench: Bench, names: Names, dns: LinkLocalService
) -> None:
    """Those of the namespace are none of the host's, nor the other way round."""
    bench.start()
    bench.look()
    bench.turn()
    near = replace(dns, fabric_addresses=(IPv4Address("127.0.0.1"),))
    for services in ([near], [dns], [near, replace(dns, name="x", port=5353)]):
        bench.applier.offer(Services.of(services, names, bench.services))
        bench.turn()
        bench.look()
        bench.turn()
    assert (1, 1) == (bench.kernel.looks, bench.host.looks)
    bench.host.generation += 1
    bench.look()
    bench.turn()
    assert (1, 2) == (bench.kernel.looks, bench.host.looks)


def test_without_nft_queue_the_xt_rule_is_of_the_same_transaction(
    names: Names,
) -> None:
    """Rules that nft cannot write are one transaction, in the kernel's own thread."""
    bench = Bench(names, nft_queue=False)
    Deferred.fromCoroutine(bench.applier.start(bench.features))
    _, rules = bench.kernel.scripts
    assert "rule of to_agent" == rules


def test_changes_of_one_turn_are_one_transaction(
    bench: Bench, alice: Attachment, bob: Attachment
) -> None:
    """A thousand ports in one call cost one transaction."""
    bench.start()
    bench.applier.attach(alice)
    bench.applier.attach(bob)
    bench.turn()
    (script,) = bench.kernel.scripts
    assert "tap-alice" in script
    assert "tap-bob" in script


def test_changes_during_a_transaction_wait_for_the_next(
    bench: Bench, alice: Attachment, bob: Attachment
) -> None:
    """Never two at once, and none is lost."""
    bench.start()
    bench.kernel.hold = Deferred()
    bench.applier.attach(alice)
    bench.turn()
    bench.applier.attach(bob)
    bench.turn()
    assert 1 == len(bench.kernel.scripts)
    hold, bench.kernel.hold = bench.kernel.hold, None
    hold.callback(None)
    assert 2 == len(bench.kernel.scripts)
    assert bench.applier.is_applied(bob.index)


def test_what_is_wanted_already_is_no_change(bench: Bench, alice: Attachment) -> None:
    """Registering the same port again does not touch the kernel."""
    bench.start()
    bench.applier.attach(alice)
    bench.turn()
    bench.applier.attach(alice)
    bench.turn()
    assert 1 == len(bench.kernel.scripts)


def test_come_and_gone_in_one_turn_is_nothing(bench: Bench, alice: Attachment) -> None:
    """No transaction for no change."""
    bench.start()
    bench.applier.attach(alice)
    bench.applier.detach(alice.index)
    bench.turn()
    assert [] == bench.kernel.scripts


def test_detach_ends_the_flows(bench: Bench, alice: Attachment) -> None:
    """Conntrack forgets who is gone, so that nobody inherits their flows."""
    bench.start()
    bench.applier.attach(alice)
    bench.turn()
    bench.applier.detach(alice.index)
    bench.turn()
    assert [(alice.index, INDEX_MASK)] == bench.kernel.ended
    assert not bench.applier.is_applied(alice.index)


def test_flows_go_on_where_only_their_sum_has_another_name(
    bench: Bench, alice: Attachment
) -> None:
    """A port gets a further address: the kernel is told, no flow of the first ends."""
    bench.start()
    bench.applier.attach(alice)
    bench.turn()
    bench.applier.attach(replace(alice, port=alice.index))
    bench.turn()
    assert "map port_of, tap tap-alice" in bench.kernel.scripts[-1]
    bench.lose()
    bench.applier.attach(alice)
    bench.turn()
    assert [] == bench.kernel.ended


def test_the_fast_path_hears_of_what_is_served(bench: Bench, alice: Attachment) -> None:
    """Of a port when the rules serve it, and of its end before conntrack does."""
    bench.kernel.end_flows = AsyncMock()  # type: ignore[method-assign]
    order = Mock()
    order.attach_mock(bench.fast_path, "fast_path")
    order.attach_mock(bench.kernel.end_flows, "end_flows")
    bench.start()
    bench.applier.attach(alice)
    assert call.fast_path.attached(alice) not in order.mock_calls
    bench.turn()
    assert order.mock_calls == [
        call.fast_path.attached(alice),
    ]
    order.reset_mock()
    bench.applier.detach(alice.index)
    bench.turn()
    assert order.mock_calls == [
        call.fast_path.detached(alice),
        call.fast_path.end(alice.index, INDEX_MASK),
        call.end_flows(alice.index, INDEX_MASK),
    ]


def test_the_fast_path_hears_of_services(
    bench: Bench, names: Names, dns: LinkLocalService
) -> None:
    """Which endpoint has gone."""
    bench.start()
    with_dns = Services.of([dns], names, bench.services)
    bench.applier.offer(with_dns)
    bench.turn()
    bench.applier.offer(Services.of([], names, with_dns))
    bench.turn()
    assert [each.args for each in bench.fast_path.end.call_args_list] == (
        bench.kernel.ended
    )
    assert bench.kernel.ended


def test_all_is_told_again_when_all_is_replaced(
    bench: Bench, alice: Attachment
) -> None:
    bench.start()
    bench.applier.attach(alice)
    bench.turn()
    bench.lose()
    bench.turn()
    assert bench.fast_path.attached.call_args_list == [call(alice), call(alice)]


def test_a_replaced_tap_is_detached_and_attached(
    bench: Bench, alice: Attachment
) -> None:
    """The same name with another interface index is another interface."""
    bench.start()
    bench.applier.attach(alice)
    bench.turn()
    bench.applier.attach(replace(alice, ifindex=99))
    bench.turn()
    _, detached, ended, attached = bench.kernel.scripts
    assert "map port_of, tap tap-alice" == detached == attached
    assert "end of 0x2" == ended
    assert {99} == bench.taps.taps
    assert bench.applier.is_applied(alice.index)


def test_what_the_taps_lost_is_put_back(bench: Bench, alice: Attachment) -> None:
    """With everything else; it is told which program or map it was."""
    bench.start()
    bench.applier.attach(alice)
    bench.turn()
    bench.taps.taps.clear()
    bench.look()
    bench.turn()
    assert RulesLost("the program at interface 11 is gone") in bench.events
    assert ({11}, "") == (bench.taps.taps, bench.applier.trouble)


def test_a_tap_with_another_mtu_has_a_route(bench: Bench, alice: Attachment) -> None:
    """As long as it is served."""
    bench.start()
    bench.kernel.commands.clear()
    bench.applier.attach(replace(alice, mtu=9000))
    bench.turn()
    bench.applier.detach(alice.index)
    bench.turn()
    assert ["replace 169.254.64.2/32 dev vagent1 proto 186 mtu 9000", "del"] == [
        each.strip().removeprefix("route ").removesuffix(" 169.254.64.2/32")
        for each in bench.kernel.commands
    ]
    assert [] != bench.kernel.ended


def test_taps_that_cannot_be_read_are_told(bench: Bench) -> None:
    """Nothing is put back for it: the next look may succeed."""
    bench.start()
    bench.taps.refuses = "held"
    bench.look()
    bench.turn()
    assert [RulesUnread("no held")] == [
        each for each in bench.events if isinstance(each, RulesUnread)
    ]
    assert [] == bench.kernel.scripts


def test_a_tap_that_takes_no_program_is_tried_again(
    bench: Bench, alice: Attachment
) -> None:
    """As rules that the kernel refuses are."""
    bench.start()
    bench.taps.refuses = "attach"
    bench.applier.attach(alice)
    bench.turn()
    assert ("no attach", False) == (
        bench.applier.refusal,
        bench.applier.is_applied(alice.index),
    )
    bench.taps.refuses = ""
    bench.clock.advance(RETRY_AFTER)
    assert bench.applier.is_applied(alice.index)


def test_a_deleted_service_loses_its_flows(
    bench: Bench, names: Names, dns: LinkLocalService
) -> None:
    """Only the flows of endpoints that no service offers any more."""
    bench.start()
    with_dns = Services.of([dns], names, bench.services)
    bench.applier.offer(with_dns)
    bench.turn()
    fewer = replace(dns, fabric_addresses=dns.fabric_addresses[:1])
    bench.applier.offer(Services.of([fewer], names, with_dns))
    bench.turn()
    assert [(3 << 16, ENDPOINT_MASK)] == bench.kernel.ended


def test_a_refusal_is_told_and_tried_again(bench: Bench, alice: Attachment) -> None:
    """Whoever waits is told at once; the whole state is tried until it holds."""
    bench.start()
    bench.kernel.refuse = True
    bench.applier.attach(alice)
    failures = bench.failures(Deferred.fromCoroutine(bench.applier.settled()))
    bench.turn()
    assert ["the kernel says no"] == [str(failure) for failure in failures]
    assert any(isinstance(event, RulesRefused) for event in bench.events)
    bench.kernel.refuse = False
    bench.clock.advance(RETRY_AFTER)
    assert 1 == bench.refreshed
    assert bench.kernel.scripts[-1].startswith("table ip vagent\ndelete")
    assert bench.applier.is_applied(alice.index)


def detach(bench: Bench, guest: Attachment) -> Deferred[None]:
    """A guest that was served goes; what waits for the kernel."""
    bench.start()
    bench.applier.attach(guest)
    bench.turn()
    bench.applier.detach(guest.index)
    settled = Deferred.fromCoroutine(bench.applier.settled())
    bench.turn()
    return settled


def test_ends_that_the_kernel_refuses_are_tried_until_it_takes_them(
    bench: Bench, alice: Attachment
) -> None:
    """Each refusal is told; the rules hold meanwhile, and nothing is settled."""
    bench.kernel.refused_ends = 2
    settled = detach(bench, alice)
    for refusals in (1, 2):
        assert [FlowsNotEnded("no end", RETRY_AFTER)] * refusals == [
            each for each in bench.events if isinstance(each, FlowsNotEnded)
        ]
        assert ([], False) == (bench.kernel.ended, settled.called)
        bench.clock.advance(RETRY_AFTER)
    assert [(alice.index, INDEX_MASK)] == bench.kernel.ended
    assert settled.called
    assert not any(isinstance(each, RulesRefused) for each in bench.events)
    bench.clock.advance(10 * RETRY_AFTER)
    assert 1 == len(bench.kernel.ended)


def test_ends_stay_owed_while_everything_is_replaced(
    bench: Bench, alice: Attachment
) -> None:
    """What is in force then no longer tells that the guest was there."""
    bench.kernel.refused_ends = 1
    settled = detach(bench, alice)
    bench.lose()
    bench.turn()
    assert bench.kernel.scripts[-1].startswith("table ip vagent\ndelete")
    assert ([], False) == (bench.kernel.ended, settled.called)
    bench.clock.advance(RETRY_AFTER)
    assert [(alice.index, INDEX_MASK)] == bench.kernel.ended
    assert settled.called


def test_who_comes_while_ends_are_owed_is_served(
    bench: Bench, alice: Attachment, bob: Attachment
) -> None:
    """Except for a guest with the very index: it would get the packets of the one
    before, until their flows have ended.
    """
    bench.kernel.refused_ends = 1
    detach(bench, alice)
    successor = replace(alice, tap="tap-new", ifindex=99)
    bench.applier.attach(successor)
    bench.applier.attach(bob)
    bench.turn()
    assert bench.applier.is_applied(bob.index)
    assert not bench.applier.is_applied(alice.index)
    bench.lose()
    bench.turn()
    assert "tap-new" not in bench.kernel.scripts[-2]
    bench.clock.advance(RETRY_AFTER)
    ended, attached = bench.kernel.scripts[-2:]
    assert "end of 0x2" == ended
    assert "tap-new" in attached
    assert bench.applier.applied(alice.index) == successor


def test_who_is_replaced_while_everything_is_waits_for_the_end_as_well(
    bench: Bench, alice: Attachment
) -> None:
    """The rules are put back without it; then its flows end, then it is served."""
    bench.start()
    bench.applier.attach(alice)
    bench.turn()
    bench.lose()
    bench.applier.attach(replace(alice, mac="02:00:00:00:00:99"))
    bench.turn()
    whole, ended, attached = bench.kernel.scripts[1:]
    assert "port_of { 2" not in whole
    assert "end of 0x2" == ended
    assert "tap-alice" in attached


def test_flows_of_a_service_that_went_end_after_a_refusal(
    bench: Bench, names: Names, dns: LinkLocalService
) -> None:
    """The whole state that is tried then says of no endpoint that it went."""
    bench.start()
    with_dns = Services.of([dns], names, bench.services)
    bench.applier.offer(with_dns)
    bench.turn()
    bench.kernel.refuse = True
    bench.applier.offer(Services.of([], names, with_dns))
    bench.turn()
    assert [] == bench.kernel.ended
    bench.kernel.refuse = False
    bench.clock.advance(RETRY_AFTER)
    assert [(2 << 16, ENDPOINT_MASK), (3 << 16, ENDPOINT_MASK)] == sorted(
        bench.kernel.ended
    )


def test_flows_of_who_came_with_half_a_replacement_end(
    bench: Bench, alice: Attachment
) -> None:
    """nft's transaction was taken, that of messages was not: the guest was served."""
    bench.start()
    bench.lose()
    bench.applier.attach(alice)
    bench.kernel.refuse_messages = True
    bench.turn()
    bench.kernel.refuse_messages = False
    bench.applier.detach(alice.index)
    bench.clock.advance(RETRY_AFTER)
    assert [(alice.index, INDEX_MASK)] == bench.kernel.ended


def test_flows_of_nobody_are_ended_on_demand(bench: Bench) -> None:
    """Those of an index that no port has."""
    bench.start()
    bench.applier.end_flows_of(77)
    bench.turn()
    assert [(77, INDEX_MASK)] == bench.kernel.ended


def test_after_stop_no_end_is_tried_again(bench: Bench, alice: Attachment) -> None:
    """The next agent finds the flows."""
    bench.kernel.refused_ends = 1
    detach(bench, alice)
    bench.applier.stop()
    bench.clock.advance(RETRY_AFTER)
    assert [] == bench.kernel.ended


def test_settled_waits_for_the_kernel(bench: Bench, alice: Attachment) -> None:
    """It returns when the kernel has what was wanted, not before."""
    bench.start()
    bench.kernel.hold = Deferred()
    bench.applier.attach(alice)
    done: list[None] = []
    Deferred.fromCoroutine(bench.applier.settled()).addCallback(done.append)
    bench.turn()
    assert [] == done
    bench.kernel.hold.callback(None)
    assert [None] == done
    assert any(isinstance(event, RulesApplied) for event in bench.events)


def test_settled_returns_at_once_when_nothing_is_to_do(bench: Bench) -> None:
    """A reply need not wait for what is true already."""
    bench.start()
    assert Deferred.fromCoroutine(bench.applier.settled()).called


@pytest.mark.parametrize("ipv6", [False, True])
def test_services_reach_the_kernel_as_far_as_it_carries_them(
    names: Names, metadata: LinkLocalService, ipv6: bool
) -> None:
    """An IPv6 address is told to a kernel with IPv6 only."""
    bench = Bench(names, ipv6=ipv6)
    bench.start()
    six = replace(metadata, name="six", address=IPv6Address("fd00::1"))
    services = Services.of([metadata, six], names, bench.services)
    bench.applier.offer(services)
    bench.turn()
    assert ipv6 == (IPv6Address("fd00::1").packed in bench.taps.maps["service"])
    bench.applier.stop()


@pytest.mark.parametrize("ipv6", [False, True])
def test_services_from_before_the_start_are_served_as_those_after_it(
    names: Names, metadata: LinkLocalService, ipv6: bool
) -> None:
    """What the host serves is known at the start: until then none is left out."""
    bench = Bench(names, ipv6=ipv6)
    six = replace(metadata, name="six", address=IPv6Address("fd00::1"))
    bench.applier.offer(Services.of([metadata, six], names, bench.services))
    bench.start()
    assert ipv6 == (IPv6Address("fd00::1").packed in bench.taps.maps["service"])
    bench.applier.stop()


def test_who_waits_is_told_that_the_agent_stops(
    bench: Bench, alice: Attachment
) -> None:
    """Nothing that was not done counts as done."""
    bench.start()
    bench.applier.attach(alice)
    failures = bench.failures(Deferred.fromCoroutine(bench.applier.settled()))
    bench.applier.stop()
    assert ["the agent stops"] == [str(failure) for failure in failures]
    bench.turn()


def test_why_a_service_is_not_served(bench: Bench, dns: LinkLocalService) -> None:
    """Before the kernel has it, when the kernel refuses, and where IPv6 is missing."""
    bench.start()
    names, numbers = bench.applier._names, (2,)
    dns6 = replace(
        dns,
        address=IPv6Address("fd00:5e::7"),
        fabric_addresses=(IPv6Address("2001:db8::1"),),
    )
    bench.kernel.refuse = True
    bench.applier.offer(Services.of((dns, dns6), names, None))

    def why() -> str:
        return bench.applier.why_not_served(dns.address, numbers)

    assert "the kernel does not have it yet" == why()
    bench.turn()
    assert "the kernel says no" == why()
    bench.kernel.refuse = False
    bench.clock.advance(RETRY_AFTER)
    assert "" == why()
    assert "" == bench.applier.refusal
    no_ipv6 = bench.applier.why_not_served(dns6.address, (3,))
    assert "this host does not serve IPv6" == no_ipv6


def test_what_is_lost_is_put_back(bench: Bench, alice: Attachment) -> None:
    """Whole; who asked knows at once, and until it is back what is missing is told."""
    bench.start()
    bench.applier.attach(alice)
    bench.turn()
    bench.kernel.hold = Deferred()
    asked = bench.lose()
    bench.turn()
    assert asked.called
    assert "table ip vagent is gone" in bench.applier.trouble
    assert bench.look().called, "who asks meanwhile need not wait"
    assert "port_of { 2 : 2 }" in bench.kernel.scripts[-1]
    bench.kernel.hold.callback(None)
    bench.kernel.hold = None
    assert "" == bench.applier.trouble


def test_who_asks_at_the_same_time_shares_a_look(bench: Bench) -> None:
    """A hundred requests cost as much as one."""
    bench.start()
    asked = [bench.look() for _ in range(100)]
    bench.turn()
    assert all(each.called for each in asked)
    assert 1 == bench.kernel.looks
    bench.kernel.generation += 1
    bench.look()
    bench.turn()
    assert 2 == bench.kernel.looks


def test_who_asks_during_a_look_gets_the_next(bench: Bench) -> None:
    """What happened meanwhile may have been missed by that one."""
    bench.start()
    bench.kernel.reading = Deferred()
    first = bench.look()
    bench.turn()
    second = bench.look()
    reading, bench.kernel.reading = bench.kernel.reading, None
    bench.kernel.generation += 1
    bench.kernel.counts_held = TableCounts()
    reading.callback(None)
    assert (first.called, second.called) == (True, True)
    assert "all rules" in next(
        event.change
        for event in reversed(bench.events)
        if isinstance(event, RulesApplied)
    )
    assert 2 <= bench.kernel.looks


def test_a_look_does_not_see_half_a_transaction(
    bench: Bench, alice: Attachment
) -> None:
    """It waits for the one under way, and a port that comes waits for it."""
    bench.start()
    bench.kernel.hold = Deferred()
    bench.applier.attach(alice)
    bench.turn()
    asked = bench.look()
    assert (False, 0) == (asked.called, bench.kernel.looks)
    bench.kernel.hold.callback(None)
    assert (True, 1) == (asked.called, bench.kernel.looks)


def test_our_own_changes_need_no_second_look(
    bench: Bench, alice: Attachment, names: Names, dns: LinkLocalService
) -> None:
    """Ports, services, everything: each is known to be our own transaction."""
    bench.start()
    bench.look()
    bench.turn()
    bench.applier.attach(alice)
    bench.turn()
    bench.applier.offer(Services.of([dns], names, bench.services))
    bench.turn()
    bench.look()
    bench.turn()
    assert 1 == bench.kernel.looks
    bench.lose()
    bench.turn()
    bench.look()
    bench.turn()
    assert 2 == bench.kernel.looks


def test_a_refusal_is_a_trouble_until_the_kernel_takes_it(
    bench: Bench, alice: Attachment
) -> None:
    """Who asks is told at once, also who has waited."""
    bench.start()
    bench.kernel.refuse = True
    bench.applier.attach(alice)
    asked = bench.look()
    bench.turn()
    assert asked.called
    assert "the kernel says no" in bench.applier.trouble
    assert bench.look().called
    bench.kernel.refuse = False
    bench.clock.advance(RETRY_AFTER)
    assert "" == bench.applier.trouble


def test_nobody_waits_for_a_look_after_the_stop(bench: Bench) -> None:
    """Nor before the start."""
    assert bench.look().called
    bench.start()
    asked = bench.look()
    bench.applier.stop()
    assert asked.called
    assert bench.look().called


def test_a_kernel_that_does_not_tell_is_a_trouble(bench: Bench) -> None:
    """Rules that cannot be seen may be there or not."""
    bench.start()
    bench.kernel.reading = Deferred()
    bench.look()
    bench.turn()
    bench.kernel.reading.errback(KernelError("no buffer space"))
    assert "no buffer space" in bench.applier.trouble
