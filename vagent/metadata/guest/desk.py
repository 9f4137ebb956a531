"""What a guest's connection needs of the proxy: the seam between the two."""

from __future__ import annotations

from enum import Enum
from typing import Any, Protocol

from vagent.metadata.guest.client import Client
from vagent.metadata.http.request_head import RequestHead, RequestRefusal


class Admission(Enum):
    """What becomes of a new connection."""

    WELCOME = "welcome"
    BUSY = "told to come back"
    RESET = "reset"


class Guest(Client, Protocol):
    """A guest's connection, as the proxy sees it."""

    source: str
    has_sessions: bool
    is_far: bool
    transport: Any

    def answer(self, status: int, *, close: bool, text: bytes = b"") -> None:
        """Send a reply of our own, with a reason, which completes the request."""

    def issue(self, data: bytes, size: int, *, hops: int) -> None:
        """Send a complete reply that gets no further than `hops`."""


class Desk(Protocol):
    """The proxy, as a guest's connection sees it."""

    def arrived(self, guest: Guest) -> Admission:
        """A new connection; it is counted until it departs."""

    def departed(self, guest: Guest) -> None:
        """The connection is closed."""

    def parse(self, head: bytes) -> RequestHead | RequestRefusal:
        """Read a whole request head."""

    def requested(self, guest: Guest, request: RequestHead, body: bytes) -> None:
        """A whole request, answered by `relay` and `finish`, `answer` or `cut`."""

    def settled(self, guest: Guest) -> None:
        """The request that waited for an exchange is over, answered or not."""

    def refused(self, guest: Guest, refusal: RequestRefusal) -> None:
        """A request broke a rule; it is being answered."""

    def replied(self, guest: Guest, status: int, size: int) -> None:
        """A relayed reply is complete."""

    def cut_short(self, guest: Guest, reason: str) -> None:
        """The connection is reset for breaking a limit."""
