"""At which taps the fast path's program runs: those with a port without VLAN."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address

from vagent.datapath.fast_path.events import FastPathTapLeftOut
from vagent.datapath.fast_path.kernel import FastPathKernel
from vagent.datapath.state import Attachment
from vagent.datapath.tap.flow_entry import Match
from vagent.errors import KernelError
from vagent.observe.event import Emit

Place = tuple[int, bytes, IPv4Address]
"""Where packets of a guest come from: ifindex of the tap, MAC and address."""


class TapPrograms:
    """The attachments whose packets can match an entry, and their taps."""

    def __init__(self, kernel: FastPathKernel, *, emit: Emit) -> None:
        self._kernel = kernel
        self._emit = emit
        self._attachments: dict[Place, Attachment] = {}
        self._taps: Counter[int] = Counter()
        self._waiting: dict[int, None] = {}

    def __contains__(self, ifindex: int) -> bool:
        """Is this interface the tap of an attachment?"""
        return ifindex in self._taps

    def attachment_of(self, match: Match) -> Attachment | None:
        """The attachment with this tap, MAC and source address, if there is one."""
        return self._attachments.get((match.ifindex, match.mac, match.pair.source))

    def add(self, attachment: Attachment) -> None:
        """The rules serve this attachment; its tap waits for a program."""
        place = _place(attachment)
        if place is None:
            return
        is_known = place in self._attachments
        self._attachments[place] = attachment
        if is_known:
            return
        self._taps[attachment.ifindex] += 1
        if self._taps[attachment.ifindex] == 1:
            self._waiting[attachment.ifindex] = None

    def remove(self, attachment: Attachment) -> None:
        """Stop watching the tap of an attachment that the rules serve no longer. Raises
        KernelError.
        """
        place = _place(attachment)
        if place is None or self._attachments.get(place) != attachment:
            return
        del self._attachments[place]
        self._taps[attachment.ifindex] -= 1
        if self._taps[attachment.ifindex]:
            return
        del self._taps[attachment.ifindex]
        if attachment.ifindex in self._waiting:
            del self._waiting[attachment.ifindex]
        else:
            self._kernel.detach(attachment.ifindex)

    def attach_waiting(self, most: int) -> None:
        """Attach the program at so many taps that wait for it. A tap that takes none is
        left out, and reported.
        """
        for ifindex in [*self._waiting][:most]:
            del self._waiting[ifindex]
            try:
                self._kernel.attach_tap(ifindex)
            except KernelError as failure:
                self._emit(FastPathTapLeftOut(str(failure)))


def _place(attachment: Attachment) -> Place | None:
    """None where packets of the attachment never match: IPv6, and tagged frames."""
    if attachment.address is None or attachment.tag is not None:
        return None
    mac = bytes.fromhex(attachment.mac.replace(":", ""))
    return attachment.ifindex, mac, attachment.address
