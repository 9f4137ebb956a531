"""What becomes of a flow: a pure function of the opening packet and what is known."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from enum import StrEnum
from typing import NamedTuple

from vagent.datapath.state import LISTENER, REFUSE, Offer
from vagent.kernel.ip_packet import TCP, UDP, OpeningPacket


class Reason(StrEnum):
    """Why a verdict is what it is. A closed set: it labels a counter."""

    METADATA = "metadata"
    SERVICE = "service"
    NO_LIVE_ENDPOINT = "no-live-endpoint"
    NOT_PROVISIONED = "not-provisioned"
    NO_ENDPOINT = "no-endpoint"
    UNKNOWN_GUEST = "unknown-guest"
    GUEST_LIMIT = "guest-limit"
    GUEST_RATE = "guest-rate"
    HOST_LIMIT = "host-limit"
    PROTOCOL = "protocol"


class Verdict(NamedTuple):
    """`endpoint` is the number of the chosen endpoint; 0 drops the packet."""

    endpoint: int
    reason: Reason
    service: str = ""


UNKNOWN_GUEST = Verdict(0, Reason.UNKNOWN_GUEST)
NOT_CARRIED = Verdict(0, Reason.PROTOCOL)
TOO_FAST = Verdict(REFUSE, Reason.GUEST_RATE)
NOT_PROVISIONED = Verdict(REFUSE, Reason.NOT_PROVISIONED)


def decide(
    packet: OpeningPacket,
    index: int,
    *,
    offers: Mapping[tuple[int, int], Offer],
    guests: Container[int],
    over_limit: Callable[[int], Reason | None],
    choose: Callable[[int, int, tuple[int, ...]], tuple[int, bool]],
) -> Verdict:
    """Judge a packet that opens a flow above the tap.

    `index` tells whose its source is; it must be one of the `guests`. `over_limit` says
    why this index may have no more flows; `choose` takes, for an index and a protocol,
    one of several endpoints and says whether it is thought to live.
    Refused flows are reset at once,
    those of no guest get silence: who is not registered learns nothing.
    """
    if index not in guests:
        return UNKNOWN_GUEST
    if packet.protocol not in (TCP, UDP):
        return NOT_CARRIED
    offer = offers.get((packet.destination, packet.destination_port))
    if offer is None:
        return NOT_PROVISIONED
    if not offer.endpoints:
        return Verdict(REFUSE, Reason.NO_ENDPOINT, offer.service)
    full = over_limit(index)
    if full is not None:
        return Verdict(REFUSE, full, offer.service)
    if offer.endpoints[0] == LISTENER:
        if packet.protocol != TCP:
            return Verdict(REFUSE, Reason.PROTOCOL, offer.service)
        return Verdict(LISTENER, Reason.METADATA, offer.service)
    endpoint, is_live = choose(index, packet.protocol, offer.endpoints)
    reason = Reason.SERVICE if is_live else Reason.NO_LIVE_ENDPOINT
    return Verdict(endpoint, reason, offer.service)
