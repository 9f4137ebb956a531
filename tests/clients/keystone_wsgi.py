"""Keystone's unmodified application, on a clock that a test may set.

$CLOCK names a file that holds how many seconds this Keystone's clock is ahead.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.argv = ["keystone-wsgi-public"]  # Keystone reads its own options from it
from keystone.wsgi.api import (  # noqa: E402 - after argv was set
    application as keystone_application,
)
from oslo_utils import timeutils  # noqa: E402

CLOCK = Path(os.environ["CLOCK"])
_now = timeutils.utcnow


def shifted(*args: Any, **more: Any) -> dt.datetime:
    """The time of this Keystone."""
    now: dt.datetime = _now(*args, **more)
    return now + dt.timedelta(seconds=float(CLOCK.read_text()))


timeutils.utcnow = shifted


def application(
    environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    found: Iterable[bytes] = keystone_application(environ, start_response)
    return found
