"""Nova's unmodified metadata application, in Nova's own environment."""

from __future__ import annotations

import sys

sys.argv = ["nova-api-metadata"]  # Nova reads its own options from it
from nova.wsgi.metadata import application  # noqa: E402 - after argv was set

__all__ = ["application"]
