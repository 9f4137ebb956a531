"""A guest's connection whose guest is known, as those see it who answer it."""

from __future__ import annotations

from typing import Protocol

from vagent.metadata.events import Caller
from vagent.metadata.guest.quota import GuestQuota
from vagent.metadata.http.rendered_response import RenderedResponse
from vagent.metadata.http.request_head import RequestHead
from vagent.metadata.http.response_reader import ResponseHead
from vagent.ports.port import Registration


class Waiting(Protocol):
    """What a guest's connection waits for."""

    def caught_up(self) -> None:
        """The guest has taken what was relayed."""

    def abandoned(self) -> None:
        """The guest has gone."""


class Client(Protocol):
    """A guest's connection whose guest is known."""

    peer: str
    caller: Caller
    request_id: int
    block: bytes
    variant: bytes
    started: float
    registration: Registration | None
    request: RequestHead
    exchange: Waiting | None
    account: GuestQuota

    def deliver(self, kept: RenderedResponse) -> None:
        """Send a kept reply, which completes the request."""

    def whole(self, head: ResponseHead, content: bytes) -> None:
        """Send a complete reply, which completes the request."""

    def relay(self, data: bytes) -> bool:
        """Send a part of the reply; False when the guest must catch up first."""

    def finish(self, status: int, size: int, *, close: bool) -> None:
        """The relayed reply is complete."""

    def answer(self, status: int, *, close: bool) -> None:
        """Send a reply of our own, which completes the request."""

    def cut(self) -> None:
        """Reset: the reply cannot be completed."""
