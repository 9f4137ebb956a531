"""explain sends a real request, and tells where it ended; it leaves nothing behind."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from lab.waiting import wait_for

pytestmark = pytest.mark.system

PATH = "/openstack/latest/meta_data.json"


def run_explain(site: Any, *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code, and the last step of each name."""
    argv = [sys.executable, "-m", "vagent.ctl", "-o", "json"]
    command = [*argv, "--config", str(site.agent.conf), "explain", *words]
    said = site.lab.host.run("sh", "-c", f"{shlex.join(command)}; echo $?", check=False)
    text, _, code = said.strip().rpartition("\n")
    return int(code), {step["name"]: step for step in json.loads(text)}


def leftovers(site: Any) -> list[str]:
    """Taps and ports of probes that are still there."""
    links = site.lab.host.run("ip", "-brief", "link").split()
    ports = json.loads(site.agent.tool("vagent.ctl", "-o", "json", "port", "list"))
    taps = [port["system-name"] for port in ports]
    return [name for name in (*links, *taps) if name.startswith("vgx")]


def test_a_good_port(site: Any, ask: Any) -> None:
    """Every step of the way with its time, status 200, and the guest's own identity is
    never touched: neither body nor secret is shown.
    """
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    site.provision()
    before = site.identity(alice)
    code, steps = run_explain(site, "--port", alice.port_id, "GET", PATH)
    assert 0 == code
    for name in ("agent", "port", "service", "probe", "ARP", "verdict", "connect"):
        assert steps[name]["ok"] is True, steps[name]
    assert "host-to-guest is false" in steps["host"]["detail"]
    assert "02:00:a9:fe:a9:fe" in steps["ARP"]["detail"]
    assert "metadata: to the metadata proxy" in steps["verdict"]["detail"]
    assert re.fullmatch(
        r"200, \d+ bytes to request [0-9a-f]{16} after \d\.\d{3} s",
        steps["proxy"]["detail"],
    )
    assert steps["response"]["detail"].startswith("200, ")
    assert steps["connect"]["took"] > 0
    assert alice.instance_id not in json.dumps(steps["response"])
    assert [] == leftovers(site)
    assert before == site.identity(alice)
    assert "I am alice\n" == ask(alice, "/latest/user-data")


def traced(site: Any, guest: Any) -> list[dict[str, Any]]:
    """What the proxy did for a guest, by its port."""
    tool = ("vagent.ctl", "-o", "json", "trace", "Metadata", "--port", guest.port_id)
    entries: list[dict[str, Any]] = json.loads(site.agent.tool(*tool))
    return entries


@contextmanager
def refused_all_the_time(site: Any, guest: Any) -> Iterator[None]:
    """The guest asks for what is refused, on connections on which it was served."""
    url = "-s -m 5 -o /dev/null http://169.254.169.254/"
    ask = f"curl {url} --next -X BREW {url}"
    asking = guest.machine.start(["sh", "-c", f"while :; do {ask}; done"])
    try:
        wait_for(lambda: [each for each in traced(site, guest) if each["fault"]])
        yield
    finally:
        asking.kill()
        asking.wait()


def test_two_tenants_with_one_address(site: Any) -> None:
    """On two taps. One is refused all the time, and nothing of it is told of the other;
    where it was refused is found under its own port.
    """
    alice, bob = site.alice(), site.bob()
    assert alice.address == bob.address
    site.introduce(alice, bob)
    site.provision()
    with refused_all_the_time(site, bob):
        before = len(traced(site, bob))
        code, steps = run_explain(site, "--port", alice.port_id, "GET", PATH)
        assert len(traced(site, bob)) > before
    assert 0 == code
    assert not [step for step in steps.values() if step["ok"] is False]
    assert [] == traced(site, alice)
    faults = [each for each in traced(site, bob) if each["fault"]]
    assert {("RequestRefused", bob.tap, 501)} == {
        (each["event"], each["tap"], each["status"]) for each in faults
    }
    assert len(faults) == len({each["request"] for each in faults})


def test_an_unprovisioned_service(site: Any) -> None:
    """The refusing step is the verdict, and the guest would see a reset."""
    alice = site.alice()
    site.introduce(alice)
    code, steps = run_explain(site, "--port", alice.port_id)
    assert 1 == code
    assert steps["service"]["ok"] is False
    assert "not-provisioned" in steps["verdict"]["detail"]
    assert "refused at once" in steps["connect"]["detail"]
    assert "response" not in steps
    assert [] == leftovers(site)


