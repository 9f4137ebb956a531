"""What the maps hold for an attachment."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from vagent.datapath.state import Attachment, Tag
from vagent.datapath.tap import layout
from vagent.datapath.tap.entries import (
    guest_element,
    is_same,
    own_elements,
    wanted_maps,
    way_of,
)
from vagent.datapath.tap.layout import Guest, GuestFlag, GuestPlace, Reply

MAC = bytes.fromhex("020000000001")
SIX = IPv6Address("2001:db8::5")
BOTH = GuestFlag.TAKES_LINK_LOCAL | GuestFlag.LEARNS


def test_both_addresses_have_a_place_and_one_way_back(alice: Attachment) -> None:
    """Each with its identity; the reply has all that a packet to the guest needs."""
    port = replace(alice, address6=SIX, takes_link_local=True, mtu=9000)
    reply, *places = own_elements(port)
    assert ("reply", layout.encode_number(2)) == reply[:2]
    assert (
        Reply(11, 9000, MAC, 0, alice.address, SIX, takes_link_local=True)
    ) == layout.decode_reply(reply[2])
    found = [
        (layout.decode_place(key), layout.decode_identity(value))
        for name, key, value in places
        if name == "identity"
    ]
    assert [
        (GuestPlace(11, 0, MAC, alice.address), (2, alice.identity)),
        (GuestPlace(11, 0, MAC, SIX), (2, port.identity6)),
    ] == [(place, (each.index, each.address)) for place, each in found]


def test_an_address_that_is_not_known_has_no_place(alice: Attachment) -> None:
    """The way back is there all the same."""
    assert ["reply"] == [
        name for name, *_ in own_elements(replace(alice, address=None))
    ]


def test_a_tagged_guest_is_found_in_its_vlan(alice: Attachment) -> None:
    """By the id that it sends; what it gets has the other one."""
    port = replace(alice, tag=Tag(sent=100, got=101))
    assert ((11, 0, MAC), (11, 100, MAC)) == (way_of(alice), way_of(port))
    (_, _, reply), (_, place, _) = own_elements(port)
    assert 101 == layout.decode_reply(reply).vlan
    assert GuestPlace(11, 100, MAC, port.address) == layout.decode_place(place)
    got = [layout.decode_guest(guest_element([each])) for each in (alice, port)]
    assert [0, 101] == [each.vlan_got for each in got]


@pytest.mark.parametrize("takes", [False, True])
@pytest.mark.parametrize("learns", [False, True])
def test_a_guest_has_its_flags(alice: Attachment, *, takes: bool, learns: bool) -> None:
    """Each for itself."""
    port = replace(alice, takes_link_local=takes, learns=learns)
    flags = GuestFlag(0)
    flags |= GuestFlag.TAKES_LINK_LOCAL if takes else GuestFlag(0)
    flags |= GuestFlag.LEARNS if learns else GuestFlag(0)
    assert Guest(2, flags) == layout.decode_guest(guest_element([port]))


def test_of_several_the_one_that_takes_link_local_addresses(alice: Attachment) -> None:
    """Or the first; any of them may learn."""
    later = replace(alice, index=9, takes_link_local=True)
    learning = replace(alice, index=5, learns=True)
    assert Guest(9, BOTH) == layout.decode_guest(
        guest_element([later, learning, alice])
    )
    first = layout.decode_guest(guest_element([learning, alice]))
    assert Guest(2, GuestFlag.LEARNS) == first


def test_all_maps_of_a_host(alice: Attachment, bob: Attachment) -> None:
    """A tap has its counters once."""
    second = replace(alice, index=9, address=IPv4Address("10.0.0.9"))
    maps = wanted_maps([IPv4Address("169.254.169.254")], [alice, second, bob])
    assert {"tap": 2, "reply": 3, "guest": 2, "identity": 3, "service": 1} == {
        name: len(each) for name, each in maps.items()
    }


def test_counters_are_no_difference(alice: Attachment) -> None:
    """Everything else is."""
    guest = guest_element([alice])
    counted = layout.encode_guest(replace(layout.decode_guest(guest), packets=9))
    assert is_same("guest", counted, guest)
    assert not is_same("guest", guest_element([replace(alice, index=3)]), guest)
    assert is_same("tap", b"anything", layout.encode_drops())
    assert not is_same("reply", b"a", b"b")
    assert not is_same("reply", None, b"b")
