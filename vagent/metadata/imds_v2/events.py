"""What is reported of session tokens: who got one, who was or would have been refused.

No event here holds a token or a key.
"""

from __future__ import annotations

from dataclasses import dataclass

from vagent.metadata.events import LocalAnswer, MetadataEvent, RequestEvent, printable
from vagent.observe.event import Metric


@dataclass(slots=True)
class TokenIssued(RequestEvent):
    """A guest was given a session token."""

    counter = Metric(
        "metadata_session_tokens_total",
        "Session tokens (IMDSv2) given to guests.",
    )

    def text(self) -> str:
        """Says which guest got a token; never the token."""
        return f"Metadata for VM : {self.guest} Session token issued"


@dataclass(slots=True)
class TokenRefused(LocalAnswer):
    """A request was refused because of its session token, or one for a token was."""

    status: int
    reason: str

    def label(self) -> str:
        """What was wrong, one of a closed set."""
        return self.reason

    def text(self) -> str:
        """The status and the reason."""
        return f"Error: {self.status} {self.reason}; Request for VM : {self.guest}"


@dataclass(slots=True)
class TokenMissed(RequestEvent):
    """In mode `audit`: required session tokens would have refused this request."""

    counter = Metric(
        "metadata_session_audit_total",
        "Requests that were let through in mode audit and that required session "
        "tokens would have refused, by what was wrong with the token.",
    )
    reason: str
    path: bytes

    def label(self) -> str:
        """What was wrong, one of a closed set."""
        return self.reason

    def text(self) -> str:
        """Says which guest's request would have been refused, with which status, and
        why.
        """
        return (
            f"Metadata for VM : {self.guest} Audit : {self.reason} "
            f"URL : {printable(self.path[1:])}"
        )


@dataclass(slots=True)
class SessionKeysNotKept(MetadataEvent):
    """The file of session keys is unusable: tokens will not outlive this process."""

    counter = Metric(
        "metadata_session_keys_not_kept_total",
        "Times that the file with the keys of session tokens could not be read or "
        "written. Tokens become invalid when the agent restarts.",
    )
    level = "warn"
    detail: str

    def text(self) -> str:
        """Names the file and says what is wrong with it."""
        return f"Metadata session keys cannot be kept: {self.detail}"
