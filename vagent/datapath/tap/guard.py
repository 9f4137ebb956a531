"""Keeps the programs at the taps, and their maps, as they are wanted.

What is wanted and what the kernel has are compared, so a start adopts what an earlier
agent left, and what somebody else took away is put back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from vagent.datapath.state import Address, Attachment
from vagent.datapath.tap import layout
from vagent.datapath.tap.entries import (
    COUNTED,
    KEPT,
    Maps,
    Way,
    guest_element,
    is_same,
    own_elements,
    service_elements,
    wanted_maps,
    way_of,
)
from vagent.datapath.tap.kernel import TapKernel
from vagent.datapath.tap.layout import Constants

ALL_AT_ONCE = 256
"""Taps, at most, whose programs are looked at in one look; of more, a fifth."""
LOOKS = 5
"""Looks in which every tap is looked at, and after which maps are compared again."""
_MAX_TOLD = 3


class TapGuard:
    """The attachments that the taps serve, and the guarded service addresses."""

    def __init__(self, kernel: TapKernel) -> None:
        self._kernel = kernel
        self._attachments: dict[int, Attachment] = {}
        self._ways: defaultdict[Way, dict[int, Attachment]] = defaultdict(dict)
        self._taps: defaultdict[int, set[Way]] = defaultdict(set)
        self._addresses: frozenset[Address] = frozenset()
        self._turn = 0

    def __repr__(self) -> str:
        return (
            f"<TapGuard {len(self._attachments)} attachments, {len(self._taps)} taps>"
        )

    def __contains__(self, ifindex: int) -> bool:
        """Does an attachment have this tap?"""
        return ifindex in self._taps

    def open(self, constants: Constants) -> None:
        """Load or adopt the programs. Raises KernelError."""
        self._kernel.open(constants)

    def close(self) -> None:
        """Leave them in force, and look after them no longer."""
        self._forget()
        self._kernel.close()

    def remove(self) -> int:
        """Take everything away; at how many interfaces programs were. Raises
        KernelError.
        """
        return self._kernel.remove()

    def replace(
        self, addresses: Iterable[Address], attachments: Iterable[Attachment]
    ) -> None:
        """Serve these, whatever was served before. Raises KernelError."""
        self._forget()
        self._addresses = frozenset(addresses)
        for each in attachments:
            self._remember(each)
        wanted = wanted_maps(self._addresses, self._attachments.values())
        held = self._kernel.held()
        for name in reversed(KEPT):
            for key in held[name].keys() - wanted[name].keys():
                self._kernel.erase(name, key)
        for name in KEPT:
            for key, value in wanted[name].items():
                self._put(name, key, value, held[name].get(key))
        self._kernel.attach_guest_side()
        for ifindex in self._taps:
            self._kernel.attach(ifindex)
        for ifindex in self._kernel.attached() - self._taps.keys():
            self._kernel.detach(ifindex)
        self._kernel.forget_former()

    def serve(self, addresses: Collection[Address]) -> None:
        """Guard these addresses. Raises KernelError."""
        wanted, before = frozenset(addresses), self._addresses
        for key in service_elements(before - wanted):
            self._kernel.erase("service", key)
        for key, value in service_elements(wanted - before).items():
            self._kernel.put("service", key, value)
        self._addresses = wanted

    def add(self, attachment: Attachment) -> None:
        """Serve one more. Raises KernelError."""
        way = way_of(attachment)
        is_new = attachment.ifindex not in self._taps
        self._remember(attachment)
        if is_new:
            tap = layout.encode_number(attachment.ifindex)
            self._kernel.put("tap", tap, layout.encode_drops())
        for name, key, value in own_elements(attachment):
            if name == "reply":
                self._kernel.put(name, key, value)
        self._put_guest(way)
        for name, key, value in own_elements(attachment):
            if name != "reply":
                self._kernel.put(name, key, value)
        if is_new:
            self._kernel.attach(attachment.ifindex)

    def take_away(self, attachment: Attachment) -> None:
        """Serve one no longer. Raises KernelError."""
        way = way_of(attachment)
        self._drop(attachment)
        for name, key, _ in reversed(own_elements(attachment)):
            self._kernel.erase(name, key)
        if way in self._ways:
            self._put_guest(way)
        else:
            self._kernel.erase("guest", layout.encode_guest_key(*way))
        if attachment.ifindex not in self._taps:
            self._kernel.detach(attachment.ifindex)
            self._kernel.erase("tap", layout.encode_number(attachment.ifindex))

    def put_back(self, ifindex: int) -> bool:
        """Attach the program again if this is a tap that has lost it; did it? Raises
        KernelError.
        """
        if ifindex not in self._taps or self._kernel.has(ifindex):
            return False
        self._kernel.attach(ifindex)
        return self._kernel.has(ifindex)

    def drops(self) -> dict[str, int]:
        """Frames that the programs dropped, by DropReason's word. Raises
        KernelError.
        """
        return self._kernel.drops()

    def missing(self) -> str:
        """What somebody else took away or changed, in words; "" for nothing. Raises
        KernelError.
        """
        self._turn += 1
        told = [
            f"the program at interface {ifindex} is gone"
            for ifindex in self._due()
            if not self._kernel.has(ifindex)
        ]
        if not self._kernel.has_guest_side():
            told.append("the program at the guests' side of the veth pair is gone")
        if len(self._attachments) <= ALL_AT_ONCE or not self._turn % LOOKS:
            told += self._differences()
        more = len(told) - _MAX_TOLD
        told[_MAX_TOLD:] = [f"{more} more"] if more > 0 else []
        return "; ".join(told)

    def _due(self) -> Iterable[int]:
        taps = sorted(self._taps)
        return taps if len(taps) <= ALL_AT_ONCE else taps[self._turn % LOOKS :: LOOKS]

    def _differences(self) -> list[str]:
        wanted = wanted_maps(self._addresses, self._attachments.values())
        held = self._kernel.held()
        return [
            f"map {name} has {differ} elements that are missing, changed or too many"
            for name in KEPT
            if (differ := _differing(name, wanted, held))
        ]

    def _put(self, name: str, key: bytes, value: bytes, held: bytes | None) -> None:
        if is_same(name, held, value):
            return
        end = COUNTED.get(name)
        if held is not None and end is not None:
            value = value[:end] + held[end:]
        self._kernel.put(name, key, value)

    def _put_guest(self, way: Way) -> None:
        key = layout.encode_guest_key(*way)
        self._put(
            "guest",
            key,
            guest_element(self._ways[way].values()),
            self._kernel.get("guest", key),
        )

    def _remember(self, attachment: Attachment) -> None:
        way = way_of(attachment)
        self._attachments[attachment.index] = attachment
        self._ways[way][attachment.index] = attachment
        self._taps[attachment.ifindex].add(way)

    def _drop(self, attachment: Attachment) -> None:
        way = way_of(attachment)
        self._attachments.pop(attachment.index, None)
        self._ways[way].pop(attachment.index, None)
        if not self._ways[way]:
            del self._ways[way]
            self._taps[attachment.ifindex].discard(way)
            if not self._taps[attachment.ifindex]:
                del self._taps[attachment.ifindex]

    def _forget(self) -> None:
        self._attachments.clear()
        self._ways.clear()
        self._taps.clear()


def _differing(name: str, wanted: Maps, held: Maps) -> int:
    too_many = len(held[name].keys() - wanted[name].keys())
    return too_many + sum(
        not is_same(name, held[name].get(key), value)
        for key, value in wanted[name].items()
    )
