"""What becomes of a flow: a pure function of its opening packet and what is known."""

from __future__ import annotations

from collections.abc import Mapping
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
    STOPPING = "stopping"


class Verdict(NamedTuple):
    """`endpoint` is the number of the endpoint that the flow goes to, REFUSE, or 0,
    which drops the packet.
    """

    endpoint: int
    reason: Reason
    service: str = ""


UNKNOWN_GUEST = Verdict(0, Reason.UNKNOWN_GUEST)
NOT_CARRIED = Verdict(0, Reason.PROTOCOL)
STOPPING = Verdict(0, Reason.STOPPING)
TOO_FAST = Verdict(REFUSE, Reason.GUEST_RATE)
NOT_PROVISIONED = Verdict(REFUSE, Reason.NOT_PROVISIONED)


def decide(
    packet: OpeningPacket,
    *,
    is_guest: bool,
    offers: Mapping[tuple[int, int], Offer],
    full: Reason | None,
) -> Verdict | Offer:
    """The verdict on a packet that opens a flow; or the offer, where the flow is let in
    to a service whose endpoints are equal, and one of them remains to be chosen.

    `is_guest` says whether its source is the identity of a registered port, `full` why
    that port may have no further flow. Refused flows are reset at once. A source that
    is nobody's gets silence: it learns nothing.
    """
    if not is_guest:
        return UNKNOWN_GUEST
    if packet.protocol not in (TCP, UDP):
        return NOT_CARRIED
    offer = offers.get((packet.destination, packet.destination_port))
    if offer is None:
        return NOT_PROVISIONED
    if not offer.endpoints:
        return Verdict(REFUSE, Reason.NO_ENDPOINT, offer.service)
    if full is not None:
        return Verdict(REFUSE, full, offer.service)
    if offer.endpoints[0] != LISTENER:
        return offer
    if packet.protocol != TCP:
        return Verdict(REFUSE, Reason.PROTOCOL, offer.service)
    return Verdict(LISTENER, Reason.METADATA, offer.service)
