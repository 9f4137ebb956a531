"""What a probe uses in its guest's place at the tap, and what the program there made of
it, as values.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from vagent.datapath.tap.layout import NOT_FOR_SERVICE, DropReason, TapProbe


@dataclass(frozen=True, slots=True)
class LastSeen:
    """Where a guest's frames come from. `vlan` is 0 without a tag; `is_service_tag`
    says that the tag is of 802.1ad. `ago` is how many seconds have passed since, None
    for a guest that was never seen: this is what is registered.
    """

    tap: str
    vlan: int
    is_service_tag: bool
    mac: str
    address: IPv4Address
    ago: float | None = None

    def __str__(self) -> str:
        return f"{self.mac} {self.address}{self.tag}"

    @property
    def tag(self) -> str:
        """As people write it, after what stands before it; "" for none."""
        kind = "802.1ad VLAN" if self.is_service_tag else "VLAN"
        return f" {kind} {self.vlan}" if self.vlan or self.is_service_tag else ""

    @property
    def since(self) -> str:
        """When that was, in words."""
        if self.ago is None:
            return "as registered, for its guest was never seen here"
        return f"as its guest was last seen {self.ago:.0f} s ago"


@dataclass(frozen=True, slots=True)
class TapTrial:
    """One probe at one tap. `missing` says why none was sent, "" where it was."""

    seen: LastSeen
    outcome: TapProbe | None = None
    missing: str = ""

    @property
    def refusal(self) -> str:
        """Why a frame was dropped, "" where none was."""
        number = 0 if self.outcome is None else self.outcome.refused
        if not number:
            return ""
        if number == NOT_FOR_SERVICE:
            return "its destination is no guarded service"
        return DropReason(number).word

    @property
    def was_let_in(self) -> bool:
        """Did the program send a packet of it on to the host?"""
        return self.outcome is not None and self.outcome.accepted > 0
