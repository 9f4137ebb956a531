"""`GET /status`: whether the agent is ready, and what is wrong, for programs."""

from __future__ import annotations

import json

from introspect.sources import Sources
from vagent.judgements.codec import VERSION, to_json

CONTENT_TYPE = "application/json"


def status(sources: Sources) -> bytes:
    """The body. `not_ready` is null, or says why; judgements come worst first."""
    document = {
        "version": VERSION,
        "agent": sources.version,
        "not_ready": sources.ready(),
        "judgements": to_json(sources.judgements()),
    }
    return json.dumps(document).encode() + b"\n"
