"""When certificates expire, and which warning that is time for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

MAX_OWN_AUTHORITIES = 4
"""A file with more CA certificates is a bundle of public ones, of which some expire
unused at any time; then the one that expires last counts."""


class ExpiryStage(Enum):
    """How much time is left before a certificate expires; the value is what counters
    show.
    """

    FAR = ""
    MONTH = "30-days"
    WEEK = "7-days"
    ENDED = "expired"


SOON = timedelta(days=30)
"""Before expiry comes the first warning: a month is enough to get a new one."""
_STAGES = (
    (timedelta(0), ExpiryStage.ENDED),
    (timedelta(days=7), ExpiryStage.WEEK),
    (SOON, ExpiryStage.MONTH),
)


@dataclass(frozen=True, slots=True)
class Ending:
    """The subject of a certificate, and when it expires."""

    subject: str
    until: datetime

    def days(self, now: datetime) -> float:
        """Days left; negative once it has expired."""
        return (self.until - now) / timedelta(days=1)


def stage_of(ending: Ending, now: datetime) -> ExpiryStage:
    """The stage for the time that is left: ENDED, WEEK (7 days), MONTH (30 days) or
    FAR.
    """
    left = ending.until - now
    return next((stage for limit, stage in _STAGES if left <= limit), ExpiryStage.FAR)


def deciding(certificates: Sequence[Certificate]) -> Certificate:
    """The certificate of a file (at least one) whose expiry counts for the file."""
    pick = min if len(certificates) <= MAX_OWN_AUTHORITIES else max
    return pick(certificates, key=lambda one: one.not_valid_after_utc)


def ending_of(pem: bytes) -> Ending:
    """When the certificates of a PEM file expire. Raises ValueError."""
    # Imported late: it costs 7 MiB, which an agent without TLS saves.
    from cryptography.x509 import load_pem_x509_certificates

    one = deciding(load_pem_x509_certificates(pem))
    return Ending(one.subject.rfc4514_string(), one.not_valid_after_utc)
