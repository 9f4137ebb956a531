"""Attaches eBPF programs at traffic control's ingress hook, by rtnetlink.

A filter hangs below one of two queueing disciplines, ingress or clsact, of which an
interface has at most one; either will do. Where there is neither, ingress is added:
libvirt and Open vSwitch, who use it, too, remove what has this name before they add
theirs, but do not remove clsact. We never remove it. Whoever removes a discipline
removes the filters of all.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

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
    messages,
)

DISCIPLINE_GROUP = 8
"""The multicast group RTMGRP_TC, in which the kernel announces each queueing discipline
and filter that comes or goes, but for those that go with their interface."""
FIRST, LAST = range(1, 9), range(65_000, 65_008)
"""Preferences of our filters; those with lower ones run before. The next one is tried
where another kind of filter has the one before."""

_NEW_QDISC, _REMOVED_QDISC, _GET_QDISC = 36, 37, 38
_NEW_FILTER, _DELETE_FILTER, _GET_FILTER = 44, 45, 46
_KIND, _OPTIONS = 1, 2
_BPF_FD, _BPF_NAME, _BPF_FLAGS, _BPF_ID = 6, 7, 8, 11
_DIRECT_ACTION = struct.pack("=I", 1)
_AT_INGRESS, _AT_INGRESS_HANDLE = 0xFFFFFFF1, 0xFFFF0000
"""Parent and handle of either discipline."""
_INGRESS = 0xFFFFFFF2
"""Parent of filters at ingress; the kernel takes it below either discipline."""
_MESSAGE = struct.Struct("=BxxxiIII")
_ANY_PROTOCOL = socket.htons(0x0003)
_TAKEN = (errno.EINVAL, errno.ENOENT, errno.EEXIST)
_GONE = (errno.ENODEV, errno.ENOENT, errno.EINVAL)
"""The kernel's answers where the interface, discipline or filter is gone."""


class DisciplineChange(NamedTuple):
    """An interface got one of the two disciplines, or lost it with all its filters."""

    ifindex: int
    is_gone: bool


class Filter(NamedTuple):
    """One filter at ingress. `name` and `program`, its number, are those of a BPF
    filter, "" and 0 elsewhere.
    """

    preference: int
    protocol: int
    handle: int
    kind: str
    name: str
    program: int


def attach(
    ifindex: int, program: int, *, handle: int, name: str, is_first: bool
) -> None:
    """Run a program, given by descriptor, for each packet that an interface receives,
    in the place of the one with this handle and name, if any. An interface that has
    gone is no error. Raises KernelError.
    """
    ours = find(ifindex, handle=handle, name=name)
    if ours is not None:
        code = _put(ifindex, program, handle, name, ours.preference)
    else:
        code = _put_new(ifindex, program, handle, name, is_first=is_first)
        if code in _TAKEN:
            _add_discipline(ifindex)
            code = _put_new(ifindex, program, handle, name, is_first=is_first)
    if code and code != errno.ENODEV:
        raise KernelError(f"filter at interface {ifindex}: {errno.errorcode[code]}")


def detach(ifindex: int, *, handle: int, name: str) -> bool:
    """Remove our filter; False where there was none. Raises KernelError."""
    ours = find(ifindex, handle=handle, name=name)
    if ours is None:
        return False
    code = attempt(
        message(
            _DELETE_FILTER,
            NLM_REQUEST | NLM_ACK,
            _MESSAGE.pack(
                0, ifindex, handle, _INGRESS, ours.preference << 16 | ours.protocol
            )
            + attribute(_KIND, b"bpf\0"),
        ),
        f"filter at interface {ifindex}",
        NETLINK_ROUTE,
    )
    if code and code not in _GONE:
        raise KernelError(f"filter at interface {ifindex}: {errno.errorcode[code]}")
    return True


def find(ifindex: int, *, handle: int, name: str) -> Filter | None:
    """The filter with this handle and name. Raises KernelError."""
    for each in filters(ifindex):
        if (each.handle, each.name) == (handle, name):
            return each
    return None


