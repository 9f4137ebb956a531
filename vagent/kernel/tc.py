"""Attaches eBPF programs at traffic control's ingress hook, by rtnetlink.

Ours run after everybody else's filters of an interface, and only ours are removed. The
queueing discipline clsact, which holds filters, is added where it is missing and is
never removed: for some 0.1 ms while it comes or goes the kernel drops what leaves the
interface.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

from vagent.errors import KernelError
from vagent.kernel.netlink import (
    NETLINK_ROUTE,
    NLM_ACK,
    NLM_CREATE,
    NLM_DUMP,
    NLM_EXCLUSIVE,
    NLM_REQUEST,
    attempt,
    attribute,
    attributes_in,
    dump,
    message,
)

PREFERENCE = 65_000
"""Of our filters. Those with lower numbers run first: others that limit or redirect
what an interface receives."""

_NEW_QDISC, _GET_QDISC = 36, 38
_NEW_FILTER, _DELETE_FILTER, _GET_FILTER = 44, 45, 46
_KIND, _OPTIONS = 1, 2
_BPF_FD, _BPF_NAME, _BPF_FLAGS = 6, 7, 8
_DIRECT_ACTION = struct.pack("=I", 1)
_CLSACT, _CLSACT_HANDLE = 0xFFFFFFF1, 0xFFFF0000
_INGRESS = 0xFFFFFFF2
_MESSAGE = struct.Struct("=BxxxiIII")
_INFO = PREFERENCE << 16 | socket.htons(0x0800)
"""Preference and protocol of a filter: IPv4."""
_GONE = (errno.ENODEV, errno.ENOENT, errno.EINVAL)
"""The kernel's answers where the interface, discipline or filter is gone."""


def attach(ifindex: int, program: int, *, handle: int, name: str) -> None:
    """Run a program, given by descriptor, for each packet that an interface receives.
    Raises KernelError.
    """
    code = attempt(
        message(
            _NEW_QDISC,
            NLM_REQUEST | NLM_ACK | NLM_CREATE | NLM_EXCLUSIVE,
            _MESSAGE.pack(0, ifindex, _CLSACT_HANDLE, _CLSACT, 0)
            + attribute(_KIND, b"clsact\0"),
        ),
        f"clsact at interface {ifindex}",
        NETLINK_ROUTE,
    )
    if code not in (0, errno.EEXIST):
        raise KernelError(f"clsact at interface {ifindex}: {errno.errorcode[code]}")
    options = (
        attribute(_BPF_FD, struct.pack("=I", program))
        + attribute(_BPF_NAME, name.encode() + b"\0")
        + attribute(_BPF_FLAGS, _DIRECT_ACTION)
    )
    code = attempt(
        message(
            _NEW_FILTER,
            NLM_REQUEST | NLM_ACK | NLM_CREATE | NLM_EXCLUSIVE,
            _MESSAGE.pack(0, ifindex, handle, _INGRESS, _INFO)
            + attribute(_KIND, b"bpf\0")
            + attribute(_OPTIONS, options),
        ),
        f"filter at interface {ifindex}",
        NETLINK_ROUTE,
    )
    if code:
        raise KernelError(f"filter at interface {ifindex}: {errno.errorcode[code]}")


def detach(ifindex: int, *, handle: int, name: str) -> bool:
    """Remove our filter; False where there was none. Raises KernelError."""
    if (handle, name) not in _filters(ifindex):
        return False
    code = attempt(
        message(
            _DELETE_FILTER,
            NLM_REQUEST | NLM_ACK,
            _MESSAGE.pack(0, ifindex, handle, _INGRESS, _INFO)
            + attribute(_KIND, b"bpf\0"),
        ),
        f"filter at interface {ifindex}",
        NETLINK_ROUTE,
    )
    if code and code not in _GONE:
        raise KernelError(f"filter at interface {ifindex}: {errno.errorcode[code]}")
    return True


def attached() -> Iterator[int]:
    """The interfaces of this host that have clsact, and so may have filters, ours or
    others'. Raises KernelError.
    """
    question = message(_GET_QDISC, NLM_REQUEST | NLM_DUMP, _MESSAGE.pack(0, 0, 0, 0, 0))
    for kind, body in dump(question, "queueing disciplines", NETLINK_ROUTE):
        if kind == _NEW_QDISC and len(body) >= _MESSAGE.size:
            _, ifindex, _, parent, _ = _MESSAGE.unpack_from(body)
            if parent == _CLSACT:
                yield ifindex


def _filters(ifindex: int) -> Iterator[tuple[int, str]]:
    """Handle and name of every filter of an interface; "" where it has no name."""
    question = message(
        _GET_FILTER, NLM_REQUEST | NLM_DUMP, _MESSAGE.pack(0, ifindex, 0, _INGRESS, 0)
    )
    for kind, body in dump(question, f"filters of interface {ifindex}", NETLINK_ROUTE):
        if kind == _NEW_FILTER and len(body) >= _MESSAGE.size:
            found = attributes_in(body[_MESSAGE.size :])
            options = attributes_in(found.get(_OPTIONS, b""))
            name = options.get(_BPF_NAME, b"").rstrip(b"\0").decode("utf-8", "replace")
            yield _MESSAGE.unpack_from(body)[2], name
