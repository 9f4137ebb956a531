"""Conntrack's bytes become flows, and whatever is no such bytes becomes an error."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import hot
from vagent.errors import KernelError, WireError
from vagent.kernel.conntrack import (
    DST_NAT,
    SEEN_REPLY,
    Traffic,
    Tuple,
    decode_found,
    decode_part,
    encode_dump,
    encode_find,
    encode_keep,
)
from vagent.kernel.ip_packet import OpeningPacket
from vagent.kernel.netlink import attribute

NESTED = 0x8000
DONE = struct.pack("=IHHIIi", 20, 3, 2, 1, 0, 0)


def number(kind: int, layout: str, value: int) -> bytes:
    return attribute(kind, struct.pack(layout, value))


def nest(kind: int, *content: bytes) -> bytes:
    return attribute(kind | NESTED, b"".join(content))


def direction(
    kind: int, source: str, destination: str, ports: tuple[int, int], protocol: int = 6
) -> bytes:
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    first = 3 if family == socket.AF_INET6 else 1
    return nest(
        kind,
        nest(
            1,
            attribute(first, socket.inet_pton(family, source)),
            attribute(first + 1, socket.inet_pton(family, destination)),
        ),
        nest(
            2,
            number(1, "!B", protocol),
            number(2, "!H", ports[0]),
            number(3, "!H", ports[1]),
        ),
    )


def message(*content: bytes, kind: int = 0x100) -> bytes:
    body = struct.pack("!BBH", socket.AF_INET, 0, 0) + b"".join(content)
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body


MARK = number(8, "!I", 0x10002)
ORIGINAL = direction(1, "169.254.64.2", "169.254.169.254", (33000, 80))
REPLY = direction(2, "169.254.64.1", "169.254.64.2", (8097, 33000))
WHOLE = message(
    ORIGINAL,
    REPLY,
    number(3, "!I", SEEN_REPLY | DST_NAT),
    number(7, "!I", 431_999),
    nest(9, number(1, "!Q", 5), number(2, "!Q", 600)),
    nest(10, number(1, "!Q", 4), number(2, "!Q", 2**33)),
    nest(20, number(1, "!Q", 1_469_000_000_123_456_789)),
    nest(4, nest(1, number(1, "!B", 3))),
    MARK,
    number(12, "!I", 0xDEADBEEF),
)


def test_a_flow_has_all_that_the_kernel_tells() -> None:
    """Both tuples, status, timeout, TCP state, counters of 64 bits, start, mark, id."""
    (flow,), is_last = decode_part(WHOLE)
    assert not is_last
    assert (
        Tuple(6, IPv4Address("169.254.64.2"), IPv4Address("169.254.169.254"), 33000, 80)
        == flow.original
    )
    assert (
        Tuple(6, IPv4Address("169.254.64.1"), IPv4Address("169.254.64.2"), 8097, 33000)
        == flow.reply
    )
    assert (0xDEADBEEF, 0x10002, 0x22, 431_999) == (
        flow.id,
        flow.mark,
        flow.status,
        flow.timeout,
    )
    assert 3 == flow.tcp_state
    assert (Traffic(5, 600), Traffic(4, 2**33)) == (flow.sent, flow.received)
    assert 1_469_000_000_123_456_789 == flow.start


def test_what_the_kernel_does_not_tell_is_none() -> None:
    """Without accounting, time stamps and TCP there is a flow all the same."""
    (flow,), _ = decode_part(message(ORIGINAL, REPLY, MARK))
    assert (None, None, None, None) == (
        flow.tcp_state,
        flow.sent,
        flow.received,
        flow.start,
    )


def test_ipv6_is_read() -> None:
    """Addresses of 16 bytes, by the general way."""
    original = direction(1, "fe80::2", "fe80::a9fe:a9fe", (33000, 80), 17)
    reply = direction(2, "fe80::1", "fe80::2", (8097, 33000), 17)
    (flow,), _ = decode_part(message(original, reply, MARK))
    assert (
        Tuple(17, IPv6Address("fe80::2"), IPv6Address("fe80::a9fe:a9fe"), 33000, 80)
        == flow.original
    )


def test_the_fast_and_the_general_way_agree() -> None:
    """Attributes in another order mean the same."""
    swapped = nest(
        1,
        nest(
            2,
            number(3, "!H", 80),
            number(2, "!H", 33000),
            number(1, "!B", 6),
        ),
        nest(
            1,
            attribute(2, socket.inet_aton("169.254.169.254")),
            attribute(1, socket.inet_aton("169.254.64.2")),
        ),
    )
    (one,), _ = decode_part(message(ORIGINAL, REPLY, MARK))
    (other,), _ = decode_part(message(swapped, REPLY, MARK))
    assert one.original == other.original


def test_a_protocol_without_ports_has_zeros() -> None:
    """ICMP has none."""
    bare = nest(
        1,
        nest(
            1,
            attribute(1, socket.inet_aton("169.254.64.2")),
            attribute(2, socket.inet_aton("169.254.169.254")),
        ),
        nest(2, number(1, "!B", 1)),
    )
    (flow,), _ = decode_part(message(bare, REPLY, MARK))
    assert (1, 0, 0) == (
        flow.original.protocol,
        flow.original.source_port,
        flow.original.destination_port,
    )


@pytest.mark.parametrize("mark", [b"", number(8, "!I", 0)])
def test_flows_without_a_mark_are_passed_over(mark: bytes) -> None:
    """They are not even decoded: the host may have hundreds of thousands."""
    part = decode_part(message(b"", mark) + WHOLE)
    assert [0x10002] == [flow.mark for flow in part.flows]


def test_the_end_ends_the_dump() -> None:
    """What comes after it does not count; other messages are passed over."""
    part = decode_part(message(kind=0x101) + WHOLE + DONE + WHOLE)
    assert part.is_last
    assert 1 == len(part.flows)


@pytest.mark.parametrize("mark", [b"", number(8, "!I", 0)])
def test_flows_without_a_mark_are_read_where_none_is_needed(mark: bytes) -> None:
    """The host has flows of ours without one; mark 0 stands for it."""
    unmarked = message(ORIGINAL, REPLY, mark)
    part = decode_part(unmarked + WHOLE, is_marked=False)
    assert [0, 0x10002] == [flow.mark for flow in part.flows]
    found = decode_found(unmarked, is_marked=False)
    assert found is not None
    assert (0, part.flows[1].original) == (found.mark, found.original)


@pytest.mark.parametrize("kind", [2, 3])
def test_the_kernels_error_is_told(kind: int) -> None:
    """With its name and words."""
    with pytest.raises(KernelError, match="EPERM"):
        decode_part(struct.pack("=IHHIIi", 20, kind, 0, 1, 0, -1))


@pytest.mark.parametrize("length", range(1, len(WHOLE)))
def test_every_prefix_is_refused(length: int) -> None:
    """A cut message is an error, never half a flow."""
    with pytest.raises(WireError):
        decode_part(WHOLE[:length])


def test_nothing_is_nothing() -> None:
    """An empty datagram holds no flow and no end."""
    assert ([], False) == decode_part(b"")


@pytest.mark.parametrize(
    "wrong",
    [
        struct.pack("=IHHII", 15, 0x100, 2, 1, 0),
        struct.pack("=IHHII", 17, 0x100, 2, 1, 0) + b"\0",
        struct.pack("=IHHII", 18, 3, 2, 1, 0) + b"\0\0",
        message(struct.pack("=HH", 3, 8)),
        message(struct.pack("=HH", 9, 8) + b"\0\0\0\0"),
        message(MARK, b"\0\0"),
        message(attribute(8, b"\0\0\0")),
        message(MARK),
        message(ORIGINAL, MARK),
        message(ORIGINAL, nest(2, nest(1, attribute(1, b"\1\2\3\4\5"))), MARK),
        message(ORIGINAL, REPLY, MARK, attribute(20, b"\4\0\1")),
    ],
)
def test_lengths_that_do_not_hold_are_refused(wrong: bytes) -> None:
    """Of messages, of attributes, of numbers, of addresses; and missing tuples."""
    with pytest.raises(WireError):
        decode_part(wrong)


@hot
@given(st.binary(max_size=300), st.integers(20, len(WHOLE)))
def test_arbitrary_bytes_are_survived(data: bytes, at: int) -> None:
    """Flows or one of our errors, whatever comes."""
    for bytes_ in (data, WHOLE[:at] + data + WHOLE[at + len(data) :]):
        with suppress(WireError, KernelError):
            decode_part(bytes_)


def test_the_question_asks_for_translated_flows() -> None:
    """A dump (flags 0x301) of a family, filtered by status alone."""
    asked = encode_dump(family=socket.AF_INET)
    length, kind, flags, *_ = struct.unpack_from("=IHHII", asked)
    assert (len(asked), 0x101, 0x301) == (length, kind, flags)
    assert socket.AF_INET == asked[16]
    assert number(3, "!I", DST_NAT) + number(26, "!I", DST_NAT) == asked[20:]


def test_the_question_may_be_for_one_mark() -> None:
    """The kernel filters, not we."""
    asked = encode_dump(family=socket.AF_INET, mark=2, mask=0xFFFF)
    assert asked.endswith(number(8, "!I", 2) + number(21, "!I", 0xFFFF))


@pytest.mark.parametrize(
    ("source", "destination", "family", "version"),
    [
        ("169.254.64.2", "169.254.1.7", socket.AF_INET, 4),
        ("fd40:140:2::1", "fd00:5e::7", socket.AF_INET6, 6),
    ],
)
def test_the_question_may_be_for_one_flow(
    source: str, destination: str, family: int, version: int
) -> None:
    """By what its opening packet says; no dump, no acknowledgement."""
    first, second = (
        int.from_bytes(socket.inet_pton(family, each)) for each in (source, destination)
    )
    asked = encode_find(OpeningPacket(17, first, second, 40000, 53, version))
    length, kind, flags, *_ = struct.unpack_from("=IHHII", asked)
    assert (len(asked), 0x101, 0x1) == (length, kind, flags)
    assert family == asked[16]
    assert direction(1, source, destination, (40000, 53), 17) == asked[20:]


def error(code: int) -> bytes:
    return struct.pack("=IHHIIi", 20, 2, 0, 1, 0, code)


def test_one_flow_is_found_or_not() -> None:
    """None where there is none, or one that is not ours; other errors are told."""
    found = decode_found(WHOLE)
    assert found is not None
    assert 0x10002 == found.mark
    assert decode_found(error(-2)) is None
    assert decode_found(message(ORIGINAL, REPLY)) is None
    with pytest.raises(KernelError, match="not permitted"):
        decode_found(error(-1))
    with pytest.raises(KernelError):
        decode_found(error(-1)[:18])


def test_a_flow_is_kept_with_its_status_and_time() -> None:
    """Assured in any case; liberal on both sides where it is TCP."""
    udp = encode_keep(OpeningPacket(17, 1, 2, 3, 4), 0x1BA, 120)
    tcp = encode_keep(OpeningPacket(6, 1, 2, 3, 4), 0x1BE, 7440)
    for message, seconds in ((udp, 120), (tcp, 7440)):
        length, kind, flags = struct.unpack_from("=IHH", message)
        assert length == len(message)
        assert kind == 0x100  # IPCTNL_MSG_CT_NEW
        assert flags == 0x5  # a request that wants an answer, and creates nothing
        assert number(3, "!I", 0x1BE) + number(7, "!I", seconds) in message
    liberal = nest(4, nest(1, attribute(4, b"\x08\x08"), attribute(5, b"\x08\x08")))
    assert tcp.endswith(liberal)
    assert liberal not in udp


def asked(kind: int, flags: int, family: int, *payload: bytes) -> bytes:
    """A whole question, byte for byte."""
    body = struct.pack("!BBH", family, 0, 0) + b"".join(payload)
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


def test_questions_byte_for_byte() -> None:
    """Headers, family, and each attribute in its place."""
    all_of_ours = number(3, "!I", DST_NAT) + number(26, "!I", DST_NAT)
    one_mark = number(8, "!I", 0), number(21, "!I", 0xFFFF)
    assert asked(0x101, 0x301, 2, all_of_ours) == encode_dump(family=2)
    assert asked(0x101, 0x301, 10, all_of_ours, *one_mark) == encode_dump(
        family=10, mask=0xFFFF
    )


@pytest.mark.parametrize(
    ("source", "destination", "family", "version"),
    [
        ("169.254.64.2", "169.254.1.7", socket.AF_INET, 4),
        ("fd40:140:2::1", "fd00:5e::7", socket.AF_INET6, 6),
    ],
)
def test_orders_byte_for_byte(
    source: str, destination: str, family: int, version: int
) -> None:
    """To find and to keep a flow, of either family."""
    first, second = (
        int.from_bytes(socket.inet_pton(family, each)) for each in (source, destination)
    )
    packet = OpeningPacket(17, first, second, 40000, 53, version)
    tuple_ = direction(1, source, destination, (40000, 53), 17)
    assert asked(0x101, 0x1, family, tuple_) == encode_find(packet)
    kept = number(3, "!I", 0x1BE), number(7, "!I", 120)
    order = asked(0x100, 0x5, family, tuple_, *kept)
    assert order == encode_keep(packet, 0x1BA, 120)


def test_what_is_not_said_is_zero() -> None:
    """Id, status and time-out of a flow, and the protocol of a tuple."""
    bare = nest(
        1,
        nest(
            1,
            attribute(1, socket.inet_aton("169.254.64.2")),
            attribute(2, socket.inet_aton("169.254.169.254")),
        ),
    )
    (flow,), _ = decode_part(message(bare, REPLY, MARK))
    assert (0, 0, 0) == (flow.id, flow.status, flow.timeout)
    assert (0, 0, 0) == (
        flow.original.protocol,
        flow.original.source_port,
        flow.original.destination_port,
    )


def test_messages_and_attributes_may_be_empty() -> None:
    """A header and nothing behind it, at the end or before others."""
    empty = struct.pack("=IHHII", 16, 1, 0, 1, 0)
    part = decode_part(empty + WHOLE + empty)
    assert ([0x10002], False) == ([flow.mark for flow in part.flows], part.is_last)
    (flow,), _ = decode_part(
        message(attribute(99, b""), ORIGINAL, REPLY, MARK, attribute(98, b""))
    )
    assert 0x10002 == flow.mark


@pytest.mark.parametrize(
    "wrong",
    [
        WHOLE + struct.pack("=IHHII", 17, 1, 0, 1, 0),
        message(ORIGINAL, REPLY, MARK, struct.pack("=HH", 5, 99)),
        message(nest(20, struct.pack("=HH", 13, 1) + bytes(8)), ORIGINAL, REPLY, MARK),
    ],
)
def test_a_length_reaches_no_further_than_what_it_is_in(wrong: bytes) -> None:
    """A message ends in its datagram, an attribute in its message or nest."""
    with pytest.raises(WireError):
        decode_part(wrong)


def test_an_error_that_has_no_name_is_told_by_its_number() -> None:
    """A kernel may be newer than this Python."""
    with pytest.raises(KernelError, match="says 1234"):
        decode_part(struct.pack("=IHHIIi", 20, 3, 0, 1, 0, -1234))
    with pytest.raises(KernelError):
        decode_found(error(-1)[:16])
