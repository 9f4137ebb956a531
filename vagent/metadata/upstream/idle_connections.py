"""The idle connections to one endpoint, and which guest each of them may serve next.

An upstream can misbehave: a body after HEAD, a second reply, bytes after 304. Those
bytes would be the answer to the next request on that connection, so a connection must
not change guests while some may still be on their way. It is offered first to the guest
that it served last, and to another one only if all of this is true:

- it is not bound to its guest (`UpstreamConnection.is_bound`),
- nothing has arrived on it for QUIET_SECONDS after its last response,
- a look at its socket, and into TLS, shows nothing that waits to be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vagent.metadata.limits import QUIET_SECONDS

if TYPE_CHECKING:
    from vagent.metadata.upstream.connection import UpstreamConnection


class IdleConnections:
    """Of one endpoint. Those used last are used first, so that others grow old and are
    closed.
    """

    __slots__ = ("_of_guest", "_quiet", "_recent")

    def __init__(self) -> None:
        # All of them, by the guest that each served last (None: it served nobody). An
        # empty list stays until the connection that was taken from it is closed or goes
        # to another guest: a guest with many requests needs the list for each of them.
        self._of_guest: dict[bytes | None, list[UpstreamConnection]] = {}
        # Those that are not bound: not quiet for long enough yet, and quiet.
        self._recent: dict[UpstreamConnection, None] = {}
        self._quiet: dict[UpstreamConnection, None] = {}

    def add(self, connection: UpstreamConnection) -> None:
        """It has become idle."""
        guest = connection.guest
        same = self._of_guest.get(guest)
        if same is None:
            self._of_guest[guest] = [connection]
        else:
            same.append(connection)
        if connection.is_bound:
            return
        if guest is None:
            self._quiet[connection] = None
        else:
            self._recent[connection] = None

    def take(self, guest: bytes) -> UpstreamConnection | None:
        """Take out one that may carry a request of this guest; None: there is none."""
        same = self._of_guest.get(guest)
        while same:
            connection = same.pop()
            if not connection.is_bound:
                self._recent.pop(connection, None)
                self._quiet.pop(connection, None)
                if connection.has_rested and not _is_silent(connection):
                    continue
            if connection.is_open:
                return connection
        return self.take_quiet()

    def take_quiet(self) -> UpstreamConnection | None:
        """Take out one that may carry a request of any guest; None: there is none."""
        recent, quiet = self._recent, self._quiet
        while recent:
            oldest = next(iter(recent))
            if not oldest.has_rested:
                break
            del recent[oldest]
            quiet[oldest] = None
        while quiet:
            connection, _ = quiet.popitem()
            self.discard(connection)
            if _is_silent(connection):
                return connection
        return None

    def take_spare(self, *, bound: bool) -> UpstreamConnection | None:
        """Take out one to be closed, to make room for a new one; None: there is none.

        One that is bound to its guest if possible, and no other if `bound`.
        """
        every = [one for same in self._of_guest.values() for one in same]
        spare = next((one for one in every if one.is_bound), None)
        if spare is None and not bound:
            spare = next(iter(every), None)
        if spare is not None:
            self.discard(spare)
        return spare

    def discard(self, connection: UpstreamConnection) -> None:
        """It is idle no more; harmless if it was not."""
        same = self._of_guest.get(connection.guest)
        if same is None:
            return
        if connection in same:
            same.remove(connection)
            self._recent.pop(connection, None)
            self._quiet.pop(connection, None)
        if not same:
            del self._of_guest[connection.guest]

    def close(self) -> None:
        """Close all of them in good order."""
        every = [one for same in self._of_guest.values() for one in same]
        for connection in every:
            self.discard(connection)
            connection.close()

    @property
    def next_quiet(self) -> float | None:
        """When the next one will be quiet for long enough; None: there is none."""
        for connection in self._recent:
            return connection.idle_since + QUIET_SECONDS
        return None

    @property
    def unbound(self) -> int:
        """How many may serve other guests, now or after the quiet time."""
        return len(self._recent) + len(self._quiet)

    def __len__(self) -> int:
        return sum(map(len, self._of_guest.values()))


def _is_silent(connection: UpstreamConnection) -> bool:
    """Is it open with nothing to read? If there is something, the connection ends."""
    if not connection.is_open:
        return False
    if connection.has_unread:
        connection.abort()
        return False
    return True
