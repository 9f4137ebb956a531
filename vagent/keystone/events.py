"""What is reported of the agent's own Keystone account. Never a token or a password."""

from __future__ import annotations

from dataclasses import dataclass

from vagent.observe.event import Event, Metric


class KeystoneEvent(Event):
    """Base of what appears in the trace buffer `Keystone`."""

    __slots__ = ()
    buffer = "Keystone"
    sandesh = "KeystoneTrace"


@dataclass(slots=True)
class CredentialsFetched(KeystoneEvent):
    """Keystone gave new credentials (usually a token) for the agent's own account."""

    counter = Metric(
        "keystone_credentials_fetched_total",
        "New credentials (usually tokens) of the agent's own account in Keystone.",
    )
    histogram = Metric(
        "keystone_fetch_seconds",
        "Seconds until Keystone gave new credentials for the agent's own account.",
    )
    seconds: float

    def text(self) -> str:
        return f"new credentials in {self.seconds:.3f} s"


@dataclass(slots=True)
class CredentialsRefused(KeystoneEvent):
    """A service did not take the agent's credentials; they are fetched anew."""

    counter = Metric(
        "keystone_credentials_refused_total",
        "Calls in which a service did not take the agent's credentials.",
    )
    level = "warn"

    def text(self) -> str:
        return "a service does not take the credentials of the agent's account"


@dataclass(slots=True)
class CredentialsFailed(KeystoneEvent):
    """Keystone gave no credentials for the agent's own account."""

    counter = Metric(
        "keystone_credentials_failed_total",
        "Attempts in which Keystone gave no credentials for the agent's own account.",
    )
    level = "error"
    detail: str

    def text(self) -> str:
        return f"no credentials from Keystone: {self.detail}"
