"""What a call of another service shows of us, and who gives it."""

from __future__ import annotations

from typing import Protocol

from vagent.errors import VagentError

Headers = tuple[tuple[str, str], ...]
"""Header fields that authenticate a call: usually one, X-Auth-Token."""


class CredentialsError(VagentError):
    """No credentials are to be had now; the message says why, and names no secret."""


class CallCredentials(Protocol):
    """Gives the headers of the agent's own account."""

    async def headers(self) -> Headers:
        """Headers that are good for a while. Raises CredentialsError."""

    def refused(self, headers: Headers) -> None:
        """A service does not take these: the next ones must be others."""
