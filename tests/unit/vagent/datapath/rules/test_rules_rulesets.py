"""The tables and chains as text, whole: what was tried with packets is what is written.

`rulesets/` holds the text for some kinds of host. A change of it is seen there as nft
reads it, and tried with real packets in `tests/system`. After a wanted change
`python -m tests.unit.vagent.datapath.rules.test_rules_rulesets` writes the files anew.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from vagent.config.model import DataPathConfig
from vagent.datapath.names import Names
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.render import ruleset
from vagent.datapath.rules.uplink import uplink_ruleset
from vagent.datapath.state import Attachment, Services
from vagent.linklocal.service import LinkLocalService

FOLDER = Path(__file__).parent / "rulesets"
NAMES = Names.of(DataPathConfig(), listener_port=8097, guest_rate=1000)
TO_GUESTS = Names.of(
    DataPathConfig(host_to_guest=True), listener_port=8097, guest_rate=50
)
HOSTS = {
    "all": Features(nft_queue=True, ip6_tables=True, ipv6=True, ct_timeout=True),
    "without-queue": Features(nft_queue=False, ip6_tables=True, ipv6=True),
    "without-ipv6": Features(nft_queue=True),
    "host-to-guest": Features(nft_queue=True, ip6_tables=True, ipv6=True),
}
UPLINKS = {
    "uplink": Features(nft_queue=True, ip6_tables=True, ipv6=True, ct_timeout=True),
    "uplink-ipv6-disabled": Features(nft_queue=True, ip6_tables=True),
    "uplink-without-ipv6": Features(nft_queue=True),
}
GUEST = Attachment(
    index=2,
    identity=IPv4Address("169.254.64.2"),
    tap="tap-alice",
    ifindex=11,
    mac="02:00:00:00:00:01",
    address=IPv4Address("10.0.0.5"),
)
GUEST6 = replace(
    GUEST,
    index=3,
    identity=IPv4Address("169.254.64.3"),
    tap="tap-bob",
    ifindex=12,
    address=None,
    address6=IPv6Address("2001:db8::5"),
    takes_link_local=True,
)
DNS = LinkLocalService(
    "dns",
    IPv4Address("169.254.1.53"),
    53,
    (IPv4Address("192.0.2.53"), IPv4Address("192.0.2.54")),
    53,
)
DNS6 = replace(
    DNS,
    name="dns6",
    address=IPv6Address("fd00::53"),
    fabric_addresses=(IPv6Address("2001:db8::53"),),
)
NEAR = replace(
    DNS,
    name="ntp",
    address=IPv4Address("169.254.1.123"),
    port=123,
    fabric_addresses=(IPv4Address("127.0.0.1"),),
    fabric_port=123,
)
METADATA = LinkLocalService(
    "metadata", IPv4Address("169.254.169.254"), 80, (IPv4Address("192.0.2.1"),), 8775
)


def written(name: str) -> str:
    """The rules of a host of this kind, with guests and services."""
    features = HOSTS[name]
    names = TO_GUESTS if name == "host-to-guest" else NAMES
    services = Services.of([METADATA, DNS, DNS6, NEAR], names, None)
    guests = [GUEST]
    if features.ipv6:
        guests.append(GUEST6)
    else:
        services = services.without_ipv6()
    guests.append(replace(guests[-1], index=4, port=guests[-1].index))
    return ruleset(names, services, guests, features=features)


def written_at_uplink(name: str) -> str:
    """The rules of the host's own network."""
    services = Services.of([METADATA, DNS, DNS6, NEAR], NAMES, None)
    return uplink_ruleset(NAMES, services, features=UPLINKS[name])


@pytest.mark.parametrize("name", HOSTS)
def test_the_rules_are_what_was_tried(name: str) -> None:
    """Every table, chain, set, rule and element, to the letter."""
    assert (FOLDER / f"{name}.nft").read_text() == written(name)


@pytest.mark.parametrize("name", UPLINKS)
def test_the_rules_at_the_uplink_are_what_was_tried(name: str) -> None:
    """To the letter, too: they stand among those of others."""
    assert (FOLDER / f"{name}.nft").read_text() == written_at_uplink(name)


def test_no_ruleset_outlives_its_host() -> None:
    """Each file is compared."""
    files = {path.stem for path in FOLDER.glob("*.nft")}
    assert {*HOSTS, *UPLINKS} == files


def write() -> None:
    """Take the rules as they are now for what is wanted."""
    FOLDER.mkdir(exist_ok=True)
    for name in HOSTS:
        (FOLDER / f"{name}.nft").write_text(written(name))
    for name in UPLINKS:
        (FOLDER / f"{name}.nft").write_text(written_at_uplink(name))


if __name__ == "__main__":
    write()
