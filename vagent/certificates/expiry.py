"""When certificates end, and when to say so. Pure: bytes and times in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

MAX_OWN_AUTHORITIES = 4
"""A file with more CA certificates is a bundle of public ones, some of which always
come to their end unused; then only the last end counts."""


class ExpiryStage(Enum):
    """How near the end is; the value is what counters show."""

    FAR = ""
    MONTH = "30-days"
    WEEK = "7-days"
    ENDED = "expired"


SOON = timedelta(days=30)
"""The first warning: a month is enough for any way to a new certificate."""
_STAGES = (
    (timedelta(0), ExpiryStage.ENDED),
    (timedelta(days=7), ExpiryStage.WEEK),
    (SOON, ExpiryStage.MONTH),
)


@dataclass(frozen=True, slots=True)
class Ending:
    """A file and when it is of no more use."""

    subject: str
    until: datetime

    def days(self, now: datetime) -> float:
        """Days left; below 0 it has ended."""
        return (self.until - now) / timedelta(days=1)


def stage_of(ending: Ending, now: datetime) -> ExpiryStage:
    """The nearest stage that has begun."""
    left = ending.until - now
    return next((stage for limit, stage in _STAGES if left <= limit), ExpiryStage.FAR)


def deciding(certificates: Sequence[Certificate]) -> Certificate:
    """The one of a file whose end is the file's. There must be one."""
    pick = min if len(certificates) <= MAX_OWN_AUTHORITIES else max
    return pick(certificates, key=lambda one: one.not_valid_after_utc)


def ending_of(pem: bytes) -> Ending:
    """When a PEM file ends. Raises ValueError."""
    # Late, because it costs 7 MiB that an agent without TLS can do without.
    from cryptography.x509 import load_pem_x509_certificates

    one = deciding(load_pem_x509_certificates(pem))
    return Ending(one.subject.rfc4514_string(), one.not_valid_after_utc)
