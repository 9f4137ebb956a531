"""The agent's account as the rest of the agent sees it: asynchronous, shared.

Those who ask at the same time share one question to Keystone. When Keystone fails, it
is left alone for a moment, so that a boot storm does not become one of Keystone's.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from vagent.keystone.credentials import CredentialsError, Headers
from vagent.keystone.events import (
    CredentialsFailed,
    CredentialsFetched,
    CredentialsRefused,
)
from vagent.keystone.session import KeystoneSession
from vagent.observe.event import Emit
from vagent.store.worker import RunInThread
from vagent.transport.single_flight import SingleFlight

PAUSE = 2.0
"""Seconds after a failure in which Keystone is not asked again."""


class KeystoneAccount:
    """CallCredentials of one account."""

    def __init__(
        self,
        session: KeystoneSession,
        *,
        run_in_thread: RunInThread,
        emit: Emit,
        clock: IReactorTime,
    ) -> None:
        self._session = session
        self._run = run_in_thread
        self._emit = emit
        self._clock = clock
        self._flights: SingleFlight[Headers] = SingleFlight()
        self._refusals = 0
        self._given: Headers = ()
        self._failed: tuple[float, str] | None = None

    async def headers(self) -> Headers:
        """Header fields that other services will accept for some time. Raises
        CredentialsError.
        """
        if self._failed is not None:
            until, why = self._failed
            if self._clock.seconds() < until:
                raise CredentialsError(why)
        # Not shared with a fetch that began before a refusal: it may bring the
        # refused credentials again.
        return await self._flights.run(self._refusals, self._fetch)

    def refused(self, headers: Headers) -> None:
        """A service has refused these header fields: `headers` gets new ones, if there
        are any.
        """
        self._refusals += 1
        self._emit(CredentialsRefused())
        self._run(lambda: self._session.refused(headers))

    async def _fetch(self) -> Headers:
        began = self._clock.seconds()
        try:
            headers: Headers = await self._run(self._session.headers)
        except CredentialsError as error:
            self._failed = self._clock.seconds() + PAUSE, str(error)
            self._emit(CredentialsFailed(str(error)))
            raise
        self._failed = None
        if headers != self._given:
            self._given = headers
            self._emit(CredentialsFetched(self._clock.seconds() - began))
        return headers
