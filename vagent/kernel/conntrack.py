"""Messages to and from conntrack: list flows, find one, keep one alive, end some.

Layouts: linux/netfilter/nfnetlink_conntrack.h, RFC 3549. Integers inside attributes are
big-endian, lengths are in the order of the host. Every length is checked before what it
measures is read. No sockets here, and no guests.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from vagent.errors import KernelError, WireError
from vagent.kernel.ip_packet import TCP, OpeningPacket
from vagent.kernel.netlink import (
    NLA_NESTED,
    NLM_ACK,
    NLM_REQUEST,
    acknowledgement,
    attribute,
    netfilter_message,
)

Address = IPv4Address | IPv6Address

SEEN_REPLY = 0x2
ASSURED = 0x4
DST_NAT = 0x20
"""Bits of a flow's status (linux/netfilter/nf_conntrack_common.h)."""

SEQUENCE_ADJUSTED, DYING, HELPED, OFFLOADED = 0x40, 0x200, 0x2000, 0xC000
"""More bits of the status: the payload was changed in length; the flow is ending; a
helper reads it; hardware or a flowtable carries it."""
ESTABLISHED = 3
"""State of TCP (linux/netfilter/nf_conntrack_tcp.h)."""

_CONNTRACK = 1
_NEW = _CONNTRACK << 8
_GET = _CONNTRACK << 8 | 1
_DELETE = _CONNTRACK << 8 | 2
_NLM_DUMP = 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_FAMILY_HEADER = 4
_ATTRIBUTE = struct.Struct("=HH")
_KIND = 0x3FFF
"""Masks the bits for nesting and byte order out of an attribute's kind."""

_ORIGINAL, _REPLY, _STATUS, _PROTOCOL_INFO, _TIMEOUT, _MARK = 1, 2, 3, 4, 7, 8
_COUNTERS_ORIGINAL, _COUNTERS_REPLY, _ID, _TIMESTAMP = 9, 10, 12, 20
_MARK_MASK, _STATUS_MASK = 21, 26
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_V4_SOURCE, _V4_DESTINATION, _V6_SOURCE, _V6_DESTINATION = 1, 2, 3, 4
_PROTOCOL, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_INFO_TCP, _TCP_STATE = 1, 1
_TCP_FLAGS_ORIGINAL, _TCP_FLAGS_REPLY = 4, 5
_BE_LIBERAL = 0x08
_PACKETS, _BYTES = 1, 2
_START = 1

_TUPLE4 = struct.Struct("!4s4sI4sI4s4sB3x4sH2x4sH2x")
"""An IPv4 tuple with ports as the kernel writes it: the header of each attribute (4s)
and what it holds. To read it in one step takes 4 µs instead of 16."""
_TUPLE4_HEADERS = tuple(
    _ATTRIBUTE.pack(length, kind)
    for length, kind in (
        (20, NLA_NESTED | _TUPLE_IP),
        (8, _V4_SOURCE),
        (8, _V4_DESTINATION),
        (28, NLA_NESTED | _TUPLE_PROTOCOL),
        (5, _PROTOCOL),
        (6, _SOURCE_PORT),
        (6, _DESTINATION_PORT),
    )
)

_U8, _U16 = struct.Struct("!B"), struct.Struct("!H")
_U32, _U64 = struct.Struct("!I"), struct.Struct("!Q")

Spans = dict[int, tuple[int, int]]
"""Where the content of each attribute begins and ends, by its kind."""


class Tuple(NamedTuple):
    """One direction of a flow. Ports are 0 where the protocol has none."""

    protocol: int
    source: Address
    destination: Address
    source_port: int
    destination_port: int


class Traffic(NamedTuple):
    """What a flow has carried in one direction."""

    packets: int
    bytes: int


class Tracked(NamedTuple):
    """One flow as conntrack has it.

    `timeout` is the number of seconds until the kernel forgets it. `tcp_state` is None
    for other protocols. `sent` and `received`, from the opener's point of view, are
    None unless the kernel counts (nf_conntrack_acct). `start` is in nanoseconds since
    the epoch, None unless the kernel notes it (nf_conntrack_timestamp).
    """

    id: int
    mark: int
    original: Tuple
    reply: Tuple
    status: int
    timeout: int
    tcp_state: int | None
    sent: Traffic | None
    received: Traffic | None
    start: int | None


class Part(NamedTuple):
    """The flows of one datagram of a dump; `is_last` says that it was the last one."""

    flows: list[Tracked]
    is_last: bool


def encode_dump(*, family: int, mark: int = 0, mask: int = 0) -> bytes:
    """Ask for all flows of a family that have destination NAT; where a mask is given,
    only for those whose mark, under it, is `mark`. Kernels before 5.16 ignore the
    filter for NAT and send other flows, too.
    """
    payload = attribute(_STATUS, _U32.pack(DST_NAT))
    payload += attribute(_STATUS_MASK, _U32.pack(DST_NAT))
    if mask:
        payload += attribute(_MARK, _U32.pack(mark))
        payload += attribute(_MARK_MASK, _U32.pack(mask))
    return netfilter_message(
        _GET,
        NLM_REQUEST | _NLM_DUMP,
        sequence=1,
        family=family,
        resource=0,
        payload=payload,
    )


