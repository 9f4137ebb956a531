"""Netlink bytes: what we send, and how we read what comes."""

from __future__ import annotations

import struct

import pytest

from vagent.errors import KernelError
from vagent.kernel.conntrack import encode_end
from vagent.kernel.netlink import (
    Acknowledgement,
    acknowledgement,
    attribute,
    attributes_in,
    message,
    messages,
    netfilter_message,
)


def test_an_attribute_is_padded_to_four_bytes() -> None:
    """Its length does not count the padding."""
    assert b"\x07\x00\x03\x00abc\x00" == attribute(3, b"abc")


def test_an_acknowledgement_of_zero_is_success() -> None:
    """An error message with code 0 is netlink's yes."""
    reply = struct.pack("=IHHIIi", 20, 2, 0, 1, 0, 0)
    assert Acknowledgement(sequence=1, code=0) == acknowledgement(reply)


def test_an_error_gives_its_errno() -> None:
    """The kernel sends it negative."""
    reply = struct.pack("=IHHIIi", 20, 2, 0, 7, 0, -2)
    assert Acknowledgement(sequence=7, code=2) == acknowledgement(reply)


def fault(*attributes: bytes, flags: int = 0x300) -> bytes:
    """An error about message 3, whose own header follows, then attributes."""
    body = struct.pack("=iIHHII", -17, 99, 0, 0, 3, 0) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), 2, flags, 3, 0) + body


def test_an_error_tells_where_the_fault_is() -> None:
    """Behind the kernel's own words for it, which are skipped."""
    words, offset = attribute(1, b"no\0"), attribute(2, struct.pack("=I", 44))
    assert Acknowledgement(3, 17, 44) == acknowledgement(fault(words, offset))


def test_the_fault_is_found_behind_attributes_of_any_length() -> None:
    """Each padded to four bytes; one of the same length, or of the same kind and of
    another length, is not it; nor is a place far into a long message cut.
    """
    for before in (b"", b"a", b"abcd", b"abcde"):
        words = attribute(1, before), attribute(2, before * 2)
        offset = attribute(2, struct.pack("=I", 0x9000_0000))
        said = acknowledgement(fault(*words, offset))
        assert Acknowledgement(3, 17, 0x9000_0000) == said
    long = attribute(1, bytes(0x9000))
    offset = attribute(2, struct.pack("=I", 44))
    assert Acknowledgement(3, 17, 44) == acknowledgement(fault(long, offset))


@pytest.mark.parametrize("size", [3, 6_000])
def test_what_an_attribute_holds_is_no_attribute(size: int) -> None:
    """Though it looks like the place of a fault."""
    fake = attribute(1, struct.pack("=HHI", 8, 2, 7) * size)
    offset = attribute(2, struct.pack("=I", 44))
    header = struct.pack("=iIHHII", -17, 99, 0, 0, 200, 0)
    body = header + fake + offset
    reply = struct.pack("=IHHII", 16 + len(body), 2, 0x300, 200, 0) + body
    assert Acknowledgement(200, 17, 44) == acknowledgement(reply)


@pytest.mark.parametrize("flags", [0, 0x100, 0x200])
def test_both_flags_announce_attributes(flags: int) -> None:
    """Of a message that is not cut they do not stand where they are looked for."""
    offset = attribute(2, struct.pack("=I", 44))
    said = acknowledgement(fault(offset, flags=flags))
    assert Acknowledgement(3, 17, 0) == said


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_cut_attribute_is_no_place(cut: int) -> None:
    """The errno is still read."""
    offset = attribute(2, struct.pack("=I", 44))
    assert Acknowledgement(3, 17, 0) == acknowledgement(fault(offset)[:-cut])


def test_attributes_of_length_zero_are_stepped_over() -> None:
    """The kernel sends none; reading them ends all the same."""
    assert Acknowledgement(3, 17, 0) == acknowledgement(fault(b"\0" * 40))


@pytest.mark.parametrize(
    "reply", [b"", b"\0" * 19, struct.pack("=IHHIIi", 20, 3, 0, 1, 0, 0)]
)
def test_a_reply_that_is_no_acknowledgement_is_refused(reply: bytes) -> None:
    """Too short, or of another type."""
    with pytest.raises(KernelError):
        acknowledgement(reply)


def test_a_netfilter_message_as_the_kernel_reads_it() -> None:
    """The header of netlink is the host's, that of the family is big-endian."""
    made = netfilter_message(
        0x102, 5, sequence=7, family=10, resource=0x8001, payload=b"abcd"
    )
    header = struct.pack("=IHHII", 24, 0x102, 5, 7, 0)
    assert header + bytes.fromhex("0a008001") + b"abcd" == made


def test_the_end_of_flows_as_the_kernel_reads_it() -> None:
    """A request, acknowledged, of any family; mark and mask are big-endian."""
    payload = attribute(8, b"\x00\x01\x00\x02") + attribute(21, b"\x00\x00\xff\xff")
    assert netfilter_message(
        0x102, 5, sequence=1, family=0, resource=0, payload=payload
    ) == encode_end(0x10002, 0xFFFF)


def test_messages_and_attributes_are_read_as_far_as_they_hold() -> None:
    """A length that is too short or too long ends the reading."""
    one, two = message(24, 1, b"abcd"), message(25, 1, b"efghijkl")
    assert list(messages(one + two)) == [(24, b"abcd"), (25, b"efghijkl")]
    for cut in range(len(one), len(one + two)):
        assert list(messages((one + two)[:cut])) == [(24, b"abcd")]
    assert list(messages(struct.pack("=IHHII", 15, 24, 1, 1, 0))) == []
    assert list(messages(struct.pack("=IHHII", 16, 24, 1, 1, 0))) == [(24, b"")]
    assert list(messages(message(24, 1, b"abc") + b"\0" + two)) == [
        (24, b"abc"),
        (25, b"efghijkl"),
    ]
    first, second = attribute(4, b"abc"), attribute(0x8000 | 5, b"defg")
    assert attributes_in(first + second) == {4: b"abc", 5: b"defg"}
    for cut in range(len(first), len(first + second)):
        assert attributes_in((first + second)[:cut]) == {4: b"abc"}
    assert attributes_in(struct.pack("=HH", 3, 4)) == {}
    assert attributes_in(struct.pack("=HH", 4, 4)) == {4: b""}
    long = bytes(0x9000)
    assert attributes_in(attribute(6, long) + second) == {6: long, 5: b"defg"}
    assert attributes_in(attribute(0xFFFF, b"a") + second) == {
        0x3FFF: b"a",
        5: b"defg",
    }
