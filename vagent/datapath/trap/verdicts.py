"""Judges trapped packets with what is known now, and says what follows from a verdict.

The deciding is in `decide`; here it meets the registered guests, the services and the
ceilings, and its consequences: the packet's mark, the count, the word to the guest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv6Address

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from vagent.datapath.endpoints.liveness import Liveness
from vagent.datapath.endpoints.passive_check import Witness
from vagent.datapath.events import CountFailed
from vagent.datapath.names import SERVICE_MAC
from vagent.datapath.state import (
    INDEX_BITS,
    LISTENER,
    REFUSE,
    Attachment,
    Offer,
)
from vagent.datapath.system import System
from vagent.datapath.trap.decide import TOO_FAST, Reason, Verdict, decide
from vagent.datapath.trap.events import FlowDecided, NotTold, PacketMalformed
from vagent.datapath.trap.flow_limits import FlowLimits
from vagent.errors import KernelError, WireError
from vagent.kernel import icmp6
from vagent.kernel.icmp import craft, tagged
from vagent.kernel.ip_packet import UDP, OpeningPacket, parse
from vagent.observe.event import Emit
from vagent.ports import identity6
from vagent.ports.port import Registration

MAX_TOLD = 100
MAX_TOLD_TO_GUEST = 20
"""Datagrams a second that are answered with ICMP, on the whole host and to one guest:
each costs about 50 us of the agent, and a guest chooses how many it sends."""

Choose = Callable[[int, int, tuple[int, ...]], tuple[int, bool]]
"""An endpoint for an index and a protocol, and whether it is thought to live."""

CountFlows = Callable[[], Awaitable[Mapping[int, int]]]
"""How many flows each port has, by its index, as the kernel says."""


class Judge:
    """`judge` is called for each trapped packet.

    `guests` holds the index of a registered port for each index that it has: a guest's
    share does not grow with its addresses. `registered` holds the port itself, for what
    is told of it. `offers` are the services,
    `addresses` those that are guarded. `base` is
    the first address of the identity range as an integer; `attachment_of` tells where
    the kernel serves an index; `liveness` takes one of several endpoints, and
    `witness` looks at what becomes of flows to them.
    """

    def __init__(
        self,
        base: int,
        *,
        limits: FlowLimits,
        count_flows: CountFlows,
        liveness: Liveness,
        witness: Witness,
        attachment_of: Callable[[int], Attachment | None],
        system: System,
        emit: Emit,
        clock: IReactorTime,
    ) -> None:
        self.guests: dict[int, int] = {}
        self.registered: Mapping[int, Registration] = {}
        self.offers: Mapping[tuple[int, int], Offer] = {}
        self._base = base
        self._prefix6 = identity6.prefix_of(base)
        self._limits = limits
        self._count_flows = count_flows
        self._liveness = liveness
        self._witness = witness
        self._attachment_of = attachment_of
        self._system = system
        self._emit = emit
        self._clock = clock
        self._told: Counter[int] = Counter()
        self._told_since = 0.0

    def judge(self, data: bytes) -> int:
        """The mark for a trapped packet, 0 to drop it."""
        try:
            packet = parse(data)
        except WireError as failure:
            self._emit(PacketMalformed(str(failure)))
            return 0
        index = self._index(packet.source)
        given = self._limits.given(packet)
        verdict = decide(
            packet,
            index,
            offers=self.offers,
            guests=self.guests,
            over_limit=_has_room if given else self._over_limit,
            choose=self._again(given) if given else self._choose,
        )
        self._emit(FlowDecided(packet, verdict, self.registered.get(index)))
        if given == verdict.endpoint != 0:
            return given << INDEX_BITS | index
        return self._mark(data, packet, index, verdict)

    def count_again(self) -> None:
        """Ask the kernel how many flows there are, if that was long ago."""
        if self._limits.is_stale(self._clock.seconds()):
            Deferred.fromCoroutine(self._recount())

    def refused(self, data: bytes) -> None:
        """The kernel refuses this datagram, which opens one flow too many in a second;
        its guest is told.
        """
        try:
            packet = parse(data)
        except WireError as failure:
            self._emit(PacketMalformed(str(failure)))
            return
        index = self._index(packet.source)
        if index in self.guests:
            self._emit(FlowDecided(packet, TOO_FAST, self.registered.get(index)))
            self._mark(data, packet, index, TOO_FAST)

    def _mark(
        self, data: bytes, packet: OpeningPacket, index: int, verdict: Verdict
    ) -> int:
        if verdict.endpoint == 0:
            return 0
        if verdict.endpoint != REFUSE:
            guest = self.guests[index]
            self._limits.opened(guest, packet, verdict.endpoint)
            if verdict.endpoint != LISTENER:
                mark = verdict.endpoint << INDEX_BITS | index
                self._witness.opened(packet, mark, guest)
        elif packet.protocol == UDP:
            self._tell_unreachable(data, packet, index)
            return 0
        return verdict.endpoint << INDEX_BITS | index

    def _index(self, source: int) -> int:
        """Whose an identity is, -1 where it is none."""
        if source >> 32 == 0:
            return source - self._base
        found = identity6.read(self._prefix6, source)
        return -1 if found is None else found.index

    def _choose(
        self, index: int, protocol: int, endpoints: tuple[int, ...]
    ) -> tuple[int, bool]:
        return self._liveness.choose(
            endpoints, protocol, self.guests[index], self._clock.seconds()
        )

    def _again(self, given: int) -> Choose:
        """As `_choose`, for one more packet of a flow that has an endpoint."""

        def choose(
            index: int, protocol: int, endpoints: tuple[int, ...]
        ) -> tuple[int, bool]:
            if given in endpoints and self._liveness.is_well(given, protocol):
                return given, True
            return self._choose(index, protocol, endpoints)

        return choose

    def _over_limit(self, index: int) -> Reason | None:
        limits = self._limits
        guest = self.guests[index]
        if limits.guest_is_full(guest):
            reason = Reason.GUEST_LIMIT
        elif limits.host_is_full(guest):
            reason = Reason.HOST_LIMIT
        else:
            return None
        limits.refused()
        if limits.should_recount(self._clock.seconds()):
            Deferred.fromCoroutine(self._recount())
        return reason

    async def _recount(self) -> None:
        try:
            alive: Counter[int] = Counter()
            for index, count in (await self._count_flows()).items():
                alive[self.guests.get(index, index)] += count
            self._limits.recounted(alive)
        except Exception as failure:  # border: the ceiling holds until a count succeeds
            self._limits.not_counted()
            self._emit(CountFailed(str(failure)))

    def _address6(
        self, source: int, attachment: Attachment | None
    ) -> IPv6Address | None:
        """The address that the guest itself uses for this identity."""
        found = identity6.read(self._prefix6, source)
        if found is None or attachment is None:
            return None
        return found.link_local or attachment.address6

    def _tell_unreachable(self, data: bytes, packet: OpeningPacket, index: int) -> None:
        now = self._clock.seconds()
        if now - self._told_since >= 1.0:
            self._told.clear()
            self._told_since = now
        attachment = self._attachment_of(index)
        guest = self.guests[index]
        if (
            attachment is None
            or self._told[guest] >= MAX_TOLD_TO_GUEST
            or self._told.total() >= MAX_TOLD
        ):
            self._emit(NotTold("too many in this second"))
            return
        self._told[guest] += 1
        try:
            frame = self._unreachable(data, packet, attachment)
            if frame is not None:
                self._send(attachment, frame)
        except (WireError, KernelError) as failure:
            self._emit(NotTold(str(failure)))

    def _send(self, attachment: Attachment, frame: bytes) -> None:
        tag = attachment.tag
        self._system.send_frame(
            attachment.ifindex, frame if tag is None else tagged(frame, tag.got)
        )

    def _unreachable(
        self, data: bytes, packet: OpeningPacket, attachment: Attachment
    ) -> bytes | None:
        """The frame about a refused datagram; None where its guest lost its address."""
        mac = attachment.mac
        if packet.version == 4:
            address = attachment.address
            if address is None:
                return None
            return craft(data, guest=address, guest_mac=mac, own_mac=SERVICE_MAC)
        guest = self._address6(packet.source, attachment)
        if guest is None:
            return None
        return icmp6.port_unreachable(
            data, guest=guest, guest_mac=mac, own_mac=SERVICE_MAC
        )


def _has_room(_index: int) -> None:
    """For a flow that is counted already."""
