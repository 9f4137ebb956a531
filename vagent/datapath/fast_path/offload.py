"""Which flows take the fast path, and for how long; off unless it is opened.

The kernel's programs tell of a flow when it has many packets. If conntrack knows it as
one that goes to a fabric endpoint, both its directions get an entry, by which they skip
the rules, conntrack and routing. Entries are only ever a short cut: they hold while the
agent renews their lease, and what has none takes the usual way, which goes on to exist.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vagent.datapath.fast_path.events import (
    FastPathFlow,
    FastPathMissing,
    FastPathTapLeftOut,
)
from vagent.datapath.fast_path.kernel import MAX_ENTRIES, FastPathKernel
from vagent.datapath.fast_path.program import (
    Match,
    Pair,
    Way,
    decode_match,
    encode_entry,
    encode_match,
)
from vagent.datapath.flows.flow import FastPathTraffic, FlowId
from vagent.datapath.names import SERVICE_MAC
from vagent.datapath.state import (
    INDEX_BITS,
    INDEX_MASK,
    LISTENER,
    REFUSE,
    TCP_AGES,
    UDP_AGES,
    Address,
    Attachment,
)
from vagent.errors import KernelError, WireError
from vagent.kernel.conntrack import (
    DYING,
    ESTABLISHED,
    HELPED,
    OFFLOADED,
    SEEN_REPLY,
    SEQUENCE_ADJUSTED,
    Tracked,
    Traffic,
)
from vagent.kernel.ip_packet import TCP, UDP, OpeningPacket
from vagent.kernel.rtnl_route import Hop
from vagent.observe.event import Emit
from vagent.ports.port import Registration

TURN = 0.1
"""Seconds between two turns; one with nothing to do is two short system calls."""
CHECK = 2.0
"""Seconds between two looks at what a flow's entries rely on: conntrack and routing."""
IDLE = 30.0
"""Seconds without a packet after which a flow gives its place to another."""
MAX_FLOWS = MAX_ENTRIES // 2
"""Each costs a look of some 0.14 ms every CHECK seconds: 4 % of a CPU for all."""
MAX_FLOWS_OF_GUEST = 64
"""So that no eight guests take all places."""
MAX_TRIES_OF_GUEST = 16
"""A second: each asks conntrack, and the next packets ask again."""
MAX_PER_TURN = 64
"""Flows that are told, taps that are attached, flows that are looked at: up to nine
milliseconds of a turn each."""
MAX_PAST = 1024
"""Flows whose packets of former times on the fast path are remembered for lists."""

AGES = {TCP: TCP_AGES["established"], UDP: UDP_AGES["replied"]}

_SERVICE_MAC = bytes.fromhex(SERVICE_MAC.replace(":", ""))
_ODD = SEQUENCE_ADJUSTED | DYING | HELPED | OFFLOADED


class OffloadOutcome(StrEnum):
    """What came of a flow; the label of a counter."""

    TAKEN = "taken"
    REFUSED = "refused"
    CLOSED = "closed"
    IDLE = "idle"
    CHANGED = "changed"
    REVOKED = "revoked"
    LAPSED = "lapsed"


class _EntryStaysError(KernelError):
    """The kernel keeps an entry: then no lease may be renewed."""


@dataclass(slots=True)
class _Flow:
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


@dataclass(slots=True)
class _Tries:
    """By guest, in the second that began at `since`."""

    since: float = 0.0
    made: Counter[int] = field(default_factory=Counter)

    def may(self, guest: int, now: float) -> bool:
        if now - self.since >= 1.0:
            self.since = now
            self.made.clear()
        self.made[guest] += 1
        return self.made[guest] <= MAX_TRIES_OF_GUEST


