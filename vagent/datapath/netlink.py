"""Netlink messages as bytes: attributes, headers, batches, acknowledgements (RFC 3549).

Only what the agent sends itself because no tool writes it. Knows no message's meaning.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

from vagent.errors import KernelError

NETLINK_NETFILTER = 12
NLM_REQUEST = 0x1
NLM_ACK = 0x4
NLM_CREATE = 0x400
NLA_NESTED = 0x8000
_NLMSG_ERROR = 2
_HEADER = struct.Struct("=IHHII")
_TIMEOUT = 5.0
"""Seconds to wait for the kernel's acknowledgement, which comes within milliseconds."""


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


def error_code(reply: bytes) -> int:
    """The errno of an acknowledgement, 0 for success. Raises KernelError."""
    if len(reply) < _HEADER.size + 4:
        raise KernelError(f"netlink reply of {len(reply)} bytes, expected 20 or more")
    kind = _HEADER.unpack_from(reply)[1]
    if kind != _NLMSG_ERROR:
        raise KernelError(f"netlink reply of type {kind}, expected {_NLMSG_ERROR}")
    (code,) = struct.unpack_from("=i", reply, _HEADER.size)
    return -int(code)


def transact(message: bytes, what: str) -> None:
    """Send a message that asks for one acknowledgement. Raises KernelError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as link:
        link.settimeout(_TIMEOUT)
        try:
            link.bind((0, 0))
            link.send(message)
            code = error_code(link.recv(65536))
        except OSError as failure:
            raise KernelError(f"{what}: {failure}") from failure
    if code:
        name = errno.errorcode.get(code, str(code))
        raise KernelError(f"{what}: the kernel says {name} ({os.strerror(code)})")
