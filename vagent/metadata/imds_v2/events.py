"""What session tokens tell: who got one, who was or would have been refused.

No event here holds a token or a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vagent.metadata.events import LocalAnswer, MetadataEvent, RequestEvent, printable


@dataclass(slots=True)
class TokenIssued(RequestEvent):
    """A guest was given a session token."""

    counter: ClassVar[str | None] = "metadata_session_tokens_total"

    def text(self) -> str:
        """To whom; never the token."""
        return f"Metadata for VM : {self.guest} Session token issued"


@dataclass(slots=True)
class TokenRefused(LocalAnswer):
    """A request was refused for its session token, or one for a token was."""

    status: int
    reason: str

    def label(self) -> str:
        """What was wrong, of a closed set."""
        return self.reason

    def text(self) -> str:
        """The status and why."""
        return f"Error: {self.status} {self.reason}; Request for VM : {self.guest}"


@dataclass(slots=True)
class TokenMissed(RequestEvent):
    """Audit: required session tokens would have refused this request."""

    counter: ClassVar[str | None] = "metadata_session_audit_total"
    reason: str
    path: bytes

    def label(self) -> str:
        """What was wrong, of a closed set."""
        return self.reason

    def text(self) -> str:
        """Who would have been refused what, and why."""
        return (
            f"Metadata for VM : {self.guest} Audit : {self.reason} "
            f"URL : {printable(self.path[1:])}"
        )


@dataclass(slots=True)
class SessionKeysNotKept(MetadataEvent):
    """Session tokens will not outlive this process: their keys' file is unusable."""

    counter: ClassVar[str | None] = "metadata_session_keys_not_kept_total"
    level: ClassVar[str | None] = "warn"
    reason: str

    def text(self) -> str:
        """Which file and what is wrong with it."""
        return f"Metadata session keys cannot be kept: {self.reason}"
