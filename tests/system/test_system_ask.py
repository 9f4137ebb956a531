"""`vagentctl ask` beside a running agent: its endpoints, over mutual TLS."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.namespaces import LabError

pytestmark = pytest.mark.system


def test_the_endpoints_of_the_agent_are_asked(site: Any) -> None:
    """Without --upstream those that are provisioned; a project that is not the
    instance's is refused by the embedded server as by Nova.
    """
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    conf = str(site.agent.conf)

    def ask(tenant: str) -> str:
        said: str = site.agent.tool(
            *("vagent.ctl", "--config", conf, "ask", "--instance", alice.instance_id),
            *("--tenant", tenant, "/openstack/latest/meta_data.json"),
        )
        return said

    assert alice.instance_id == json.loads(ask(alice.tenant_id))["uuid"]
    with pytest.raises(LabError, match=f"known with X-Tenant-ID {alice.tenant_id}"):
        ask(alice.tenant_id.upper())
    with pytest.raises(LabError, match="X-Instance-ID or X-Tenant-ID: nova-api does"):
        ask("another")
