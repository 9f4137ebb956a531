"""The verdict on an opening packet."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from vagent.datapath.state import LISTENER, REFUSE, Offer
from vagent.datapath.trap.decide import Reason, Verdict, decide
from vagent.kernel.ip_packet import TCP, UDP, OpeningPacket

IDENTITY = int(IPv4Address("169.254.64.11"))
METADATA = int(IPv4Address("169.254.169.254"))
DNS = int(IPv4Address("169.254.1.53"))
OFFERS = {
    (METADATA, 80): Offer("metadata", (LISTENER,)),
    (DNS, 53): Offer("dns", (7, 8)),
    (DNS, 123): Offer("ntp", ()),
}


def verdict(
    protocol: int,
    destination: int,
    port: int,
    *,
    is_guest: bool = True,
    full: Reason | None = None,
) -> Verdict | Offer:
    packet = OpeningPacket(protocol, IDENTITY, destination, 40000, port)
    return decide(packet, is_guest=is_guest, offers=OFFERS, full=full)


def test_metadata_goes_to_the_listener() -> None:
    """TCP to the metadata service is for the local listener."""
    assert Verdict(LISTENER, Reason.METADATA, "metadata") == verdict(TCP, METADATA, 80)


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_another_service_is_offered_with_all_its_endpoints(protocol: int) -> None:
    """Which of them the flow gets is chosen later; no service has a protocol."""
    assert OFFERS[DNS, 53] is verdict(protocol, DNS, 53)


def test_a_port_that_is_not_provisioned_is_refused() -> None:
    """The guest is told at once."""
    assert Verdict(REFUSE, Reason.NOT_PROVISIONED) == verdict(TCP, METADATA, 81)


def test_a_service_without_endpoint_is_refused() -> None:
    """Provisioned, but nowhere to go."""
    assert Verdict(REFUSE, Reason.NO_ENDPOINT, "ntp") == verdict(UDP, DNS, 123)


def test_metadata_over_udp_is_refused() -> None:
    """The listener speaks TCP only."""
    assert Verdict(REFUSE, Reason.PROTOCOL, "metadata") == verdict(UDP, METADATA, 80)


def test_a_protocol_without_ports_is_dropped() -> None:
    """There is nothing to translate."""
    assert Verdict(0, Reason.PROTOCOL) == verdict(1, METADATA, 0)


def test_who_is_no_guest_gets_silence() -> None:
    """An unregistered source learns nothing, not even that a service is there."""
    expected = Verdict(0, Reason.UNKNOWN_GUEST)
    assert expected == verdict(TCP, METADATA, 80, is_guest=False)
    assert expected == verdict(TCP, METADATA, 81, is_guest=False)


@pytest.mark.parametrize("full", [Reason.GUEST_LIMIT, Reason.HOST_LIMIT])
def test_over_a_limit_is_refused(full: Reason) -> None:
    """The guest is told at once, and the reason says whose ceiling it is."""
    expected = Verdict(REFUSE, full, "metadata")
    assert expected == verdict(TCP, METADATA, 80, full=full)
    assert Verdict(REFUSE, full, "dns") == verdict(UDP, DNS, 53, full=full)


def test_a_ceiling_does_not_hide_what_is_not_there() -> None:
    """What is not provisioned is told as that, however many flows the guest has."""
    full = Reason.GUEST_LIMIT
    assert Verdict(REFUSE, Reason.NOT_PROVISIONED) == verdict(TCP, DNS, 54, full=full)
    expected = Verdict(REFUSE, Reason.NO_ENDPOINT, "ntp")
    assert expected == verdict(TCP, DNS, 123, full=full)