def test_a_drop_rule_before_the_listener(site: Any) -> None:
    """The verdict was good, the connection was not: the fault is between them."""
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    site.lab.host.run(
        "nft",
        'table ip fw { chain in { type filter hook input priority 0; iifname "vagent1"'
        " drop; }; }",
    )
    code, steps = run_explain(site, "--port", alice.port_id)
    assert 1 == code
    assert (True, False) == (steps["verdict"]["ok"], steps["connect"]["ok"])
    assert "no answer in time" in steps["connect"]["detail"]


def test_an_unknown_port(site: Any) -> None:
    """It is said to be unknown, and nothing is sent."""
    unknown = "00000000-0000-4000-8000-000000000001"
    code, steps = run_explain(site, "--port", unknown)
    assert 1 == code
    assert f"{unknown} is not registered" in steps["port"]["detail"]
    assert "probe" not in steps


def test_without_the_agent(site: Any) -> None:
    """Exit code 69, and the doctor is recommended."""
    alice = site.alice()
    site.introduce(alice)
    site.agent.stop(signal.SIGKILL)
    code, steps = run_explain(site, "--port", alice.port_id)
    assert 69 == code
    assert ["agent"] == list(steps)


def test_a_killed_probe_leaves_a_port_at_most(site: Any) -> None:
    """Tap and namespace go with the process; the port goes with the next probe."""
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    site.lab.host.run(
        *("nft", 'table ip fw { chain in { type filter hook input priority 0; iifname'
          ' "vagent1" drop; }; }'),
    )  # fmt: skip
    argv = [sys.executable, "-m", "vagent.ctl", "--config", str(site.agent.conf)]
    probe = site.lab.host.start([*argv, "explain", "--port", alice.port_id])
    wait_for(lambda: len(leftovers(site)) >= 2)
    probe.kill()
    probe.wait()
    site.lab.host.run("nft", "delete", "table", "ip", "fw")
    wait_for(lambda: len(leftovers(site)) == 1)
    assert 0 == run_explain(site, "--port", alice.port_id)[0]
    assert [] == leftovers(site)


def own_secret(site: Any, secret: str) -> None:
    """Give the embedded server another shared secret than the proxy has, as if it were
    a nova-api that was set up by somebody else.
    """
    enabled = "<enabled>true</enabled>"
    other = f"{enabled}<shared-secret>{secret}</shared-secret>"
    assert 1 == site.agent.config.count(enabled)
    site.agent.config = site.agent.config.replace(enabled, other)


def test_a_wrong_secret_is_named_with_its_remedy(idle_site: Any, ask: Any) -> None:
    """403 is a fault, and both places of the secret are told; people see it, too."""
    own_secret(idle_site, "another-secret")
    idle_site.agent.start()
    alice = idle_site.alice()
    idle_site.introduce(alice)
    idle_site.provision()
    code, steps = run_explain(idle_site, "--port", alice.port_id)
    assert 1 == code
    assert steps["response"]["ok"] is False
    assert steps["response"]["detail"].startswith("403, ")
    assert "nova-api refused our signature" in steps["proxy"]["detail"]
    for name in ("proxy", "response"):
        assert "metadata_proxy_shared_secret" in steps[name]["remedy"]
    command = (sys.executable, "-m", "vagent.ctl", "--config")
    words = (str(idle_site.agent.conf), "explain", "--port", alice.port_id)
    said = idle_site.lab.host.run(*command, *words, check=False)
    assert "metadata_proxy_shared_secret" in said


def test_a_wrong_tenant_is_named_with_its_remedy(site: Any) -> None:
    """404 for a document that every instance has; 404 for another one is an error with
    which nothing is wrong but the path.
    """
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    code, steps = run_explain(site, "--port", alice.port_id, "GET", "/latest/nothing")
    assert (1, False) == (code, steps["response"]["ok"])
    assert "GET /openstack" in steps["response"]["remedy"]
    site.agent.tool("vagent.ctl", "port", "del", alice.port_id)
    site.agent.register(replace(alice, tenant_id="7e000000000040008000000000000099"))
    code, steps = run_explain(site, "--port", alice.port_id, "GET", "/openstack")
    assert (1, False) == (code, steps["response"]["ok"])
    assert "does not know this instance with this tenant" in steps["proxy"]["detail"]
    assert "openstack server show" in steps["response"]["remedy"]
