"""What was refused at a tap, joined with the ports that are registered there."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from vagent.datapath.tap.layout import (
    ANNOUNCED,
    SERVICE_TAG,
    DropReason,
    GuestPlace,
    Refused,
)
from vagent.datapath.tap.who.refusals import (
    MAX_SENDERS,
    Difference,
    Refusal,
    as_members,
    refusal_of,
    refusals_of,
)
from vagent.ports.port import Port, Registration

MAC, OTHER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:99"
ADDRESS, OTHER = IPv4Address("10.0.0.5"), IPv4Address("10.0.0.9")
ADDRESS6 = IPv6Address("2001:db8::5")


def registration(number: int = 1, *, mac: str = MAC, vlan: int = -1) -> Registration:
    port = Port(
        f"port-{number}",
        "i",
        "t",
        "",
        "web",
        "tap1",
        mac,
        ADDRESS,
        ADDRESS6,
        rx_vlan=vlan,
        tx_vlan=vlan,
    )
    return Registration(port, number + 1, IPv4Address("169.254.64.0") + number + 1)


def refused(
    *there: Registration,
    mac: str = MAC,
    address: str | None = "10.0.0.5",
    vlan: int = 0,
    reason: int = DropReason.SPOOFED,
) -> Refusal:
    place = GuestPlace(
        7,
        vlan,
        bytes.fromhex(mac.replace(":", "")),
        None if address is None else ip_address(address),
        reason,
    )
    found = refusal_of(place, "tap1", lambda tap: there if tap == "tap1" else ())
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("seen", "differs"),
    [
        ({"mac": OTHER_MAC}, (Difference.MAC,)),
        ({"address": "10.0.0.9"}, (Difference.ADDRESS,)),
        ({"address": "2001:db8::9"}, (Difference.ADDRESS,)),
        ({"vlan": 5}, (Difference.VLAN,)),
        ({"vlan": SERVICE_TAG}, (Difference.VLAN,)),
        ({"vlan": 5, "mac": OTHER_MAC}, (Difference.VLAN, Difference.MAC)),
        ({"address": "2001:db8::5"}, ()),
        ({"address": "fe80::1"}, ()),
        ({"address": None}, ()),
        ({"address": "0.0.0.0"}, ()),
        ({"address": "169.254.169.254", "reason": DropReason.CLAIMED}, ()),
        ({"address": "10.0.0.9", "reason": DropReason.FRAGMENT}, (Difference.ADDRESS,)),
    ],
)
def test_what_differs(seen: dict[str, object], differs: tuple[Difference, ...]) -> None:
    """MAC address, VLAN (of the right type) and address are compared. Every guest has a
    link-local address; what it claims is not its own; an address probe has none.
    """
    found = refused(registration(), **seen)  # type: ignore[arg-type]
    assert differs == found.differs
    assert found.port is registration().port or found.port == registration().port


def test_a_tap_without_a_port() -> None:
    """There is nothing to compare with."""
    found = refused()
    assert found.port is None
    assert (Difference.PORT,) == found.differs
    assert ("tap1", DropReason.SPOOFED) == found.kind
    assert "no port is registered for this tap" in str(found)


def test_the_nearest_port_of_a_tap() -> None:
    """The one with this MAC address, in whatever VLAN; else the one with the fewest
    differences.
    """
    tagged = registration(1, mac=OTHER_MAC, vlan=5)
    plain = registration(2)
    assert tagged.port == refused(plain, tagged, mac=OTHER_MAC, address="::2").port
    strange = "02:00:00:00:00:77"
    assert plain.port == refused(tagged, plain, mac=strange).port
    assert tagged.port == refused(tagged, plain, mac=strange, vlan=5).port


def test_its_words() -> None:
    """Tap, MAC address, address and VLAN as seen and as registered."""
    port = registration(1, vlan=6)
    found = refused(port, mac=OTHER_MAC, address="10.0.0.9", vlan=5)
    assert ("port-1", DropReason.SPOOFED) == found.kind
    assert (
        "spoofed, from 02:00:00:00:00:99 10.0.0.9 VLAN 5 (another VLAN and another MAC"
        " address and another address); registered is 02:00:00:00:00:01 10.0.0.5,"
        " 2001:db8::5 VLAN 6, port port-1"
    ) == str(found)
    service = refused(registration(), vlan=SERVICE_TAG | 5, address=None)
    assert "02:00:00:00:00:01 802.1ad VLAN 5" == str(service.sender)
    plain = refused(registration(), reason=DropReason.STACKED_TAGS)
    assert "stacked_tags, from 02:00:00:00:00:01 10.0.0.5; registered" in str(plain)


def test_its_members() -> None:
    """As the port API shows them; ages in whole seconds."""
    found = refused(registration(), mac=OTHER_MAC, vlan=SERVICE_TAG | 5)
    assert {
        "reason": "spoofed",
        "mac-address": OTHER_MAC,
        "ip-address": "10.0.0.5",
        "vlan": "802.1ad VLAN 5",
        "differs": ["VLAN", "MAC address"],
        "packets": 4,
        "seconds-ago": 8,
    } == as_members(replace(found, packets=4, ago=7.6))
    assert "" == as_members(refused(registration(), address=None))["ip-address"]


def test_a_reason_of_a_later_version_is_passed_over() -> None:
    """A program that a later agent left may have one."""
    place = GuestPlace(7, 0, bytes(6), ADDRESS, 14)
    assert refusal_of(place, "tap1", lambda _tap: ()) is None


def test_an_announced_address_was_not_refused() -> None:
    """It is one that the port does not have, and may learn."""
    place = GuestPlace(7, 0, bytes.fromhex(MAC.replace(":", "")), ADDRESS, ANNOUNCED)
    port = replace(registration().port, address=None, learn=True)
    told = refusal_of(place, "tap1", lambda _tap: (replace(registration(), port=port),))
    assert told is not None
    assert (DropReason.UNLEARNED, False) == (told.reason, told.was_dropped)
    assert (port, (Difference.ADDRESS,)) == (told.port, told.differs)


def test_all_that_the_kernel_remembers() -> None:
    """The latest first, with packets and age; interfaces that are gone are left out."""
    mac = bytes.fromhex(MAC.replace(":", ""))
    found = refusals_of(
        [
            (GuestPlace(7, 0, mac, OTHER, 2), Refused(3, 4_000_000_000)),
            (GuestPlace(7, 0, mac, ADDRESS, 4), Refused(1, 9_500_000_000)),
            (GuestPlace(8, 0, mac, ADDRESS, 2), Refused(1, 9_000_000_000)),
            (GuestPlace(7, 0, mac, ADDRESS, 3), Refused(2, 11_000_000_000)),
        ],
        {7: "tap1"}.get,  # type: ignore[arg-type]
        lambda _tap: (registration(),),
        now=10_000_000_000,
    )
    assert [
        (DropReason.STACKED_TAGS, 2, 0.0),
        (DropReason.MALFORMED, 1, 0.5),
        (DropReason.SPOOFED, 3, 6.0),
    ] == [(each.reason, each.packets, each.ago) for each in found]


def test_a_guest_that_invents_senders_hides_nobody() -> None:
    """Of each tap and reason the latest few are kept."""
    invented = [
        (GuestPlace(7, 0, n.to_bytes(6, "big"), ADDRESS, 2), Refused(1, n))
        for n in range(4000)
    ]
    other = (GuestPlace(8, 0, bytes(6), ADDRESS, 2), Refused(1, 0))
    claimed = (GuestPlace(7, 0, bytes(6), ADDRESS, 1), Refused(1, 0))
    found = refusals_of(
        [claimed, *invented, other],
        lambda ifindex: f"tap{ifindex}",
        lambda _tap: (),
        now=4000,
    )
    assert MAX_SENDERS + 2 == len(found)
    latest = f"{3999:012x}"
    assert latest == found[0].sender.mac.replace(":", "")


def test_each_reason_is_explained_to_operators() -> None:
    """With what to do about it."""
    text = (Path(__file__).parents[6] / "docs" / "operations.md").read_text()
    for reason in DropReason:
        assert f"\n| `{reason.word}` | " in text
