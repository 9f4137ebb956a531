"""Promises of vagent.linklocal.own_servers."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import Any

import pytest

from vagent.linklocal.own_servers import LOOPBACK, OwnServer, OwnServers
from vagent.linklocal.service import LinkLocalService

HOST, OTHER = IPv4Address("10.0.0.7"), IPv4Address("10.0.0.8")
ANY = IPv4Address("0.0.0.0")
OWN = OwnServers(
    [
        OwnServer("the config API", LOOPBACK, 8082),
        OwnServer("the port API", ANY, 9091),
        OwnServer("the port API for IPv6", IPv6Address("::1"), 8083),
        OwnServer(
            "the embedded metadata server", LOOPBACK, 8775, answers_metadata=True
        ),
    ],
    is_local=lambda address: address in (HOST, LOOPBACK),
    identities=[IPv4Network("169.254.64.0/18")],
)
NTP = LinkLocalService("ntp", IPv4Address("169.254.1.1"), 123, (OTHER,), 123)


def leading(*addresses: IPv4Address, port: int, **more: Any) -> LinkLocalService:
    return replace(NTP, fabric_addresses=addresses, fabric_port=port, **more)


@pytest.mark.parametrize(
    ("address", "port", "what"),
    [
        (LOOPBACK, 8082, "the config API"),
        (LOOPBACK, 8083, ""),
        (IPv4Address("127.0.0.2"), 8082, ""),
        (HOST, 8082, ""),
        (HOST, 9091, "the port API"),
        (LOOPBACK, 9091, "the port API"),
        (OTHER, 9091, ""),
        (IPv6Address("::1"), 9091, ""),
        (ANY, 8082, "the config API"),
        (ANY, 9091, "the port API"),
        (ANY, 8083, ""),
        (IPv6Address("::ffff:127.0.0.1"), 8082, "the config API"),
        (IPv6Address("::ffff:0.0.0.0"), 8082, "the config API"),
        (IPv6Address("::"), 8083, "the port API for IPv6"),
        (IPv6Address("::"), 8082, ""),
    ],
)
def test_what_listens_where(
    address: IPv4Address | IPv6Address, port: int, what: str
) -> None:
    """By address and port; a server at 0.0.0.0 has all addresses of this host, and a
    connection to 0.0.0.0 goes to loopback.
    """
    assert what == OWN.at(address, port)


def test_one_address_is_enough_to_refuse_a_service() -> None:
    """The reason names it."""
    assert "" == OWN.why_not(NTP)
    why = OWN.why_not(leading(OTHER, LOOPBACK, port=8082))
    assert "fabric address 127.0.0.1 port 8082 is the config API of the agent" in why


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST.", "127.0.0.1", "0.0.0.0"])
def test_names_that_need_no_look_up(name: str) -> None:
    """They count where the service has no addresses, as the name is not used then."""
    assert OWN.why_not(leading(port=8082, fabric_dns_name=name))
    assert "" == OWN.why_not(leading(OTHER, port=8082, fabric_dns_name=name))
    assert "" == OWN.why_not(leading(port=8082, fabric_dns_name="nova.example"))


def test_the_metadata_service_may_lead_to_the_embedded_server() -> None:
    """No other service may, and it leads to nothing else of the agent's own."""
    assert OWN.why_not(leading(LOOPBACK, port=8775))
    assert "" == OWN.why_not(leading(LOOPBACK, port=8775, name="metadata"))
    assert OWN.why_not(leading(LOOPBACK, port=8082, name="metadata"))


def test_addresses_of_a_name_are_left_out_one_by_one() -> None:
    """The others stay."""
    service = leading(OTHER, HOST, port=9091)
    assert (OTHER,) == OWN.without(service).fabric_addresses


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("0.0.0.0", "is not a unicast address"),
        ("255.255.255.255", "is not a unicast address"),
        ("224.0.0.5", "is not a unicast address"),
        ("::", "is not a unicast address"),
        ("ff02::1", "is not a unicast address"),
        ("::ffff:10.0.0.8", "has a zone or an IPv4-mapped form, which is not allowed"),
        ("fe80::1%lo", "has a zone or an IPv4-mapped form, which is not allowed"),
        ("169.254.64.2", "is in the range of the guests' identities"),
        ("10.0.0.8", ""),
        ("127.0.0.1", ""),
        ("fd00::7", ""),
    ],
)
def test_a_name_leads_to_where_a_server_can_be(address: str, why: str) -> None:
    """The rule of provisioned addresses, and no identity, whose guest may change."""
    found = ip_address(address)
    told = OWN.why_not_at(found, 80)
    assert told.startswith(why)
    assert bool(why) == bool(told)
    service = replace(NTP, fabric_addresses=(found,))
    assert why in OWN.why_not_found(service)
    assert (() if why else (found,)) == OWN.without(service).fabric_addresses


def test_without_a_way_to_know_loopback_is_this_hosts() -> None:
    """And nothing else."""
    own = OwnServers([OwnServer("the port API", ANY, 9091)])
    assert own.at(IPv4Address("127.8.8.8"), 9091)
    assert "" == own.at(HOST, 9091)


def test_it_shows_its_servers() -> None:
    """In logs of a fault."""
    assert (
        "<OwnServers 127.0.0.1 8082, 0.0.0.0 9091, ::1 8083, 127.0.0.1 8775>"
        == repr(OWN)
    )
