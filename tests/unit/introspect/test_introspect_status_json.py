"""What `/status` says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from introspect.status_json import status
from tests.unit.vagent.judgements.test_judgements_judgement import DOWN
from vagent.judgements.codec import read_status


@pytest.mark.parametrize("reason", [None, "starting"])
def test_readiness_and_every_judgement(world: Any, reason: str | None) -> None:
    """In the form that our own tools read."""
    world.reason = reason
    world.judgements = (DOWN,)
    document = json.loads(status(world.sources()))
    assert (reason or "", (DOWN,)) == read_status(document)
    assert (1, "1.2.3") == (document["version"], document["agent"])
