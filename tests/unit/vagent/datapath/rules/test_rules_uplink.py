"""The table in the host's own network, and how it follows the services of this host.
What the rules do is shown in `tests/system/test_system_services.py`.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from vagent.datapath.names import Names
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.uplink import (
    change_of_near,
    near_endpoints,
    uplink_removal,
    uplink_ruleset,
    wanted_near,
)
from vagent.datapath.state import Services
from vagent.kernel.nf_tables import INET, IPV4
from vagent.linklocal.service import LinkLocalService

ALL = Features(nft_queue=True, ip6_tables=True, ipv6=True)
DISABLED = replace(ALL, ipv6=False)
IPV4_ONLY = Features(nft_queue=True)
HERE, THERE = IPv4Address("127.0.0.1"), IPv4Address("127.0.0.53")


@pytest.fixture
def near(dns: LinkLocalService) -> LinkLocalService:
    """A service with two endpoints on this host, and one elsewhere."""
    return replace(dns, fabric_addresses=(HERE, THERE, IPv4Address("192.0.2.53")))


def test_only_loopback_endpoints_are_of_this_host(
    names: Names, near: LinkLocalService, metadata: LinkLocalService
) -> None:
    """What is elsewhere is routed, and the listener is in the namespace."""
    services = Services.of([near, metadata], names, None)
    found = near_endpoints(services)
    assert {HERE, THERE} == {each.address for each in found}
    assert frozenset() == near_endpoints(Services.of([metadata], names, None))


def test_the_whole_table_is_replaced_in_one_script(
    names: Names, near: LinkLocalService
) -> None:
    """It never fails for what was there or was not."""
    services = Services.of([near], names, None)
    lines = uplink_ruleset(names, services, features=ALL).splitlines()
    assert ["table inet vagent", "delete table inet vagent"] == lines[:2]
    assert [
        "add element inet vagent near { 65533 : 127.0.0.1 . 53 }",
        "add element inet vagent near { 65532 : 127.0.0.53 . 53 }",
    ] == lines[-2:]


@pytest.mark.parametrize(
    ("features", "family"), [(ALL, "inet"), (DISABLED, "inet"), (IPV4_ONLY, "ip")]
)
def test_one_family_has_it_all(names: Names, features: Features, family: str) -> None:
    """That of both, where the kernel has tables of IPv6 at all."""
    nothing = Services.of((), names, None)
    script = uplink_ruleset(names, nothing, features=features)
    assert f"table {family} vagent {{" in script
    removal = uplink_removal(names, features=features)
    assert f"table {family} vagent\ndelete table {family} vagent\n" == removal
    assert script.startswith(removal)


@pytest.mark.parametrize("features", [DISABLED, IPV4_ONLY])
def test_a_host_without_ipv6_translates_none(names: Names, features: Features) -> None:
    """The rule would name an address that nobody has."""
    nothing = Services.of((), names, None)
    assert "ip6" not in uplink_ruleset(names, nothing, features=features)
    assert "ip6 saddr fd40:140::3 masquerade" in (
        uplink_ruleset(names, nothing, features=ALL)
    )


def test_other_machines_open_no_flow_into_the_namespace(names: Names) -> None:
    """Whatever forwards to the uplink is a reply, or is dropped and counted."""
    nothing = Services.of((), names, None)
    script = uplink_ruleset(names, nothing, features=ALL)
    (chain,) = (each for each in script.split("chain ") if "hook forward" in each)
    assert (
        'oifname "vagentu" ct direction original counter name foreign_identity drop'
    ) in chain


def test_a_change_names_what_comes_and_goes(
    names: Names, near: LinkLocalService
) -> None:
    """Nothing of what stays."""
    before = Services.of([near], names, None)
    fewer = replace(near, fabric_addresses=near.fabric_addresses[1:])
    after = Services.of([fewer], names, before)
    gone = "delete element inet vagent near { 65533 : 127.0.0.1 . 53 }\n"
    assert gone == change_of_near(names, before, after, features=ALL)
    come = "add element ip vagent near { 65533 : 127.0.0.1 . 53 }\n"
    assert come == change_of_near(names, after, before, features=IPV4_ONLY)


def test_no_change_of_near_services_is_no_script(
    names: Names, near: LinkLocalService, dns: LinkLocalService
) -> None:
    """Services elsewhere are none of this table's business."""
    before = Services.of([near], names, None)
    other = replace(
        dns,
        name="other",
        address=IPv4Address("169.254.1.54"),
        fabric_addresses=(IPv4Address("192.0.2.99"),),
    )
    after = Services.of([near, other], names, before)
    assert before.endpoints != after.endpoints
    assert "" == change_of_near(names, before, after, features=ALL)


@pytest.mark.parametrize(
    ("features", "family"), [(ALL, INET), (DISABLED, INET), (IPV4_ONLY, IPV4)]
)
def test_elements_are_wanted_as_the_kernels_bytes(
    names: Names, near: LinkLocalService, features: Features, family: int
) -> None:
    """The port of the uplink's address, then address and padded port on this host."""
    found = wanted_near(Services.of([near], names, None), features)
    assert {
        (family, "near"): {
            (65533).to_bytes(2, "big") + HERE.packed + b"\0\x35\0\0",
            (65532).to_bytes(2, "big") + THERE.packed + b"\0\x35\0\0",
        }
    } == found


def test_without_near_services_no_element_is_wanted(
    names: Names, dns: LinkLocalService
) -> None:
    """The map is there, and empty."""
    assert {} == wanted_near(Services.of([dns], names, None), ALL)


def test_loopback_of_ipv6_is_no_near_service(
    names: Names, dns: LinkLocalService
) -> None:
    """Only IPv4 can be led there; it is not offered at all."""
    six = replace(
        dns, address=IPv6Address("fd00::53"), fabric_addresses=(IPv6Address("::1"),)
    )
    services = Services.of([six], names, None)
    assert frozenset() == near_endpoints(services)