def filters(ifindex: int) -> Iterator[Filter]:
    """Every filter of an interface, in the order in which they run. Raises
    KernelError.
    """
    question = message(
        _GET_FILTER, NLM_REQUEST | NLM_DUMP, _MESSAGE.pack(0, ifindex, 0, _INGRESS, 0)
    )
    for kind, body in dump(question, f"filters of interface {ifindex}", NETLINK_ROUTE):
        if kind != _NEW_FILTER or len(body) < _MESSAGE.size:
            continue
        _, _, handle, _, info = _MESSAGE.unpack_from(body)
        found = attributes_in(body[_MESSAGE.size :])
        if not handle and _OPTIONS not in found:
            continue  # the head of a preference
        options = attributes_in(found.get(_OPTIONS, b""))
        yield Filter(
            info >> 16,
            info & 0xFFFF,
            handle,
            _text(found.get(_KIND, b"")),
            _text(options.get(_BPF_NAME, b"")),
            int.from_bytes(options.get(_BPF_ID, b""), "little"),
        )


def attached() -> Iterator[int]:
    """The interfaces of this host that may have filters at ingress, ours or others'.
    Raises KernelError.
    """
    question = message(_GET_QDISC, NLM_REQUEST | NLM_DUMP, _MESSAGE.pack(0, 0, 0, 0, 0))
    for kind, body in dump(question, "queueing disciplines", NETLINK_ROUTE):
        if kind == _NEW_QDISC and len(body) >= _MESSAGE.size:
            _, ifindex, _, parent, _ = _MESSAGE.unpack_from(body)
            if parent == _AT_INGRESS:
                yield ifindex


def discipline_changes_in(data: bytes) -> Iterator[DisciplineChange]:
    """The announcements in a datagram that are about one of the two, as far as it can
    be read.
    """
    for kind, body in messages(data):
        if kind in (_NEW_QDISC, _REMOVED_QDISC) and len(body) >= _MESSAGE.size:
            _, ifindex, _, parent, _ = _MESSAGE.unpack_from(body)
            if parent == _AT_INGRESS:
                yield DisciplineChange(ifindex, kind == _REMOVED_QDISC)


def _put_new(
    ifindex: int, program: int, handle: int, name: str, *, is_first: bool
) -> int:
    code = 0
    for preference in FIRST if is_first else LAST:
        code = _put(ifindex, program, handle, name, preference)
        if code not in _TAKEN:
            break
    return code


def _put(ifindex: int, program: int, handle: int, name: str, preference: int) -> int:
    options = (
        attribute(_BPF_FD, struct.pack("=I", program))
        + attribute(_BPF_NAME, name.encode() + b"\0")
        + attribute(_BPF_FLAGS, _DIRECT_ACTION)
    )
    return attempt(
        message(
            _NEW_FILTER,
            NLM_REQUEST | NLM_ACK | NLM_CREATE,
            _MESSAGE.pack(
                0, ifindex, handle, _INGRESS, preference << 16 | _ANY_PROTOCOL
            )
            + attribute(_KIND, b"bpf\0")
            + attribute(_OPTIONS, options),
        ),
        f"filter at interface {ifindex}",
        NETLINK_ROUTE,
    )


def _add_discipline(ifindex: int) -> None:
    """ingress, unless it or the other one is there. Raises KernelError."""
    code = attempt(
        message(
            _NEW_QDISC,
            NLM_REQUEST | NLM_ACK | NLM_CREATE | NLM_EXCLUSIVE,
            _MESSAGE.pack(0, ifindex, _AT_INGRESS_HANDLE, _AT_INGRESS, 0)
            + attribute(_KIND, b"ingress\0"),
        ),
        f"ingress at interface {ifindex}",
        NETLINK_ROUTE,
    )
    if code not in (0, errno.EEXIST, errno.ENODEV):
        raise KernelError(f"ingress at interface {ifindex}: {errno.errorcode[code]}")


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")
