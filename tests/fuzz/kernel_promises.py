"""What holds for any bytes that are read as packets or as netlink messages."""

from __future__ import annotations

from vagent.errors import KernelError, WireError
from vagent.kernel.conntrack import Tracked, decode_found, decode_part
from vagent.kernel.ip_packet import TCP, UDP, OpeningPacket, parse
from vagent.kernel.netlink import attribute, attributes_in, message, messages

HEADER = 16
"""Bytes before the body of a netlink message."""


def packet(data: bytes) -> None:
    """A packet or WireError; what follows the ports changes nothing."""
    found = _parsed(data)
    if found is None:
        return
    assert found.version in (4, 6)
    assert max(found.source, found.destination) < 1 << (
        32 if found.version == 4 else 128
    )
    if found.protocol in (TCP, UDP):
        assert 0 <= max(found.source_port, found.destination_port) < 1 << 16
    else:
        assert (0, 0) == (found.source_port, found.destination_port)
    assert found == _parsed(data + b"more")


def _parsed(data: bytes) -> OpeningPacket | None:
    try:
        return parse(data)
    except WireError:
        return None


def netlink(data: bytes) -> None:
    """Messages and attributes lie within the bytes and in their order, and written
    again they are read as the same.
    """
    found = list(messages(data))
    assert sum(HEADER + len(body) for _, body in found) <= len(data)
    at = 0
    for kind, body in found:
        at = data.index(body, at + HEADER) + len(body)
        assert [(kind, body)] == list(messages(message(kind, 0, body)))
    inner = attributes_in(data)
    assert sum(4 + len(value) for value in inner.values()) <= len(data)
    again = b"".join(attribute(kind, value) for kind, value in inner.items())
    assert inner == attributes_in(again)


def conntrack(data: bytes) -> None:
    """Flows, or one of our errors; an answer about one flow is read as the first of a
    list is.
    """
    try:
        flows = decode_part(data).flows
    except (WireError, KernelError):
        flows = []
    for flow in flows:
        assert isinstance(flow, Tracked)
        assert 0 <= flow.mark < 1 << 32
    try:
        one = decode_found(data)
    except (WireError, KernelError):
        return
    assert one is None or isinstance(one, Tracked)
