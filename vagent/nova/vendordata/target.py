"""One target: how it is asked, with credentials of the agent's own account.

A 401 says that they are no good any more (expired, revoked): others are fetched once,
and the question put once more. Nothing else is repeated, because a second call may undo
the first (novajoin gives a guest another password).
"""

from __future__ import annotations

from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredSemaphore

from vagent.config.model import VendorDataConfig, VendorDataTarget
from vagent.keystone.credentials import CallCredentials, CredentialsError, Headers
from vagent.nova.vendordata.answer import Response, TargetError, read_answer
from vagent.nova.vendordata.http_call import CallDeadlines, Post, TargetUrl, call
from vagent.nova.vendordata.target_tls import TargetTls, TlsContexts

MAX_CALLS = 64
"""Calls of one target at a time; others wait, within their own deadline."""
UNAUTHORIZED = 401


class DynamicTarget:
    """Asks one web service, a bounded number of times at once."""

    def __init__(
        self,
        target: VendorDataTarget,
        config: VendorDataConfig,
        *,
        contexts: TlsContexts,
        credentials: CallCredentials | None,
        reactor: Any,
    ) -> None:
        self.name = target.name
        self.url = target.url
        self._place = TargetUrl.of(target.url)
        self._tls: TargetTls | None = None
        if target.uses_tls:
            self._tls = TargetTls(config, target.name, contexts)
        self._deadlines = CallDeadlines(config.connect_timeout, config.read_timeout)
        self._timeout = config.timeout
        self._credentials = credentials
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
        except CredentialsError as error:
            raise TargetError("credentials", f"no credentials: {error}") from error

    async def _ask(self, question: bytes) -> Any:
        await self._places.acquire()
        try:
            return read_answer(await self._call(question))
        finally:
            self._places.release()

    async def _call(self, question: bytes) -> Response:
        if self._credentials is None:
            return await self._post(question, ())
        headers = await self._credentials.headers()
        response = await self._post(question, headers)
        if response.status != UNAUTHORIZED:
            return response
        self._credentials.refused(headers)
        renewed = await self._credentials.headers()
        return response if renewed == headers else await self._post(question, renewed)

    async def _post(self, question: bytes, headers: Headers) -> Response:
        context = None if self._tls is None else self._tls.context()
        return await call(
            Post(self._place, question, headers),
            context,
            deadlines=self._deadlines,
            reactor=self._reactor,
        )