def encode_find(packet: OpeningPacket) -> bytes:
    """Ask for the flow that this packet opened."""
    return netfilter_message(
        _GET,
        NLM_REQUEST,
        sequence=1,
        family=socket.AF_INET if packet.version == 4 else socket.AF_INET6,
        resource=0,
        payload=_opened_by(packet),
    )


def encode_keep(packet: OpeningPacket, status: int, seconds: int) -> bytes:
    """Keep the flow that this packet opened for so many seconds from now, although the
    kernel does not see its packets. `status` is its status now, to which ASSURED is
    added: then it is not dropped early when the table is full. A TCP flow becomes
    liberal: packets outside the window that the kernel expects are valid, too
    (nf_conntrack_tcp.h, IP_CT_TCP_FLAG_BE_LIBERAL).
    """
    payload = (
        _opened_by(packet)
        + attribute(_STATUS, _U32.pack(status | ASSURED))
        + attribute(_TIMEOUT, _U32.pack(seconds))
    )
    if packet.protocol == TCP:
        flags = bytes((_BE_LIBERAL, _BE_LIBERAL))
        payload += attribute(
            NLA_NESTED | _PROTOCOL_INFO,
            attribute(
                NLA_NESTED | _INFO_TCP,
                attribute(_TCP_FLAGS_ORIGINAL, flags)
                + attribute(_TCP_FLAGS_REPLY, flags),
            ),
        )
    return netfilter_message(
        _NEW,
        NLM_REQUEST | NLM_ACK,
        sequence=1,
        family=socket.AF_INET if packet.version == 4 else socket.AF_INET6,
        resource=0,
        payload=payload,
    )


def _opened_by(packet: OpeningPacket) -> bytes:
    if packet.version == 4:
        kinds, size = (_V4_SOURCE, _V4_DESTINATION), 4
    else:
        kinds, size = (_V6_SOURCE, _V6_DESTINATION), 16
    addresses = b"".join(
        attribute(kind, address.to_bytes(size, "big"))
        for kind, address in zip(
            kinds, (packet.source, packet.destination), strict=True
        )
    )
    protocol = (
        attribute(_PROTOCOL, _U8.pack(packet.protocol))
        + attribute(_SOURCE_PORT, _U16.pack(packet.source_port))
        + attribute(_DESTINATION_PORT, _U16.pack(packet.destination_port))
    )
    return attribute(
        NLA_NESTED | _ORIGINAL,
        attribute(NLA_NESTED | _TUPLE_IP, addresses)
        + attribute(NLA_NESTED | _TUPLE_PROTOCOL, protocol),
    )


def decode_found(data: bytes, *, is_marked: bool = True) -> Tracked | None:
    """Read the answer to `encode_find`. None where there is no such flow, or it has no
    mark and so is not ours. With `is_marked` off it needs none.

    Raises WireError where a length does not hold, KernelError for the kernel's errors.
    """
    if len(data) >= _HEADER.size and _HEADER.unpack_from(data)[1] == _NLMSG_ERROR:
        code = acknowledgement(data).code
        if code in (0, errno.ENOENT):
            return None
        raise KernelError(f"flow: the kernel says {os.strerror(code)}")
    return next(iter(decode_part(data, is_marked=is_marked).flows), None)


def decode_part(data: bytes, *, is_marked: bool = True) -> Part:
    """Read one datagram of a dump. Flows without a mark are not ours; they are left out
    and not decoded, if `is_marked`.

    Raises WireError where a length does not hold, KernelError for the kernel's errors.
    """
    flows: list[Tracked] = []
    offset = 0
    while offset < len(data):
        if len(data) - offset < _HEADER.size:
            raise WireError(f"netlink header cut at byte {offset} of {len(data)}")
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        if not _HEADER.size <= length <= len(data) - offset:
            raise WireError(f"netlink message of {length} bytes at byte {offset}")
        body, end = offset + _HEADER.size, offset + length
        if kind in (_NLMSG_DONE, _NLMSG_ERROR):
            _check(data, body, end)
            return Part(flows, is_last=True)
        if kind == _NEW:
            flow = _flow(data, body, end, is_marked=is_marked)
            if flow is not None:
                flows.append(flow)
        offset += (length + 3) & ~3
    return Part(flows, is_last=False)


def _check(data: bytes, body: int, end: int) -> None:
    if end - body < 4:
        raise WireError(f"netlink end of {end - body} bytes, expected 4 or more")
    (code,) = struct.unpack_from("=i", data, body)
    if code:
        name = errno.errorcode.get(-code, str(-code))
        raise KernelError(f"flow dump: the kernel says {name} ({os.strerror(-code)})")


