"""Makes the downstream connections of a listener."""

from __future__ import annotations

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from vagent.metadata.guest.callbacks import DownstreamCallbacks
from vagent.metadata.guest.connection import DownstreamConnection
from vagent.metadata.http.date import DateLine
from vagent.metadata.http.parsed_heads import RequestHeadParser
from vagent.transport.deadlines import Deadlines
from vagent.transport.turns import Turns


class DownstreamFactory(Factory):
    """Makes one connection after another; they share the parser and its memory."""

    noisy = False

    def __init__(
        self,
        callbacks: DownstreamCallbacks,
        deadlines: Deadlines,
        turns: Turns,
        date: DateLine,
    ) -> None:
        self._date = date
        self._callbacks = callbacks
        self._deadlines = deadlines
        self._turns = turns
        self._parse = RequestHeadParser().parse

    def buildProtocol(self, addr: IAddress | None) -> DownstreamConnection:
        """One for each connection; it asks its transport for the peer's address."""
        del addr
        return DownstreamConnection(
            self._callbacks, self._deadlines, self._turns, self._parse, self._date
        )
