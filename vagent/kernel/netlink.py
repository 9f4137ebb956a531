"""Netlink (RFC 3549): attributes, headers and acknowledgements as bytes, and sockets
that send a message or a batch and read the answer. What messages mean is elsewhere.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from vagent.errors import KernelError

NETLINK_ROUTE = 0
NETLINK_XFRM = 6
NETLINK_NETFILTER = 12
NLM_REQUEST = 0x1
NLM_ACK = 0x4
NLM_REPLACE = 0x100
NLM_EXCLUSIVE = 0x200
NLM_DUMP = 0x300
NLM_CREATE = 0x400
NLA_NESTED = 0x8000
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_CAPPED, _HAS_ATTRIBUTES = 0x100, 0x200
_FAULT_OFFSET = 2
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_SO_SNDBUFFORCE = 32
_SEND_OVERHEAD = 4096
"""Bytes of a send buffer that the kernel uses for its own book-keeping, at most."""
_READ = 65536
_HEADER = struct.Struct("=IHHII")
_TIMEOUT = 5.0
"""Seconds to wait for the kernel's answer, which usually takes milliseconds."""


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    length = 4 + len(data)
    return struct.pack("=HH", length, kind) + data + b"\0" * (-length % 4)


def netfilter_message(
    kind: int, flags: int, *, sequence: int, family: int, resource: int, payload: bytes
) -> bytes:
    """One message of the netfilter family (`nfgenmsg` header, version 0)."""
    body = struct.pack("!BBH", family, 0, resource) + payload
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


def message(kind: int, flags: int, payload: bytes, *, sequence: int = 1) -> bytes:
    """One message of any netlink family."""
    return _HEADER.pack(_HEADER.size + len(payload), kind, flags, sequence, 0) + payload


class Acknowledgement(NamedTuple):
    """The kernel's answer to one message: the sequence number of that message, an errno
    (0 for success), and the offset in the message of what is wrong, 0 if unknown.
    """

    sequence: int
    code: int
    offset: int = 0


def acknowledgement(reply: bytes) -> Acknowledgement:
    """Read an acknowledgement. Raises KernelError where it is something else."""
    if len(reply) < _HEADER.size + 4:
        raise KernelError(f"netlink reply of {len(reply)} bytes, expected 20 or more")
    _, kind, flags, sequence, _ = _HEADER.unpack_from(reply)
    if kind != _NLMSG_ERROR:
        raise KernelError(f"netlink reply of type {kind}, expected {_NLMSG_ERROR}")
    (code,) = struct.unpack_from("=i", reply, _HEADER.size)
    offset = _fault(reply) if flags & _CAPPED and flags & _HAS_ATTRIBUTES else 0
    return Acknowledgement(sequence, -int(code), offset)


def transact(message: bytes, what: str, protocol: int = NETLINK_NETFILTER) -> None:
    """Send a message that asks for an acknowledgement. Raises KernelError where the
    kernel refuses or does not answer; `what` names the message.
    """
    code = attempt(message, what, protocol)
    if code:
        name = errno.errorcode.get(code, str(code))
        raise KernelError(f"{what}: the kernel says {name} ({os.strerror(code)})")


def attempt(message: bytes, what: str, protocol: int) -> int:
    """As `transact`, but returns the kernel's errno, 0 for success."""
    return acknowledgement(ask(message, what, protocol)).code


def ask(
    message: bytes,
    what: str,
    protocol: int = NETLINK_NETFILTER,
    *,
    timeout: float = _TIMEOUT,
) -> bytes:
    """Send a message, and return the one datagram that answers it within `timeout`
    seconds; with 0 it must be there when the message is sent. Raises KernelError, and
    OSError where the kernel has no such protocol.
    """
    with _opened(protocol, what) as link:
        link.settimeout(timeout)
        try:
            link.bind((0, 0))
            link.send(message)
            return link.recv(_READ)
        except OSError as failure:
            raise KernelError(f"{what}: {failure}") from failure


def _opened(protocol: int, what: str) -> socket.socket:
    """A netlink socket. Raises KernelError, and OSError where the kernel has no such
    protocol.
    """
    try:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    except OSError as failure:
        if failure.errno == errno.EPROTONOSUPPORT:
            raise
        raise KernelError(f"{what}: {failure}") from failure


def dump(message: bytes, what: str, protocol: int) -> Iterator[tuple[int, bytes]]:
    """Send a message that asks for a list, and yield kind and body of each message of
    the answer. Raises KernelError.
    """
    with _opened(protocol, what) as link:
        link.settimeout(_TIMEOUT)
        try:
            link.bind((0, 0))
            link.send(message)
            while True:
                for kind, body in messages(link.recv(_READ)):
                    if kind == _NLMSG_DONE:
                        return
                    if kind == _NLMSG_ERROR:
                        raise KernelError(f"{what}: the kernel refuses to list them")
                    yield kind, body
        except OSError as failure:
            raise KernelError(f"{what}: {failure}") from failure


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each message of a datagram, as far as it can be read."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        if not _HEADER.size <= length <= len(data) - offset:
            return
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def attributes_in(data: bytes) -> dict[int, bytes]:
    """Attributes by kind, without the bits for nesting, as far as they can be read."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if not 4 <= length <= len(data) - offset:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def transact_batch(
    batch: bytes | bytearray, protocol: int = NETLINK_NETFILTER
) -> list[Acknowledgement]:
    """Send a batch and read all answers: the kernel has worked the batch off when the
    system call returns. Raises KernelError.
    """
    with _opened(protocol, "netlink batch") as link:
        try:
            link.setsockopt(
                socket.SOL_SOCKET, _SO_SNDBUFFORCE, len(batch) + _SEND_OVERHEAD
            )
            link.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
            link.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
            link.bind((0, 0))
            link.send(batch)
            return list(_answers(link))
        except OSError as failure:
            raise KernelError(f"netlink batch: {failure}") from failure


def _answers(link: socket.socket) -> Iterator[Acknowledgement]:
    while True:
        try:
            yield acknowledgement(link.recv(_READ, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return
        except OSError as failure:
            # The kernel had more errors to report than the buffer holds. The first one,
            # which counts, was read.
            if failure.errno != errno.ENOBUFS:
                raise


def _fault(reply: bytes) -> int:
    """The offset of what is wrong, from the attributes behind the capped message."""
    at = 2 * _HEADER.size + 4
    while at + 8 <= len(reply):
        length, kind = struct.unpack_from("=HH", reply, at)
        if kind == _FAULT_OFFSET and length == 8:
            return int(struct.unpack_from("=I", reply, at + 4)[0])
        at += max(4, (length + 3) & ~3)
    return 0
