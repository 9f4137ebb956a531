"""The header fields that authenticate the agent at other services: an interface."""

from __future__ import annotations

from typing import Protocol

from vagent.errors import VagentError

Headers = tuple[tuple[str, str], ...]
"""Header fields that authenticate a call: usually one, X-Auth-Token."""


class CredentialsError(VagentError):
    """No credentials are to be had now; the message says why, and names no secret."""


class CallCredentials(Protocol):
    """Gives the header fields with which the agent authenticates at other services, as
    its own Keystone account.
    """

    async def headers(self) -> Headers:
        """Header fields that the other service will accept for some time. Raises
        CredentialsError.
        """

    def refused(self, headers: Headers) -> None:
        """A service has refused these header fields: `headers` must get new ones."""
