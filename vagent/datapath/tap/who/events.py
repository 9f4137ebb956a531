"""What is reported of the programs at the taps: who was refused, and why."""

from __future__ import annotations

from dataclasses import dataclass

from vagent.datapath.tap.who.refusals import Refusal
from vagent.observe.event import Event, Metric


class TapEvent(Event):
    """Base of what appears in the trace buffer `Taps`: guests at their taps."""

    __slots__ = ()
    buffer = "Taps"
    sandesh = "TapTrace"


@dataclass(slots=True)
class GuestRefused(TapEvent):
    """A frame was dropped at a tap, the first one in a minute of its port (or of its
    tap, where that has none) and reason. `mac`, `address` and `vlan` (0 without a tag;
    `vlan_type` is `802.1ad` for a tag of that type) are the frame's, those that begin
    with `registered_` the port's. `differs` says what of it is not as registered.
    """

    counter = Metric(
        "datapath_refusals_told_total",
        "Times that a frame was dropped at a tap, the first one in a minute of its "
        "port (or its tap, where that has none) and reason.",
    )
    level = "warn"
    refusal: Refusal

    def label(self) -> str:
        """The reason, one of a closed set."""
        return self.refusal.reason.word

    def facts(self) -> dict[str, object]:
        """The frame and the port, member by member."""
        sender, port = self.refusal.sender, self.refusal.port
        return {
            "reason": self.label(),
            "port_id": port.id if port else "",
            "tap": sender.tap,
            "mac": sender.mac,
            "address": str(sender.address or ""),
            "vlan": sender.vlan,
            "vlan_type": "802.1ad" if sender.is_service_tag else "",
            "registered_mac": port.mac if port else "",
            "registered_addresses": port.addresses if port else (),
            "registered_vlan": port.vlan if port else 0,
            "differs": self.refusal.differs,
        }

    def text(self) -> str:
        """Where, why, from whom, and what is registered there."""
        return f"refused at tap {self.refusal.sender.tap}: {self.refusal}"


@dataclass(slots=True)
class RefusalsUnread(TapEvent):
    """The kernel did not tell what was refused at the taps; what is known stays."""

    counter = Metric(
        "datapath_refusals_unread_total",
        "Times that the kernel did not tell what was refused at the taps.",
    )
    level = "warn"
    detail: str

    def text(self) -> str:
        return f"what was refused at the taps is not known: {self.detail}"


@dataclass(slots=True)
class AddressNotLearned(TapEvent):
    """A guest uses an address that its port, which learns, does not take."""

    counter = Metric(
        "datapath_addresses_not_learned_total",
        "Times that a port which learns did not take the address that its guest used.",
    )
    level = "warn"
    port_id: str
    tap: str
    address: str
    detail: str

    def text(self) -> str:
        """Says which port, which address, and why not."""
        return (
            f"port {self.port_id} tap {self.tap} does not learn {self.address}: "
            f"{self.detail}"
        )
