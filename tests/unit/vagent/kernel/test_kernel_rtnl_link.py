"""Messages about interfaces: what is read of them, and which names deserve a look."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagent.datapath.taps import LinkNames
from vagent.kernel.netlink import attribute
from vagent.kernel.rtnl_link import (
    Link,
    LinkChange,
    encode_list,
    encode_question,
    link_in,
    linked_elsewhere_in,
    linked_in,
    links_in,
)

RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR = 16, 17, 20


def link_message(
    name: str, kind: int = RTM_NEWLINK, *, family: int = socket.AF_UNSPEC
) -> bytes:
    body = struct.pack("=BxHiII", family, 1, 7, 0, 0)
    body += attribute(13, struct.pack("=I", 0)) + attribute(3, name.encode() + b"\0")
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def test_link_messages_give_names() -> None:
    """New and deleted links, several in one datagram."""
    data = link_message("tap1") + link_message("tap-long-name", RTM_DELLINK)
    expected = [
        LinkChange(7, "tap1", is_gone=False),
        LinkChange(7, "tap-long-name", is_gone=True),
    ]
    assert expected == list(links_in(data))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"tap1\0", "tap1"),
        (b"tap1", "tap1"),
        (b"tap1\0two\0three", "tap1"),
        ("täp".encode(), "täp"),
        (b"t\xffp\0", "t\N{REPLACEMENT CHARACTER}p"),
    ],
)
def test_names_end_with_their_first_zero(name: bytes, shown: str) -> None:
    """The kernel allows any byte in them but slash and space."""
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 1, 7, 0, 0) + attribute(3, name)
    data = struct.pack("=IHHII", 16 + len(body), RTM_NEWLINK, 0, 0, 0) + body
    assert [LinkChange(7, shown, is_gone=False)] == list(links_in(data))


def test_a_link_without_a_name_is_passed_over() -> None:
    """As are those whose name is empty."""
    for more in (b"", attribute(3, b"\0")):
        body = struct.pack("=BxHiII", socket.AF_UNSPEC, 1, 7, 0, 0) + more
        data = struct.pack("=IHHII", 16 + len(body), RTM_NEWLINK, 0, 0, 0) + body
        assert ["yes"] == [each.name for each in links_in(data + link_message("yes"))]


def test_other_messages_are_passed_over() -> None:
    """Only links are of interest."""
    data = link_message("no", RTM_NEWADDR) + link_message("yes")
    assert ["yes"] == [link.name for link in links_in(data)]


def test_a_port_that_leaves_its_bridge_is_still_there() -> None:
    """The bridge says "deleted" of it, in its own family."""
    data = link_message("tap1", RTM_DELLINK, family=socket.AF_BRIDGE)
    assert [LinkChange(7, "tap1", is_gone=False)] == list(links_in(data))


@pytest.mark.parametrize("length", range(len(link_message("tap1"))))
def test_a_cut_message_is_no_link_and_no_crash(length: int) -> None:
    """Every prefix is read without a fault."""
    assert [] == list(links_in(link_message("tap1")[:length]))


@given(st.binary(max_size=200))
def test_arbitrary_datagrams_are_survived(data: bytes) -> None:
    """Whatever comes, links come out or nothing."""
    assert all(link.name for link in links_in(data))


def answer(*more: tuple[int, bytes], kind: int = RTM_NEWLINK) -> bytes:
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 1, 7, 0, 0)
    body += attribute(3, b"vagent0\0")
    body += b"".join(attribute(*each) for each in more)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


def test_an_interface_is_asked_for_by_name() -> None:
    """One message, padded."""
    header = struct.pack("=IHHII", 44, 18, 1, 1, 0)
    asked = header + bytes(16) + attribute(3, b"vagent0\0")
    assert asked == encode_question("vagent0")
    assert 48 == len(encode_question("vagent10"))


TIED = (5, struct.pack("=i", 8))


def test_what_an_interface_is_tied_to() -> None:
    """Nothing where it is tied to none, or to one of another namespace."""
    assert 8 == linked_in(answer(TIED))
    assert 0 == linked_in(answer())
    assert 0 == linked_in(answer(TIED, (37, struct.pack("=i", 0))))
    assert 0 == linked_in(answer((5, b"\x08\0")))
    assert 0 == linked_in(answer(TIED, kind=2))
    assert 8 == linked_in(answer(kind=2) + answer(TIED))


AWAY = (37, struct.pack("=i", 0))


def test_what_an_interface_of_another_namespace_is_tied_to() -> None:
    """Its ifindex there; nothing where the other end is here, or nowhere."""
    assert 8 == linked_elsewhere_in(answer(TIED, AWAY))
    assert 0 == linked_elsewhere_in(answer(TIED))
    assert 0 == linked_elsewhere_in(answer(AWAY))
    assert 0 == linked_elsewhere_in(answer())
    assert 0 == linked_elsewhere_in(answer(TIED, AWAY, kind=2))
    assert 8 == linked_elsewhere_in(answer(kind=2) + answer(AWAY, TIED))


@pytest.mark.parametrize("length", range(len(answer(TIED))))
def test_a_cut_answer_is_nothing(length: int) -> None:
    """Every prefix is read without a fault."""
    assert 0 == linked_in(answer(TIED)[:length])
    assert 0 == linked_elsewhere_in(answer(AWAY, TIED)[:length])


@given(st.binary(max_size=200))
def test_an_arbitrary_answer_is_survived(data: bytes) -> None:
    """Whatever comes, a number comes out."""
    assert isinstance(linked_in(data), int)
    assert isinstance(linked_elsewhere_in(data), int)


def test_a_new_name_gives_the_old_one_too() -> None:
    """Whoever was registered at the old name has lost its tap."""
    names = LinkNames([(7, "tap1"), (8, "tap2")])
    assert {"tap1", "elsewhere"} == names.take(
        LinkChange(7, "elsewhere", is_gone=False)
    )
    assert {"elsewhere"} == names.take(LinkChange(7, "elsewhere", is_gone=False))
    assert {"tap2"} == names.take(LinkChange(8, "tap2", is_gone=True))


def test_a_number_that_is_given_again_starts_anew() -> None:
    """What was deleted is remembered no longer."""
    names = LinkNames()
    assert {"tap1"} == names.take(LinkChange(7, "tap1", is_gone=False))
    assert {"tap1"} == names.take(LinkChange(7, "tap1", is_gone=True))
    assert {"tap2"} == names.take(LinkChange(7, "tap2", is_gone=False))


IFLA_IFNAME, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO, IFLA_NETNSID = 3, 5, 10, 18, 37
INFO_KIND, INFO_DATA, TUN_TYPE = 1, 2, 3


def listed(*attributes: tuple[int, bytes], flags: int = 0x1003) -> Link | None:
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 1, 7, flags, 0)
    body += b"".join(attribute(kind, value) for kind, value in attributes)
    return link_in(RTM_NEWLINK, body)


def test_the_list_is_a_dump() -> None:
    """Of all interfaces (RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP)."""
    asked = encode_list()
    _, kind, flags, *_ = struct.unpack_from("=IHHII", asked)
    assert (18, 0x301) == (kind, flags)
    assert bytes(16) == asked[16:]


def test_a_tap_in_a_bridge() -> None:
    """With name, kind and master; a tun device of the other type is none."""
    for tun_type, is_tap in ((2, True), (1, False)):
        data = attribute(INFO_DATA, attribute(TUN_TYPE, bytes([tun_type])))
        found = listed(
            (IFLA_IFNAME, b"vnet0\0"),
            (IFLA_MASTER, struct.pack("=I", 3)),
            (IFLA_LINKINFO, attribute(INFO_KIND, b"tun\0") + data),
        )
        assert Link(7, "vnet0", "tun", is_up=True, master=3, is_tap=is_tap) == found


def test_the_end_of_a_veth_pair() -> None:
    """Its other end is here, or in another namespace; down is down."""
    kind = (IFLA_LINKINFO, attribute(INFO_KIND, b"veth\0"))
    tied = (IFLA_LINK, struct.pack("=I", 8))
    name = (IFLA_IFNAME, b"v\0")
    assert Link(7, "v", "veth", is_up=False, tied=8) == listed(
        name, kind, tied, flags=2
    )
    away = (IFLA_NETNSID, struct.pack("=i", 0))
    found = listed(name, kind, tied, away)
    assert Link(7, "v", "veth", is_up=True, tied=8, is_away=True) == found


def test_a_physical_interface_has_no_kind() -> None:
    """Nor has what says nothing about itself, not even its name."""
    assert Link(7, "eth0", "", is_up=True) == listed((IFLA_IFNAME, b"eth0\0"))
    assert Link(7, "", "", is_up=True) == listed()


def test_other_messages_are_no_links() -> None:
    """Nor are those that are cut short."""
    assert link_in(RTM_NEWADDR, bytes(40)) is None
    assert link_in(RTM_NEWLINK, bytes(15)) is None
