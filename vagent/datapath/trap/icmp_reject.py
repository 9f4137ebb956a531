"""Tells a guest by an ICMP error that its datagram was refused, at a limited rate.

The error goes straight to the tap, as an Ethernet frame. A refused TCP flow does not
come here: the kernel resets it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Address

from twisted.internet.interfaces import IReactorTime

from vagent.datapath.names import SERVICE_MAC
from vagent.datapath.state import Attachment
from vagent.datapath.system import System
from vagent.datapath.trap.events import RejectNotSent
from vagent.errors import KernelError, WireError
from vagent.kernel import icmp, icmp6
from vagent.kernel.ip_packet import OpeningPacket
from vagent.observe.event import Emit
from vagent.ports.identity import link_local_of

MAX_REJECTS = 100
MAX_REJECTS_OF_GUEST = 20
"""ICMP errors a second, to all guests of the host and to one of them: each costs the
agent about 50 us, and a guest chooses how many datagrams it sends."""


class IcmpReject:
    """Sends port unreachable. `attachment_of` tells at which tap, and with which
    addresses, the kernel serves an index.
    """

    def __init__(
        self,
        *,
        attachment_of: Callable[[int], Attachment | None],
        system: System,
        emit: Emit,
        clock: IReactorTime,
    ) -> None:
        self._attachment_of = attachment_of
        self._system = system
        self._emit = emit
        self._clock = clock
        self._sent: Counter[int] = Counter()
        self._since = 0.0

    def send(self, data: bytes, packet: OpeningPacket, index: int, guest: int) -> None:
        """Answer a datagram, whose beginning is `data`, from the identity with this
        index; `guest` is the first index of its port.
        """
        now = self._clock.seconds()
        if now - self._since >= 1.0:
            self._sent.clear()
            self._since = now
        attachment = self._attachment_of(index)
        if (
            attachment is None
            or self._sent[guest] >= MAX_REJECTS_OF_GUEST
            or self._sent.total() >= MAX_REJECTS
        ):
            self._emit(RejectNotSent("too many in this second"))
            return
        self._sent[guest] += 1
        try:
            frame = _unreachable(data, packet, attachment)
            if frame is not None:
                tag = attachment.tag
                self._system.send_frame(
                    attachment.ifindex,
                    frame if tag is None else icmp.tagged(frame, tag.got),
                )
        except (WireError, KernelError) as failure:
            self._emit(RejectNotSent(str(failure)))


def _unreachable(
    data: bytes, packet: OpeningPacket, attachment: Attachment
) -> bytes | None:
    """The frame; None where the attachment has no address of this family any more."""
    mac = attachment.mac
    if packet.version == 4:
        address = attachment.address
        if address is None:
            return None
        return icmp.port_unreachable(
            data, guest=address, guest_mac=mac, own_mac=SERVICE_MAC
        )
    guest = link_local_of(IPv6Address(packet.source)) or attachment.address6
    if guest is None:
        return None
    return icmp6.port_unreachable(data, guest=guest, guest_mac=mac, own_mac=SERVICE_MAC)