def _flow(data: bytes, body: int, end: int, *, is_marked: bool) -> Tracked | None:
    if end - body < _FAMILY_HEADER:
        raise WireError(f"conntrack message of {end - body} bytes, expected 4 or more")
    spans = _attributes(data, body + _FAMILY_HEADER, end)
    mark = _number(data, spans, _MARK, _U32) or 0
    if is_marked and not mark:
        return None
    return Tracked(
        id=_number(data, spans, _ID, _U32) or 0,
        mark=mark,
        original=_tuple(data, spans, _ORIGINAL),
        reply=_tuple(data, spans, _REPLY),
        status=_number(data, spans, _STATUS, _U32) or 0,
        timeout=_number(data, spans, _TIMEOUT, _U32) or 0,
        tcp_state=_tcp_state(data, spans),
        sent=_traffic(data, spans, _COUNTERS_ORIGINAL),
        received=_traffic(data, spans, _COUNTERS_REPLY),
        start=_number(data, _nested(data, spans, _TIMESTAMP), _START, _U64),
    )


def _tuple(data: bytes, spans: Spans, kind: int) -> Tuple:
    start, end = spans.get(kind, (0, 0))
    if end - start == _TUPLE4.size:
        h0, h1, source, h2, destination, h3, h4, protocol, h5, sport, h6, dport = (
            _TUPLE4.unpack_from(data, start)
        )
        if (h0, h1, h2, h3, h4, h5, h6) == _TUPLE4_HEADERS:
            return Tuple(
                protocol, IPv4Address(source), IPv4Address(destination), sport, dport
            )
    return _any_tuple(data, spans, kind)


def _any_tuple(data: bytes, spans: Spans, kind: int) -> Tuple:
    parts = _nested(data, spans, kind)
    addresses = _nested(data, parts, _TUPLE_IP)
    protocol = _nested(data, parts, _TUPLE_PROTOCOL)
    source = _address(data, addresses, _V4_SOURCE, _V6_SOURCE)
    destination = _address(data, addresses, _V4_DESTINATION, _V6_DESTINATION)
    return Tuple(
        _number(data, protocol, _PROTOCOL, _U8) or 0,
        source,
        destination,
        _number(data, protocol, _SOURCE_PORT, _U16) or 0,
        _number(data, protocol, _DESTINATION_PORT, _U16) or 0,
    )


def _address(data: bytes, spans: Spans, kind4: int, kind6: int) -> Address:
    for kind, size, make in ((kind4, 4, IPv4Address), (kind6, 16, IPv6Address)):
        if kind in spans:
            start, end = spans[kind]
            if end - start != size:
                raise WireError(f"address of {end - start} bytes, expected {size}")
            return make(data[start:end])
    raise WireError("flow without an address")


def _tcp_state(data: bytes, spans: Spans) -> int | None:
    info = _nested(data, spans, _PROTOCOL_INFO)
    return _number(data, _nested(data, info, _INFO_TCP), _TCP_STATE, _U8)


def _traffic(data: bytes, spans: Spans, kind: int) -> Traffic | None:
    counters = _nested(data, spans, kind)
    packets = _number(data, counters, _PACKETS, _U64)
    count = _number(data, counters, _BYTES, _U64)
    return None if packets is None or count is None else Traffic(packets, count)


def _attributes(data: bytes, offset: int, end: int) -> Spans:
    spans: Spans = {}
    while offset < end:
        if end - offset < _ATTRIBUTE.size:
            raise WireError(f"attribute header cut at byte {offset}")
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if not _ATTRIBUTE.size <= length <= end - offset:
            raise WireError(f"attribute of {length} bytes at byte {offset}")
        spans[kind & _KIND] = (offset + _ATTRIBUTE.size, offset + length)
        offset += (length + 3) & ~3
    return spans


def _nested(data: bytes, spans: Spans, kind: int) -> Spans:
    span = spans.get(kind)
    return _attributes(data, *span) if span is not None else {}


def _number(data: bytes, spans: Spans, kind: int, layout: struct.Struct) -> int | None:
    span = spans.get(kind)
    if span is None:
        return None
    start, end = span
    if end - start != layout.size:
        raise WireError(
            f"attribute {kind} of {end - start} bytes, expected {layout.size}"
        )
    number: int = layout.unpack_from(data, start)[0]
    return number


def encode_end(mark: int, mask: int) -> bytes:
    """Delete every flow whose mark, under the mask, is `mark`: a flush with a filter,
    which exists since Linux 3.14.
    """
    return netfilter_message(
        _DELETE,
        NLM_REQUEST | NLM_ACK,
        sequence=1,
        family=socket.AF_UNSPEC,
        resource=0,
        payload=attribute(_MARK, _U32.pack(mark))
        + attribute(_MARK_MASK, _U32.pack(mask)),
    )
