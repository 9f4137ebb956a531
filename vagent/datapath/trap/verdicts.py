"""Gives each trapped packet its verdict, and does what follows from it.

`decide` says what becomes of a flow; here it meets the registered guests, the services
and the ceilings. What follows is the packet's mark, the counts, a look at whether the
endpoint answers, and for a refused datagram an ICMP error.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.interfaces import IReactorTime

from vagent.datapath.endpoints.health import EndpointHealth
from vagent.datapath.endpoints.passive_check import PassiveCheck
from vagent.datapath.state import INDEX_BITS, LISTENER, REFUSE, Offer, Services
from vagent.datapath.trap.decide import STOPPING, TOO_FAST, Reason, Verdict, decide
from vagent.datapath.trap.events import FlowDecided, PacketMalformed
from vagent.datapath.trap.flow_limits import FlowLimits
from vagent.datapath.trap.icmp_reject import IcmpReject
from vagent.datapath.trap.recount import FlowRecount
from vagent.errors import WireError
from vagent.kernel.ip_packet import UDP, OpeningPacket, parse
from vagent.observe.event import Emit
from vagent.ports.identity import index_of
from vagent.ports.port import Registration

_CEILINGS = frozenset({Reason.GUEST_LIMIT, Reason.HOST_LIMIT})
_NOBODY = -1


class Verdicts:
    """`mark_of` is called for each trapped packet.

    `guests` has the registered ports by each of their indexes, `start` is the first
    address of the identity range. `health` chooses among the endpoints of a service,
    `passive_check` looks whether the chosen one answers.
    """

    def __init__(
        self,
        start: int,
        *,
        guests: Mapping[int, Registration],
        limits: FlowLimits,
        recount: FlowRecount,
        health: EndpointHealth,
        passive_check: PassiveCheck,
        icmp_reject: IcmpReject,
        emit: Emit,
        clock: IReactorTime,
    ) -> None:
        self._start = start
        self._guests = guests
        self._offers: Mapping[tuple[int, int], Offer] = {}
        self._limits = limits
        self._recount = recount
        self._health = health
        self._passive_check = passive_check
        self._icmp_reject = icmp_reject
        self._emit = emit
        self._clock = clock
        self._holds_back = False

    def hold_back_metadata(self) -> None:
        """From now on drop what opens a flow to the metadata listener, which will be
        closed: the guest repeats its SYN, and the next agent answers.
        """
        self._holds_back = True

    def follow(self, services: Services) -> None:
        """These services are provisioned now."""
        self._offers = services.offers

    def mark_of(self, data: bytes) -> int:
        """The mark with which a trapped packet goes on; 0 drops it."""
        try:
            packet = parse(data)
        except WireError as failure:
            self._emit(PacketMalformed(str(failure)))
            return 0
        index = index_of(packet.source, packet.version, self._start)
        registration = self._guests.get(index)
        # Ceilings hold for a port, however many addresses it has.
        guest = _NOBODY if registration is None else registration.index
        limits = self._limits
        given = limits.endpoint_given(packet)
        decided = decide(
            packet,
            is_guest=registration is not None,
            offers=self._offers,
            full=None if given else limits.why_full(guest),
        )
        verdict = (
            self._choose(decided, packet.protocol, guest, given)
            if isinstance(decided, Offer)
            else decided
        )
        if self._holds_back and verdict.endpoint == LISTENER != given:
            verdict = STOPPING
        self._emit(FlowDecided(packet, verdict, registration))
        endpoint = verdict.endpoint
        if endpoint == REFUSE:
            return self._refuse(data, packet, index, guest, verdict.reason)
        if endpoint == 0:
            return 0
        mark = endpoint << INDEX_BITS | index
        if endpoint != given:
            limits.opened(guest, packet, endpoint)
            if endpoint != LISTENER:
                self._passive_check.opened(packet, mark, guest)
        return mark

    def reject(self, data: bytes) -> None:
        """The kernel refuses this datagram, because its guest opens flows too fast:
        tell the guest by an ICMP error.
        """
        try:
            packet = parse(data)
        except WireError as failure:
            self._emit(PacketMalformed(str(failure)))
            return
        index = index_of(packet.source, packet.version, self._start)
        registration = self._guests.get(index)
        if registration is not None:
            self._emit(FlowDecided(packet, TOO_FAST, registration))
            self._refuse(data, packet, index, registration.index, TOO_FAST.reason)

    def _choose(self, offer: Offer, protocol: int, guest: int, given: int) -> Verdict:
        """One of the endpoints; for another packet of a flow that was `given` one just
        now the same, unless there is evidence that it does not answer.
        """
        health = self._health
        if given in offer.endpoints and health.is_well(given, protocol):
            return Verdict(given, Reason.SERVICE, offer.service)
        endpoint, is_live = health.choose(
            offer.endpoints, protocol, guest, self._clock.seconds()
        )
        reason = Reason.SERVICE if is_live else Reason.NO_LIVE_ENDPOINT
        return Verdict(endpoint, reason, offer.service)

    def _refuse(
        self, data: bytes, packet: OpeningPacket, index: int, guest: int, why: Reason
    ) -> int:
        """The mark by which the kernel resets a TCP flow; 0 for UDP, whose guest gets
        an ICMP error.
        """
        if why in _CEILINGS:
            self._limits.refused()
            self._recount.at_ceiling()
        if packet.protocol == UDP:
            self._icmp_reject.send(data, packet, index, guest)
            return 0
        return REFUSE << INDEX_BITS | index
