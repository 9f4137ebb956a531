"""Puts flows with many packets onto the fast path, and takes them off it again.

The kernel's programs report a flow as a candidate when it has had many packets. If
conntrack has it as one that goes to a fabric endpoint, each of its directions gets an
entry, by which its packets skip the rules, conntrack and routing. An entry is only a
short cut: it holds while the agent renews the lease, and packets without an entry take
the usual way, which stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vagent.datapath.fast_path.candidate import Tries, why_not
from vagent.datapath.fast_path.events import (
    FastPathFlow,
    FastPathMissing,
)
from vagent.datapath.fast_path.guest_places import GuestPlaces
from vagent.datapath.fast_path.kernel import MAX_ENTRIES, FastPathKernel
from vagent.datapath.fast_path.traffic import TrafficCounts
from vagent.datapath.flows.flow import FastPathTraffic, FlowId
from vagent.datapath.names import SERVICE_MAC
from vagent.datapath.state import (
    INDEX_MASK,
    TCP_AGES,
    UDP_AGES,
    Attachment,
)
from vagent.datapath.tap.flow_entry import (
    Match,
    Pair,
    Way,
    decode_match,
    encode_entry,
    encode_match,
)
from vagent.errors import KernelError, WireError
from vagent.kernel.conntrack import (
    Tracked,
)
from vagent.kernel.ip_packet import TCP, UDP, OpeningPacket
from vagent.kernel.rtnl_route import Hop
from vagent.observe.event import Emit
from vagent.ports.port import Registration

TURN = 0.1
"""Seconds between two turns. A turn with nothing to do takes two short system calls."""
CHECK = 2.0
"""Seconds between two checks of what the entries of a flow rely on: its flow in
conntrack, and the route to its endpoint."""
IDLE = 30.0
"""Seconds without a packet after which a flow leaves the fast path."""
MAX_FLOWS = MAX_ENTRIES // 2
"""Flows on the fast path at a time. A check takes some 0.14 ms, so those of all of them
take 4 % of a CPU."""
MAX_FLOWS_OF_GUEST = 64
"""Flows of one guest on the fast path: eight guests would be needed to fill it."""
MAX_PER_TURN = 64
"""Candidates, and flows to check, each in one turn: up to nine milliseconds for each
kind."""

AGES = {TCP: TCP_AGES["established"], UDP: UDP_AGES["replied"]}
"""Seconds for which conntrack keeps a flow of the fast path, whose packets it does not
see."""

_SERVICE_MAC = bytes.fromhex(SERVICE_MAC.replace(":", ""))


class OffloadOutcome(StrEnum):
    """What becomes of a candidate, and why a flow leaves; the label of a counter.

    CLOSED: its connection ends. CHANGED: conntrack or routing is not what it was.
    REVOKED: its port or endpoint went. LAPSED: the agent did not renew the lease.
    """

    TAKEN = "taken"
    REFUSED = "refused"
    CLOSED = "closed"
    IDLE = "idle"
    CHANGED = "changed"
    REVOKED = "revoked"
    LAPSED = "lapsed"


class _EntryStaysError(KernelError):
    """The kernel did not delete an entry: the lease must not be renewed any more."""


@dataclass(slots=True)
class _Flow:
    """A flow on the fast path, and what its entries rely on.

    `there` and `back` are the keys of its entries; `checked` is when they were looked
    at last, `active` when they had carried more `packets` than before.
    """

    packet: OpeningPacket
    tracked: Tracked
    guest: Registration
    ifindex: int
    tap_mtu: int
    hop: Hop
    there: bytes
    back: bytes
    checked: float
    active: float
    packets: int = 0


class FastPath:
    """The flows on the fast path. `guests` has the registered ports by index.

    It is off before `open`, and after the kernel has refused something: then nothing is
    done.
    """

    def __init__(
        self,
        kernel: FastPathKernel,
        *,
        guests: Mapping[int, Registration],
        emit: Emit,
        clock: IReactorTime,
    ) -> None:
        self._guests = guests
        self._kernel = kernel
        self._emit = emit
        self._clock = clock
        self._is_open = False
        self._taps = GuestPlaces()
        self._fabric: set[int] = set()
        self._flows: dict[bytes, _Flow] = {}
        self._of_guest: Counter[int] = Counter()
        self._tries = Tries()
        self._traffic = TrafficCounts(kernel)
        self._next: IDelayedCall | None = None

    def __repr__(self) -> str:
        return f"<FastPath of {len(self._flows)} flows>"

    def __len__(self) -> int:
        return len(self._flows)

    @property
    def is_open(self) -> bool:
        """Is the fast path in use?"""
        return self._is_open

    def open(self) -> None:
        """Begin. Where the kernel refuses, an event tells it, and flows go the usual
        way.
        """
        try:
            self._kernel.open()
            self._kernel.renew()
        except KernelError as failure:
            self._give_up(str(failure))
            return
        self._is_open = True
        self._next = self._clock.callLater(TURN, self._turn)

    def close(self) -> None:
        """Let every flow go the usual way, and take the programs away."""
        if self._next is not None and self._next.active():
            self._next.cancel()
        was_open, self._is_open = self._is_open, False
        self._flows.clear()
        self._of_guest.clear()
        if was_open:
            self._close_kernel()

    def attached(self, attachment: Attachment) -> None:
        """The rules serve this attachment now."""
        if self._is_open:
            self._taps.add(attachment)

    def detached(self, attachment: Attachment) -> None:
        """The rules serve this attachment no longer. The caller ends its flows with
        `end`.
        """
        self._taps.remove(attachment)

    def end(self, mark: int, mask: int) -> None:
        """Take the flows whose mark, under the mask, is `mark` off the fast path:
        conntrack is about to end them.
        """
        ending = [
            flow
            for flow in self._flows.values()
            if not (flow.tracked.mark ^ mark) & mask
        ]
        self._guarded(lambda: self._end_all(ending, OffloadOutcome.REVOKED))

    def traffic(self) -> dict[FlowId, FastPathTraffic]:
        """The packets and bytes that the fast path has carried, for each flow."""
        found = self._traffic.past()
        with suppress(KernelError):
            for flow in self._flows.values():
                found[flow.tracked.id, flow.tracked.original] = self._traffic.of(
                    flow.tracked, flow.there, flow.back, is_on_it=True
                )
        return found

    def _turn(self) -> None:
        if self._is_open:
            self._guarded(self._work)
        if self._is_open:
            self._next = self._clock.callLater(TURN, self._turn)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except KernelError as failure:
            self._give_up(str(failure))

    def _give_up(self, why: str) -> None:
        self._emit(FastPathMissing(why))
        self._is_open = False
        self._flows.clear()
        self._of_guest.clear()
        self._close_kernel()

    def _close_kernel(self) -> None:
        # A program that stays has no entry that holds, and lets everything pass.
        try:
            self._kernel.close()
        except KernelError as failure:
            self._emit(FastPathMissing(str(failure)))

    def _work(self) -> None:
        now = self._clock.seconds()
        if self._kernel.has_lapsed():
            # The agent stood still for longer than its lease: meanwhile conntrack may
            # have ended a flow and given its ports to another flow.
            self._end_all([*self._flows.values()], OffloadOutcome.LAPSED)
        candidates = self._candidates()
        if (candidates or self._flows) and self._kernel.has_ipsec():
            self._end_all([*self._flows.values()], OffloadOutcome.CHANGED)
            candidates = []
        for key in candidates:
            self._consider(key, now)
        due = [each for each in self._flows.values() if now - each.checked >= CHECK]
        for flow in sorted(due, key=lambda each: each.checked)[:MAX_PER_TURN]:
            self._check(flow, now)
        self._kernel.renew()

    def _candidates(self) -> list[bytes]:
        """The keys of flows with many packets, at most MAX_PER_TURN."""
        found: list[bytes] = []
        while len(found) < MAX_PER_TURN:
            key = self._kernel.next_candidate()
            if key is None:
                break
            found.append(key)
        return found

    def _consider(self, key: bytes, now: float) -> None:
        match = decode_match(key)
        attachment = self._taps.attachment_of(match)
        if attachment is None or key in self._flows:
            return
        guest = self._guests.get(attachment.index)
        if guest is None or not self._tries.take(guest.index, now):
            return
        try:
            why = self._take(match, attachment, guest, now)
        except _EntryStaysError:
            raise
        except (KernelError, WireError) as failure:
            why = str(failure)
        outcome = OffloadOutcome.REFUSED if why else OffloadOutcome.TAKEN
        self._emit(FastPathFlow(outcome, match, why, guest))

    def _take(
        self, match: Match, attachment: Attachment, guest: Registration, now: float
    ) -> str:
        """Put a flow onto the fast path. Why that is not possible, or ""."""
        if len(self._flows) >= MAX_FLOWS:
            return f"there are {MAX_FLOWS} flows already"
        if self._of_guest[guest.index] >= MAX_FLOWS_OF_GUEST:
            return f"its guest has {MAX_FLOWS_OF_GUEST} already"
        pair, kernel = match.pair, self._kernel
        packet = OpeningPacket(
            match.protocol,
            int(attachment.identity),
            int(pair.destination),
            pair.source_port,
            pair.destination_port,
        )
        tracked = kernel.find(packet)
        why = why_not(match, attachment.index, tracked)
        if why or tracked is None:
            return why
        reply = tracked.reply
        assert isinstance(reply.source, IPv4Address)  # noqa: S101 why_not has looked
        assert isinstance(reply.destination, IPv4Address)  # noqa: S101 one family
        hop = kernel.hop(reply.source)
        tap_mtu = kernel.link_mtu(attachment.ifindex)
        if hop is None or tap_mtu is None or hop.ifindex in self._taps:
            return "the way there is no plain forwarding over Ethernet"
        there = encode_match(match)
        answers = Pair(
            reply.source,
            reply.destination,
            reply.source_port,
            reply.destination_port,
        )
        back = encode_match(Match(hop.ifindex, bytes(6), match.protocol, answers))
        if any(back == each.back for each in self._flows.values()):
            return "its way back is another's"
        if hop.ifindex not in self._fabric:
            kernel.attach_fabric(hop.ifindex)
            self._fabric.add(hop.ifindex)
        self._keep(packet, tracked)
        flow = _Flow(
            packet=packet,
            tracked=tracked,
            guest=guest,
            ifindex=attachment.ifindex,
            tap_mtu=tap_mtu,
            hop=hop,
            there=there,
            back=back,
            checked=now,
            active=now,
        )
        to_guest = Way(attachment.ifindex, tap_mtu, None, match.mac, _SERVICE_MAC)
        to_fabric = Way(hop.ifindex, hop.mtu, hop.next_hop)
        self._flows[there] = flow
        self._of_guest[guest.index] += 1
        try:
            kernel.put(
                back, encode_entry(answers, pair.reversed(), to_guest, other=there)
            )
            kernel.put(
                there, encode_entry(pair, answers.reversed(), to_fabric, other=back)
            )
        except KernelError:
            self._end(flow, OffloadOutcome.CHANGED)
            raise
        return ""

    def _check(self, flow: _Flow, now: float) -> None:
        there, back = self._kernel.count(flow.there), self._kernel.count(flow.back)
        if there is None or back is None or there.is_closed or back.is_closed:
            self._end(flow, OffloadOutcome.CLOSED)
            return
        if not self._still_holds(flow):
            self._end(flow, OffloadOutcome.CHANGED)
            return
        packets = there.packets + back.packets
        if packets != flow.packets:
            flow.packets, flow.active = packets, now
            try:
                self._keep(flow.packet, flow.tracked)
            except (KernelError, WireError):
                self._end(flow, OffloadOutcome.CHANGED)
                return
        elif now - flow.active >= IDLE:
            self._end(flow, OffloadOutcome.IDLE)
            return
        flow.checked = now

    def _keep(self, packet: OpeningPacket, tracked: Tracked) -> None:
        """Let conntrack keep the flow although it does not see its packets: for as long
        as a flow that is answered, or for the time-out that it has, if that is longer.
        """
        seconds = max(tracked.timeout, AGES[packet.protocol])
        self._kernel.keep(packet, seconds)

    def _still_holds(self, flow: _Flow) -> bool:
        """Are the flow in conntrack and the route to its endpoint what they were?"""
        match, before = decode_match(flow.there), flow.tracked
        try:
            tracked = self._kernel.find(flow.packet)
            if why_not(match, before.mark & INDEX_MASK, tracked) or tracked is None:
                return False
            if (tracked.id, tracked.mark, tracked.reply) != (
                before.id,
                before.mark,
                before.reply,
            ):
                return False
            destination = before.reply.source
            assert isinstance(destination, IPv4Address)  # noqa: S101 it was taken
            return (
                self._kernel.hop(destination) == flow.hop
                and self._kernel.link_mtu(flow.ifindex) == flow.tap_mtu
            )
        except (KernelError, WireError):
            return False

    def _end_all(self, flows: Iterable[_Flow], outcome: OffloadOutcome) -> None:
        for flow in flows:
            self._end(flow, outcome)

    def _end(self, flow: _Flow, outcome: OffloadOutcome) -> None:
        """Raises _EntryStaysError."""
        del self._flows[flow.there]
        self._of_guest[flow.guest.index] -= 1
        if not self._of_guest[flow.guest.index]:
            del self._of_guest[flow.guest.index]
        try:
            traffic = self._traffic.of(
                flow.tracked, flow.there, flow.back, is_on_it=False
            )
            for key in (flow.there, flow.back):
                self._kernel.delete(key)
        except KernelError as failure:
            raise _EntryStaysError(str(failure)) from failure
        self._traffic.keep(flow.tracked, traffic)
        self._emit(FastPathFlow(outcome, decode_match(flow.there), "", flow.guest))
