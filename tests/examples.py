"""How many examples the properties get, and whether they are the same each time.

`--hypothesis-profile` chooses one of these profiles:

quick    what a person waits for: 100, the same in each run, so that a change is what
         makes a test fail
checked  what `make test` runs: the same, and ten times as many for the hot codecs
release  what `make properties` runs: 1,000, and 10,000 for the hot codecs, others in
         each run; what fails says how to repeat it
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings

T = TypeVar("T", bound=Callable[..., None])
PROFILES: dict[str, dict[str, Any]] = {
    "quick": {"max_examples": 100, "derandomize": True},
    "checked": {"max_examples": 100, "derandomize": True},
    "release": {"max_examples": 1_000, "print_blob": True},
}
HOT = {"quick": 1, "checked": 10, "release": 10}
"""Times as many examples, by profile, for a codec that reads what a guest, a server or
the kernel sends with each packet or request."""


def register() -> None:
    """Make the profiles known. None has a deadline: a busy machine is slow, which no
    property is about.
    """
    for name, more in PROFILES.items():
        settings.register_profile(
            name, deadline=None, suppress_health_check=[HealthCheck.too_slow], **more
        )
    settings.load_profile("quick")


def hot(test: T) -> T:
    """Mark a property of a hot codec."""
    factor = HOT.get(settings.get_current_profile_name(), 1)
    return settings(max_examples=factor * settings().max_examples)(test)
