"""What a guest's connection needs of the proxy: the seam between the two."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

from vagent.metadata.request import Refusal, Request

if TYPE_CHECKING:  # the connection imports this module
    from vagent.metadata.guest import GuestConnection


class Admission(Enum):
    """What becomes of a new connection."""

    WELCOME = "welcome"
    BUSY = "told to come back"
    RESET = "reset"


class Desk(Protocol):
    """The proxy, as a guest's connection sees it."""

    def arrived(self, guest: GuestConnection) -> Admission:
        """A new connection; it is counted until it departs."""

    def departed(self, guest: GuestConnection) -> None:
        """The connection is closed."""

    def parse(self, head: bytes) -> Request | Refusal:
        """Read a whole request head."""

    def requested(self, guest: GuestConnection, request: Request, body: bytes) -> None:
        """A whole request, answered by `relay` and `finish`, `answer` or `cut`."""

    def settled(self, guest: GuestConnection) -> None:
        """The request that waited for an exchange is over, answered or not."""

    def refused(self, guest: GuestConnection, refusal: Refusal) -> None:
        """A request broke a rule; it is being answered."""

    def replied(self, guest: GuestConnection, status: int, size: int) -> None:
        """A relayed reply is complete."""

    def cut_short(self, guest: GuestConnection, reason: str) -> None:
        """The connection is reset for breaking a limit."""
