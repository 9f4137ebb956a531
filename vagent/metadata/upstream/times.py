"""How long connecting to the upstream and requests there took, as histograms.

An event for each would cost a request some 4 % more; so they are written to here, and
read when somebody asks.
"""

from __future__ import annotations

from vagent.observe.event import Metric
from vagent.observe.statistics import Histogram, Statistics

UPSTREAM_SECONDS = Metric(
    "metadata_upstream_seconds",
    "Seconds from a request's being sent to an endpoint to its complete reply of any "
    "status (outcome answered), or until there was none: time-out, reset or nonsense "
    "(failed). A request that is tried again is timed each time.",
    label="outcome",
)
CONNECT_SECONDS = Metric(
    "metadata_upstream_connect_seconds",
    "Seconds until an endpoint was connected to, its TLS handshake included (outcome "
    "connected), or until that had failed (failed).",
    label="outcome",
)


class UpstreamTimes:
    """`answered` and `failed` are of guests' requests, and not of health checks;
    `connected` and `not_connected` are of connections.
    """

    def __init__(self) -> None:
        self.answered = Histogram()
        self.failed = Histogram()
        self.connected = Histogram()
        self.not_connected = Histogram()

    def show(self, statistics: Statistics) -> None:
        """Have them shown with all that the agent counts."""
        requests = {"answered": self.answered, "failed": self.failed}
        statistics.show(UPSTREAM_SECONDS, requests)
        attempts = {"connected": self.connected, "failed": self.not_connected}
        statistics.show(CONNECT_SECONDS, attempts)
