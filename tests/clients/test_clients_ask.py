"""`vagentctl ask` and a real Nova: each of its refusals, and the header at fault.

The agent is away all the time: secret and certificates are those of agent.conf.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.namespaces import LabError
from tests.clients.real_nova import PORT

pytestmark = pytest.mark.system

UPSTREAM = f"https://localhost:{PORT}"
UNKNOWN = "00000000-0000-4000-8000-00000000dead"


@pytest.fixture(scope="module")
def away(built: Any) -> Iterator[Any]:
    """The town without its agent."""
    built.agent.stop()
    yield built
    built.agent.start()


class Operator:
    """Asks on the host, as alice unless told otherwise."""

    def __init__(self, town: Any, facts: Any) -> None:
        self._town = town
        known = facts["alice"]
        self.asked = {"--instance": known["uuid"], "--tenant": known["tenant_id"]}

    def __call__(self, path: str, **changes: str) -> str:
        named = {f"--{name.replace('_', '-')}": text for name, text in changes.items()}
        options = {"--upstream": UPSTREAM, **self.asked, **named}
        words = [word for pair in options.items() for word in pair]
        config = str(self._town.agent.conf)
        said: str = self._town.agent.tool(
            "vagent.ctl", "--config", config, "ask", *words, path
        )
        return said

    def refusal(self, path: str, **changes: str) -> str:
        with pytest.raises(LabError) as refusal:
            self(path, **changes)
        return str(refusal.value)


@pytest.fixture
def operator(away: Any, facts: Any) -> Operator:
    return Operator(away, facts)


def test_a_document(operator: Operator, facts: Any) -> None:
    """Mutual TLS, signature, and Nova's answer as it is."""
    found = json.loads(operator("/openstack/latest/meta_data.json"))
    assert facts["alice"]["uuid"] == found["uuid"]
    assert "local-ipv4" in operator("/latest/meta-data/").split()


def test_another_secret(operator: Operator, tmp_path: Path) -> None:
    """The signature is at fault."""
    file = tmp_path / "secret"
    file.write_text("not-the-secret-of-nova")
    said = operator.refusal("/latest/meta-data/", secret_file=str(file))
    assert "* X-Instance-ID-Signature: nova-api refused our signature" in said
    assert "metadata_proxy_shared_secret" in said


@pytest.mark.parametrize("path", ["/latest/meta-data/", "/latest/user-data"])
def test_an_unknown_instance(operator: Operator, path: str) -> None:
    """Instance or tenant are at fault, for whatever path."""
    said = operator.refusal(path, instance=UNKNOWN)
    assert "* X-Instance-ID or X-Tenant-ID: nova-api does not know" in said


def test_a_tenant_with_dashes(operator: Operator, facts: Any) -> None:
    """The tenant is at fault, and Nova's form of it is told."""
    tenant = facts["alice"]["tenant_id"]
    dashed = "-".join(
        (tenant[:8], tenant[8:12], tenant[12:16], tenant[16:20], tenant[20:])
    )
    said = operator.refusal("/latest/meta-data/", tenant=dashed)
    assert f"* X-Tenant-ID: the instance is known with X-Tenant-ID {tenant}" in said


def test_a_path_that_is_not_there(operator: Operator) -> None:
    """No header is at fault."""
    said = operator.refusal("/latest/meta-data/ramdisk-id")
    assert "* no header is at fault: /openstack is answered" in said


def test_without_tls(operator: Operator) -> None:
    """Nova's server hangs up, and that is told."""
    said = operator.refusal("/", upstream=f"http://localhost:{PORT}")
    assert f"http://localhost:{PORT}: no answer: " in said
