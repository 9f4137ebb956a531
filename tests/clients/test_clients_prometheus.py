"""Prometheus' own tools judge what the agent offers it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import DEBIAN

pytestmark = pytest.mark.system

PROMTOOL = DEBIAN / "bin" / "promtool"
METRICS = "http://127.0.0.1:8085/metrics"
PATHS = ("/latest/meta-data/", "/openstack/nowhere")


def promtool(*argv: str | Path, text: str = "") -> str:
    """What promtool finds wrong, and "" if nothing is."""
    if not PROMTOOL.exists():
        pytest.skip(f"no {PROMTOOL}: make test-clients installs it")
    done = subprocess.run(
        [PROMTOOL, *argv], input=text, capture_output=True, text=True, check=False
    )
    return f"{done.stdout}{done.stderr}".strip() if done.returncode else ""


def test_names_units_and_types_are_as_prometheus_wants_them(
    town: Any, clients: Any
) -> None:
    """All metrics of an agent with TLS and both servers, after answers and errors."""
    assert {200, 404} == {clients.curl("alice", path)[0] for path in PATHS}
    with town.unreachable("nova"):
        assert 503 == clients.curl("bob", PATHS[0])[0]
    said = town.agent.get(METRICS)
    assert 'vagent_metadata_request_seconds_count{outcome="failed"} ' in said
    assert "vagent_metadata_client_cert_expiry_timestamp_seconds " in said
    assert "" == promtool("check", "metrics", text=said)
