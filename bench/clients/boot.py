"""What cloud-init asks on a first boot, and when it gives up. Pure; knows no clock.

Recorded from the OpenStack datasource of Debian 12's cloud-init (22.4.2) against a real
Nova 34.0.0: 28 requests, one after the other, a connection for each. Its rules are
those of its code (`DataSourceOpenStack`, `helpers/openstack`, `ec2`, `url_helper`):

- The first request is made once. Any failure, and the guest has no datasource.
- A document is asked for six times, a second apart, where no answer came at all; an
  answer of 400 or more is final. Without `meta_data.json` there is no datasource,
  without another the guest boots without what was in it.
- The tree under `/latest/meta-data/` is asked for six times whatever failed, and is
  left out as a whole where one of its entries cannot be had.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

TIMEOUT = 10.0
"""Seconds without a byte, while connecting or waiting, until a request has failed."""
PAUSE = 1.0
"""Seconds until the same is asked again."""
AGAIN = 6
"""Times that a document or an entry of the tree is asked for."""
BAD = 400
"""Statuses from here on are failures."""


class Outcome(Enum):
    """How a guest's boot ended."""

    WHOLE = "whole"
    INCOMPLETE = "incomplete"
    LOST = "lost"


class Rule(NamedTuple):
    """What a failure of one request leads to. `without` is None where cloud-init does
    without and loses nothing.
    """

    attempts: int
    despite_answer: bool
    without: Outcome | None


FIRST = Rule(1, False, Outcome.LOST)
VERSIONS = Rule(AGAIN, False, None)
MANDATORY = Rule(AGAIN, False, Outcome.LOST)
OPTIONAL = Rule(AGAIN, False, Outcome.INCOMPLETE)
TREE = Rule(AGAIN, True, Outcome.INCOMPLETE)

_DOCUMENTS = "/openstack/2018-08-27"
_TREE = (
    "",
    "block-device-mapping/",
    "block-device-mapping/ami",
    "block-device-mapping/root",
    "placement/",
    "placement/availability-zone",
    "public-keys/",
    "public-keys/0/openssh-key",
    "ami-id",
    "ami-launch-index",
    "ami-manifest-path",
    "hostname",
    "instance-action",
    "instance-id",
    "instance-type",
    "local-hostname",
    "local-ipv4",
    "public-hostname",
    "public-ipv4",
    "reservation-id",
    "security-groups",
)
REQUESTS: tuple[tuple[str, Rule], ...] = (
    ("/openstack", FIRST),
    ("/openstack", VERSIONS),
    (f"{_DOCUMENTS}/meta_data.json", MANDATORY),
    (f"{_DOCUMENTS}/user_data", OPTIONAL),
    (f"{_DOCUMENTS}/vendor_data.json", OPTIONAL),
    (f"{_DOCUMENTS}/vendor_data2.json", OPTIONAL),
    (f"{_DOCUMENTS}/network_data.json", OPTIONAL),
    *((f"/latest/meta-data/{entry}", TREE) for entry in _TREE),
)


class Boot:
    """One guest's first boot: what it asks next, from what became of the last."""

    def __init__(self) -> None:
        self.outcome = Outcome.WHOLE
        self.repeated = 0
        self._at = 0
        self._attempt = 1

    @property
    def path(self) -> str | None:
        """What to ask for; None when it has ended."""
        return REQUESTS[self._at][0] if self._at < len(REQUESTS) else None

    def answered(self, status: int) -> float:
        """An answer came; seconds until the next request."""
        if status < BAD:
            return self._go_on()
        return self._failed(answered=True)

    def unanswered(self) -> float:
        """None came in time, or the connection failed; seconds until the next."""
        return self._failed(answered=False)

    def _go_on(self) -> float:
        self._at += 1
        self._attempt = 1
        return 0.0

    def _failed(self, *, answered: bool) -> float:
        rule = REQUESTS[self._at][1]
        if self._attempt < rule.attempts and (rule.despite_answer or not answered):
            self._attempt += 1
            self.repeated += 1
            return PAUSE
        if rule.without is not None:
            self.outcome = rule.without
        if rule is TREE or self.outcome is Outcome.LOST:
            self._at = len(REQUESTS)
            return 0.0
        return self._go_on()
