"""The attachments whose packets the fast path can carry: IPv4, without VLAN."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address

from vagent.datapath.state import Attachment
from vagent.datapath.tap.flow_entry import Match

Place = tuple[int, bytes, IPv4Address]
"""Where packets of a guest come from: ifindex of the tap, MAC and address."""


class GuestPlaces:
    """The attachments by place, and their taps."""

    def __init__(self) -> None:
        self._attachments: dict[Place, Attachment] = {}
        self._taps: Counter[int] = Counter()

    def __contains__(self, ifindex: int) -> bool:
        """Is this interface the tap of an attachment?"""
        return ifindex in self._taps

    def attachment_of(self, match: Match) -> Attachment | None:
        """The attachment with this tap, MAC and source address, if there is one."""
        return self._attachments.get((match.ifindex, match.mac, match.pair.source))

    def add(self, attachment: Attachment) -> None:
        """The taps serve this attachment."""
        place = _place(attachment)
        if place is None:
            return
        is_known = place in self._attachments
        self._attachments[place] = attachment
        if not is_known:
            self._taps[attachment.ifindex] += 1

    def remove(self, attachment: Attachment) -> None:
        """The taps serve it no longer."""
        place = _place(attachment)
        if place is None or self._attachments.get(place) != attachment:
            return
        del self._attachments[place]
        self._taps[attachment.ifindex] -= 1
        if not self._taps[attachment.ifindex]:
            del self._taps[attachment.ifindex]


def _place(attachment: Attachment) -> Place | None:
    """None where packets of the attachment never match: IPv6, and tagged frames."""
    if attachment.address is None or attachment.tag is not None:
        return None
    mac = bytes.fromhex(attachment.mac.replace(":", ""))
    return attachment.ifindex, mac, attachment.address
