"""What comes later than its guest: the instance of a port that is registered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.agent import configuration
from lab.waiting import wait_for

pytestmark = pytest.mark.system

USER_DATA = "/openstack/latest/user_data"


def awaited(site: Any) -> list[dict[str, Any]]:
    """The events of requests that wait for their instance."""
    said = site.agent.tool("vagent.ctl", "-o", "json", "trace", "Metadata")
    return [one for one in json.loads(said) if one["event"] == "InstanceAwaited"]


@pytest.mark.kernel
def test_a_guest_that_boots_before_its_instance_is_described(
    site: Any, ask: Any
) -> None:
    """It waits, gets its document as soon as that is there, and holds nobody up. Of an
    instance that is known, a path that does not exist is 404 at once, and so is
    for this one a path that no guest boots with.
    """
    alice, bob = site.alice(), site.bob()
    site.agent.register(alice)
    site.introduce(bob)
    site.provision()
    early = alice.machine.start(
        ["curl", "-sS", "-m", "20", f"http://169.254.169.254{USER_DATA}"],
        stdout=-1,
    )
    wait_for(lambda: awaited(site))
    assert alice.port_id == awaited(site)[0]["port_id"]
    assert "I am bob\n" == ask(bob, USER_DATA)
    status = ("-o", "/dev/null", "-w", "%{http_code}")
    assert "404" == ask(bob, "/openstack/latest/nothing", *status, timeout=2)
    assert "404" == ask(alice, "/favicon.ico", *status, timeout=2)
    assert early.poll() is None
    site.introduce(alice)
    said, _ = early.communicate(timeout=2)
    assert b"I am alice\n" == said


def test_an_instance_that_never_comes_is_404(idle_site: Any, ask: Any) -> None:
    """After hold-time the answer is the embedded server's, without the field that it
    has for the agent.
    """
    idle_site.agent.config = configuration(
        idle_site.folder, proxy="<hold-time>0.5</hold-time>"
    )
    idle_site.agent.start()
    alice = idle_site.alice()
    idle_site.agent.register(alice)
    idle_site.provision()
    said = ask(alice, USER_DATA, "-i")
    assert said.startswith("HTTP/1.1 404 Not Found\n")
    assert "vagent" not in said.lower()
    assert 1 == len(awaited(idle_site))
