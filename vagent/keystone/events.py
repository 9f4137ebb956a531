"""What the agent's own Keystone account reports. Never a token or a password."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vagent.observe.event import Event


@dataclass(slots=True)
class CredentialsFetched(Event):
    """Keystone gave new credentials (usually a token) for the agent's own account."""

    counter: ClassVar[str | None] = "keystone_credentials_fetched_total"
    buffer: ClassVar[str | None] = "Keystone"
    sandesh: ClassVar[str] = "KeystoneTrace"
    histogram: ClassVar[str | None] = "keystone_fetch_seconds"

    seconds: float

    def text(self) -> str:
        return f"new credentials in {self.seconds:.3f} s"


@dataclass(slots=True)
class CredentialsRefused(Event):
    """A service did not take the agent's credentials; they are fetched anew."""

    counter: ClassVar[str | None] = "keystone_credentials_refused_total"
    buffer: ClassVar[str | None] = "Keystone"
    sandesh: ClassVar[str] = "KeystoneTrace"
    level: ClassVar[str | None] = "warn"

    def text(self) -> str:
        return "a service does not take our credentials"


@dataclass(slots=True)
class CredentialsFailed(Event):
    """Keystone gave no credentials for the agent's own account."""

    counter: ClassVar[str | None] = "keystone_credentials_failed_total"
    buffer: ClassVar[str | None] = "Keystone"
    sandesh: ClassVar[str] = "KeystoneTrace"
    level: ClassVar[str | None] = "error"

    why: str

    def text(self) -> str:
        return f"no credentials from Keystone: {self.why}"
