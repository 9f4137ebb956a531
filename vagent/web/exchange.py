"""A request to an operator's site and its reply, as values, and the interface of a
site's dialect. Nothing here depends on Twisted, so dialects are tested without a
server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from vagent.web.admission import Denial


@dataclass(frozen=True, slots=True)
class SiteRequest:
    """One request, read completely.

    `path` is as it was sent, escapes included; `query` has no `?`. `authority` is host
    and port of this server as the client calls it, or its own address if the client did
    not say. `headers` has lower-case names; the values of a header that stands several
    times are joined by commas (RFC 9110 §5.3).
    """

    method: str
    path: str
    query: str = ""
    authority: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class SiteReply:
    """One reply. `parts` are the rest of a body too long to be made at once: they are
    sent one at a time, with other work in between.

    `phrase` is the reason phrase where it is not HTTP's own.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    parts: Iterable[bytes] = field(default=(), repr=False)
    phrase: str | None = None


class Dialect(Protocol):
    """What a site adds to the common server: its paths, and the form of its replies."""

    async def answer(self, request: SiteRequest) -> SiteReply:
        """The reply to an admitted request."""

    def refuse(self, request: SiteRequest, denial: Denial) -> SiteReply:
        """The reply to a request that is not answered, in this site's form.

        A request that is cut off before its end has "-" for method and path.
        """

    def fail(self, request: SiteRequest, error: Exception) -> SiteReply:
        """The reply (500) when `answer` raised; the traceback is in the log already."""