def why_not(match: Match, index: int, tracked: Tracked | None) -> str:
    """Why a flow stays where it is, or "". `index` is that of the attachment which has
    the tap, MAC and address of the match.
    """
    if tracked is None:
        return "conntrack does not have it"
    if tracked.mark & INDEX_MASK != index:
        return "it is another's"
    if tracked.mark >> INDEX_BITS in (0, LISTENER, REFUSE):
        return "it ends on this host"
    if tracked.status & _ODD:
        return "somebody else looks into it"
    if not tracked.status & SEEN_REPLY:
        return "it was not answered"
    if match.protocol == TCP and tracked.tcp_state != ESTABLISHED:
        return "it is not established"
    if tracked.reply.source.version != 4 or tracked.reply.source.is_loopback:
        return "it ends on this host"
    return ""


class FastPath:
    """Everything is a no-op before `open`, and after the kernel refused.

    `guests` has the registered ports by index.
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
        self._attachments: dict[tuple[int, bytes, IPv4Address], Attachment] = {}
        self._taps: Counter[int] = Counter()
        self._to_attach: dict[int, None] = {}
        self._fabric: set[int] = set()
        self._flows: dict[bytes, _Flow] = {}
        self._of_guest: Counter[int] = Counter()
        self._tries = _Tries()
        self._past: dict[FlowId, FastPathTraffic] = {}
        self._next: IDelayedCall | None = None

    def __repr__(self) -> str:
        return f"<FastPath of {len(self._flows)} flows>"

    def __len__(self) -> int:
        return len(self._flows)

    @property
    def is_open(self) -> bool:
        """Is it in use?"""
        return self._is_open

    def clear(self) -> None:
        """Take away what an agent left that used it."""
        # Where nothing can be listed nothing can be; and what is left is without lease.
        with suppress(KernelError):
            self._kernel.clear()

    def open(self) -> None:
        """Begin. Where the kernel refuses, that is told, and nothing else changes."""
        try:
            self._kernel.open()
            self._kernel.renew()
        except KernelError as failure:
            self._give_up(str(failure))
            return
        self._is_open = True
        self._next = self._clock.callLater(TURN, self._turn)

    def close(self) -> None:
        """End it: every flow goes the usual way."""
        if self._next is not None and self._next.active():
            self._next.cancel()
        was_open, self._is_open = self._is_open, False
        self._flows.clear()
        self._of_guest.clear()
        if was_open:
            self._close_kernel()

    def attached(self, attachment: Attachment) -> None:
        """The rules serve this attachment now."""
        key = _place(attachment)
        if not self._is_open or key is None:
            return
        is_known = key in self._attachments
        self._attachments[key] = attachment
        if is_known:
            return
        self._taps[attachment.ifindex] += 1
        if self._taps[attachment.ifindex] == 1:
            self._to_attach[attachment.ifindex] = None

    def detached(self, attachment: Attachment) -> None:
        """They do no more; `end` ends its flows."""
        key = _place(attachment)
        if key is None or self._attachments.get(key) != attachment:
            return
        del self._attachments[key]
        self._taps[attachment.ifindex] -= 1
        if not self._taps[attachment.ifindex]:
            del self._taps[attachment.ifindex]
            if attachment.ifindex in self._to_attach:
                del self._to_attach[attachment.ifindex]
            else:
                self._guarded(lambda: self._kernel.detach(attachment.ifindex))

    def serve(self, addresses: Iterable[Address]) -> None:
        """Services are at these addresses now."""
        if self._is_open:
            chosen = [each for each in addresses if isinstance(each, IPv4Address)]
            self._guarded(lambda: self._kernel.serve(chosen))

    def end(self, mark: int, mask: int) -> None:
        """The flows with this mark, under the mask, are about to be ended."""
        ending = [
            flow
            for flow in self._flows.values()
            if not (flow.tracked.mark ^ mark) & mask
        ]
        self._guarded(lambda: self._end_all(ending, OffloadOutcome.REVOKED))

    def carried(self) -> dict[FlowId, FastPathTraffic]:
        """What it carried, by conntrack's id and opening tuple."""
        found = dict(self._past)
        with suppress(KernelError):
            for flow in self._flows.values():
                key = flow.tracked.id, flow.tracked.original
                found[key] = self._sum(flow, is_on_it=True)
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
            # Nobody looked for a while: conntrack may have given ports to others.
            self._end_all([*self._flows.values()], OffloadOutcome.LAPSED)
        self._attach_taps()
        told = self._told()
        if (told or self._flows) and self._kernel.has_ipsec():
            self._end_all([*self._flows.values()], OffloadOutcome.CHANGED)
            told = []
        for key in told:
            self._consider(key, now)
        due = [each for each in self._flows.values() if now - each.checked >= CHECK]
        for flow in sorted(due, key=lambda each: each.checked)[:MAX_PER_TURN]:
            self._check(flow, now)
        self._kernel.renew()

    def _attach_taps(self) -> None:
        for ifindex in [*self._to_attach][:MAX_PER_TURN]:
            del self._to_attach[ifindex]
            try:
                self._kernel.attach_tap(ifindex)
            except KernelError as failure:
                self._emit(FastPathTapLeftOut(str(failure)))

    def _told(self) -> list[bytes]:
        found: list[bytes] = []
        while len(found) < MAX_PER_TURN:
            key = self._kernel.told()
            if key is None:
                break
            found.append(key)
        return found

    def _consider(self, key: bytes, now: float) -> None:
        match = decode_match(key)
        place = match.ifindex, match.mac, match.pair.source
        attachment = self._attachments.get(place)
        if attachment is None or key in self._flows:
            return
        guest = self._guests.get(attachment.index)
        if guest is None or not self._tries.may(guest.index, now):
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
        """Why not, or ""."""
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
        hop = kernel.hop(attachment.identity, reply.source)
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
            except KernelError:
                self._end(flow, OffloadOutcome.CHANGED)
                return
        elif now - flow.active >= IDLE:
            self._end(flow, OffloadOutcome.IDLE)
            return
        flow.checked = now

    def _keep(self, packet: OpeningPacket, tracked: Tracked) -> None:
        """As long as a flow that is seen: what it had, unless that was because it is
        young, or something was not acknowledged.
        """
        seconds = max(tracked.timeout, AGES[packet.protocol])
        self._kernel.keep(packet, tracked.status, seconds)

    def _still_holds(self, flow: _Flow) -> bool:
        """Are conntrack's flow and the way to its endpoint what they were?"""
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
            source, destination = IPv4Address(flow.packet.source), before.reply.source
            assert isinstance(destination, IPv4Address)  # noqa: S101 it was taken
            return (
                self._kernel.hop(source, destination) == flow.hop
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
            past = self._sum(flow, is_on_it=False)
            for key in (flow.there, flow.back):
                self._kernel.delete(key)
        except KernelError as failure:
            raise _EntryStaysError(str(failure)) from failure
        self._past[flow.tracked.id, flow.tracked.original] = past
        while len(self._past) > MAX_PAST:
            del self._past[next(iter(self._past))]
        self._emit(FastPathFlow(outcome, decode_match(flow.there), "", flow.guest))

    def _sum(self, flow: _Flow, *, is_on_it: bool) -> FastPathTraffic:
        none = Traffic(0, 0)
        past = self._past.get((flow.tracked.id, flow.tracked.original))
        sent, received = (past.sent, past.received) if past else (none, none)
        return FastPathTraffic(
            self._more(sent, flow.there), self._more(received, flow.back), is_on_it
        )

    def _more(self, past: Traffic, key: bytes) -> Traffic:
        count = self._kernel.count(key)
        if count is None:
            return past
        return Traffic(past.packets + count.packets, past.bytes + count.bytes)


def _place(attachment: Attachment) -> tuple[int, bytes, IPv4Address] | None:
    """Where its packets come from; None where they never match."""
    if attachment.address is None or attachment.tag is not None:
        return None
    mac = bytes.fromhex(attachment.mac.replace(":", ""))
    return attachment.ifindex, mac, attachment.address
