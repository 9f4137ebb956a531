"""What is wrong is told once, everywhere alike, and is gone as soon as it is mended."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from lab.waiting import wait_for
from tests.system.test_system_explain import own_secret, run_explain
from tests.system.test_system_stop import slow_site

pytestmark = pytest.mark.system

PATH = "/openstack/latest/meta_data.json"


def status(site: Any) -> list[dict[str, Any]]:
    """The judgements, as programs get them."""
    said = site.agent.get("http://127.0.0.1:8085/status")
    found: list[dict[str, Any]] = json.loads(said)["judgements"]
    return found


def asks(guest: Any, path: str = PATH) -> str:
    """The status that the guest gets."""
    url = f"http://169.254.169.254{path}"
    words = ("curl", "-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", url)
    code: str = guest.machine.run(*words)
    return code


def lines(site: Any, words: str) -> list[str]:
    """Lines of the journal with these words."""
    return [one for one in site.agent.log.read_text().splitlines() if words in one]


def test_a_wrong_tenant_is_told_until_it_is_mended(site: Any) -> None:
    """Of the guest whose port it is, and of no other; its next good answer ends it at
    once on pages and in commands, and a while later in the journal.
    """
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    site.provision()
    site.agent.tool("vagent.ctl", "port", "del", alice.port_id)
    site.agent.register(replace(alice, tenant_id="7e000000000040008000000000000099"))
    assert ["404", "200"] == [asks(alice), asks(bob)]
    (found,) = status(site)
    assert ("instance-unknown", "wrong") == (found["kind"], found["severity"])
    assert ("port", alice.port_id) == (found["subject"]["kind"], found["subject"]["id"])
    for _ in range(3):
        assert "404" == asks(alice)
    said = site.agent.tool("vagent.ctl", "status", check=False)
    page = site.agent.get("http://127.0.0.1:8085/", "-H", "Accept: text/html")
    for text in (said, page):
        assert alice.port_id in text
        assert "does not know this instance with this tenant" in text
    _, steps = run_explain(site, "--port", alice.port_id)
    assert alice.port_id in steps["judged"]["detail"]
    assert "openstack server show" in steps["judged"]["remedy"]
    # One line: explain's own probe, which is refused as well, is not judged.
    assert 1 == len(lines(site, "does not know this instance with this tenant"))
    assert "vagent_judgements_wrong 1\n" in site.agent.get(
        "http://127.0.0.1:8085/metrics"
    )
    site.agent.tool("vagent.ctl", "port", "del", alice.port_id)
    site.agent.register(alice)
    assert "200" == asks(alice)
    assert [] == status(site)
    assert "nothing is known to be wrong" in site.agent.tool("vagent.ctl", "status")
    wait_for(lambda: lines(site, "ended after"), seconds=30)
    assert 2 == len(lines(site, "does not know this instance with this tenant"))


def test_a_wrong_secret_is_the_endpoint_s(idle_site: Any) -> None:
    """Told of the endpoint, though two guests met it; readiness keeps its meaning."""
    own_secret(idle_site, "another-secret")
    idle_site.agent.start()
    alice, bob = idle_site.alice(), idle_site.bob()
    idle_site.introduce(alice, bob)
    idle_site.provision()
    assert ["403", "403"] == [asks(alice), asks(bob, "/latest/user-data")]
    (found,) = status(idle_site)
    assert ("signature-refused", "wrong") == (found["kind"], found["severity"])
    assert "endpoint" == found["subject"]["kind"]
    assert "metadata_proxy_shared_secret" in found["remedy"]
    wait_for(lambda: lines(idle_site, "nova-api refused our signature"))
    assert "ready\n" == idle_site.agent.get("http://127.0.0.1:8085/readyz")


def test_an_endpoint_that_is_down(site: Any) -> None:
    """With its last error, from the first request on; gone with the service."""
    alice = site.alice()
    site.introduce(alice)
    site.provision("--ipfabric_service_port", "9")
    assert "503" == asks(alice)
    (found,) = status(site)
    assert ("endpoint-down", "wrong") == (found["kind"], found["severity"])
    assert "127.0.0.1:9" == found["subject"]["id"]
    assert "refused" in found["text"]
    site.unprovision()
    assert [] == status(site)


def test_a_guest_whose_requests_time_out(idle_site: Any) -> None:
    """The endpoint is not down, and yet the guest gets 504: overview, command and
    journal say so, with its request, until it is served.
    """
    site = idle_site
    site.agent.config = site.agent.config.replace(
        "<use-ssl>", "<response-timeout>1</response-timeout><use-ssl>"
    )
    alice = slow_site(site, 4)
    assert ["200"] * 3 == [asks(alice, f"/{number}") for number in range(3)]
    assert [] == status(site)
    assert "504" == asks(alice, "/slow")
    (found,) = status(site)
    assert ("guest-gets-errors", "wrong") == (found["kind"], found["severity"])
    assert (alice.port_id, alice.tap) == (
        found["subject"]["id"],
        found["subject"]["tap"],
    )
    traced = site.agent.tool("vagent.ctl", "trace", "Metadata", "--port", alice.port_id)
    assert found["request"] in traced
    page = site.agent.get("http://127.0.0.1:8085/", "-H", "Accept: text/html")
    said = site.agent.tool("vagent.ctl", "status", check=False)
    for text in (said, page):
        assert "its guest gets 504: nova-api took longer than response-timeout" in text
    assert "ready\n" == site.agent.get("http://127.0.0.1:8085/readyz")
    assert "200" == asks(alice, "/again")
    assert [] == status(site)
    assert 1 == len(lines(site, "wrong: port alice"))


def test_a_tap_that_vanishes(site: Any) -> None:
    """Its port is named until it is deleted, as it is when a guest is stopped."""
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    assert "200" == asks(alice)
    site.lab.host.run("ip", "link", "delete", alice.tap)
    (found,) = wait_for(lambda: status(site), seconds=30)
    assert ("tap-gone", "warning") == (found["kind"], found["severity"])
    assert alice.port_id == found["subject"]["id"]
    assert alice.instance_id == found["subject"]["instance"]
    wait_for(lambda: lines(site, f"its tap {alice.tap} has vanished"))
    site.agent.tool("vagent.ctl", "port", "del", alice.port_id)
    assert [] == status(site)
    wait_for(lambda: lines(site, "ended after"), seconds=30)
