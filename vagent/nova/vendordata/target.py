"""One target: how it is asked, with a token of the server's own account.

A 401 says that the token is no good any more (expired, revoked): one new token is
fetched and the question put once more. Nothing else is repeated, because a second call
may undo the first (novajoin gives a guest another password).
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredSemaphore

from vagent.config.model import VendorDataConfig, VendorDataTarget
from vagent.nova.vendordata.answer import Response, TargetError, read_answer
from vagent.nova.vendordata.http_call import CallDeadlines, Post, TargetUrl, call
from vagent.nova.vendordata.target_tls import TargetTls

MAX_CALLS = 64
"""Calls of one target at a time; others wait, within their own deadline."""
UNAUTHORIZED = 401


class TokenError(Exception):
    """No token is to be had now; the message says why, without any credential."""


class Tokens(Protocol):
    """Gives tokens of the server's own account."""

    async def token(self) -> str:
        """A token that is good for a while. Raises TokenError."""

    def refused(self, token: str) -> None:
        """A target does not take this token: the next one must be another."""


class DynamicTarget:
    """Asks one web service, a bounded number of times at once."""

    def __init__(
        self,
        target: VendorDataTarget,
        config: VendorDataConfig,
        *,
        tokens: Tokens | None,
        reactor: Any,
    ) -> None:
        self.name = target.name
        self.url = target.url
        self._place = TargetUrl.of(target.url)
        self._tls = TargetTls(config, target.name) if target.uses_tls else None
        self._deadlines = CallDeadlines(config.connect_timeout, config.read_timeout)
        self._timeout = config.timeout
        self._tokens = tokens
        self._reactor = reactor
        self._places = DeferredSemaphore(MAX_CALLS)

    def __repr__(self) -> str:
        return f"<DynamicTarget {self.name} {self.url}>"

    async def ask(self, question: bytes) -> Any:
        """Its answer, a JSON value. Raises TargetError, in time."""
        work = Deferred.fromCoroutine(self._ask(question))
        try:
            return await work.addTimeout(self._timeout, self._reactor)
        except defer.TimeoutError:
            why = f"no answer within {self._timeout:g} s"
            raise TargetError("timeout", why) from None
        except TokenError as error:
            raise TargetError("token", f"no token: {error}") from error

    async def _ask(self, question: bytes) -> Any:
        await self._places.acquire()
        try:
            return read_answer(await self._call(question))
        finally:
            self._places.release()

    async def _call(self, question: bytes) -> Response:
        if self._tokens is None:
            return await self._post(question, None)
        token = await self._tokens.token()
        response = await self._post(question, token)
        if response.status != UNAUTHORIZED:
            return response
        self._tokens.refused(token)
        renewed = await self._tokens.token()
        return response if renewed == token else await self._post(question, renewed)

    async def _post(self, question: bytes, token: str | None) -> Response:
        context = None if self._tls is None else self._tls.context()
        return await call(
            Post(self._place, question, token),
            context,
            deadlines=self._deadlines,
            reactor=self._reactor,
        )
