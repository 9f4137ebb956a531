"""What a guest's connection calls while it serves its requests.

The proxy implements one interface, requests that wait for the upstream the other. Both
are in rooms above this one, which therefore does not import them.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from vagent.metadata.http.request_head import RequestHead, RequestRefusal

if TYPE_CHECKING:
    from vagent.metadata.guest.connection import DownstreamConnection


class Admission(Enum):
    """Whether a new connection of a guest is accepted, answered with 503, or reset."""

    ACCEPTED = "accepted"
    BUSY = "answered 503 and closed"
    RESET = "reset"


class PendingResponse(Protocol):
    """The upstream response that a connection waits for: its own, or one shared with
    other connections of the same guest.
    """

    def guest_caught_up(self) -> None:
        """The guest has taken everything that was relayed."""

    def guest_ended(self) -> None:
        """The guest will send no more: it has half-closed its connection, or closed."""

    def guest_left(self, connection: DownstreamConnection) -> None:
        """The guest's connection is closed; it needs no response any more."""


class DownstreamCallbacks(Protocol):
    """The methods that a guest's connection calls; the proxy implements them."""

    request_done: Callable[[DownstreamConnection], None]
    """The request that waited for the upstream is over, answered or not."""

    def connection_made(self, connection: DownstreamConnection) -> Admission:
        """Count a new connection, and decide whether it is accepted."""

    def connection_lost(self, connection: DownstreamConnection) -> None:
        """The connection is closed."""

    def request_received(
        self, connection: DownstreamConnection, request: RequestHead, body: bytes
    ) -> None:
        """A whole request. It is answered by one of the connection's methods."""

    def request_refused(
        self, connection: DownstreamConnection, refusal: RequestRefusal
    ) -> None:
        """A request broke a rule; the connection answers it."""

    def response_sent(
        self, connection: DownstreamConnection, status: int, size: int
    ) -> None:
        """A response of the upstream was written; `size` counts its body."""

    def error_sent(self, status: int) -> None:
        """An error was written in answer to what is no whole request."""

    def request_failed(self, connection: DownstreamConnection, status: int) -> None:
        """The request was answered with an error of the agent's own."""

    def answer_withheld(self, connection: DownstreamConnection) -> None:
        """The connection closes without the 503 that its guest would take for final."""

    def connection_reset(self, connection: DownstreamConnection, reason: str) -> None:
        """The connection resets itself because the guest broke a limit."""
