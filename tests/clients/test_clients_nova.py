"""A real Nova behind the agent: what guests get, and what Nova is told of them."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import time
from typing import Any

import pytest

from lab.agent import SECRET
from lab.waiting import holds, wait_for

pytestmark = pytest.mark.system

META_DATA = "/openstack/latest/meta_data.json"
UNKNOWN = "00000000-0000-4000-8000-00000000dead"
HOLD = ("<use-ssl>true</use-ssl>", "<hold-time>30</hold-time><use-ssl>true</use-ssl>")
"""Longer than Nova takes to start."""


def test_everybody_gets_their_own(town: Any, clients: Any) -> None:
    """Nova tells each guest about itself, two guests with one address included."""
    for name, guest in town.guests.items():
        status, body = clients.curl(name, META_DATA)
        document = json.loads(body)
        assert (200, guest.instance_id) == (status, document["uuid"])
        assert guest.tenant_id == document["project_id"]
        assert (200, f"{name}-vm.novalocal") == clients.curl(
            name, "/latest/meta-data/hostname"
        )


def test_nova_is_told_the_four_headers_and_no_more(town: Any, clients: Any) -> None:
    """Whatever a guest sends under those names, or names that Nova believes."""
    alice, bob = town.guests["alice"], town.guests["bob"]
    forged = [
        f"{name}: {value}"
        for name, value in (
            ("X-Instance-ID", bob.instance_id),
            ("x_instance_id", bob.instance_id),
            ("X-Tenant-ID", bob.tenant_id),
            ("X-Instance-ID-Signature", "0" * 64),
            ("X-Forwarded-For", "192.0.2.66"),
            ("X_Forwarded_For", "192.0.2.66"),
            ("X-Metadata-Provider", "somebody"),
            ("X-Metadata-Provider-Signature", "0" * 64),
            ("X-Forwarded-Host", "evil.test"),
        )
    ]
    options = [option for header in forged for option in ("-H", header)]
    status, body = clients.curl("alice", META_DATA, *options)
    assert (200, alice.instance_id) == (status, json.loads(body)["uuid"])
    (asked,) = town.nova.requests()
    signature = hmac.new(SECRET.encode(), alice.instance_id.encode(), hashlib.sha256)
    assert {
        "HTTP_X_INSTANCE_ID": alice.instance_id,
        "HTTP_X_TENANT_ID": alice.tenant_id,
        "HTTP_X_INSTANCE_ID_SIGNATURE": signature.hexdigest(),
        "HTTP_X_FORWARDED_FOR": alice.address,
    } == asked["headers"]


def judged(town: Any) -> list[str]:
    """The kinds of what the agent says is wrong, but for the guest without a port."""
    status = json.loads(town.agent.get("http://127.0.0.1:8085/status"))
    kinds = [one["kind"] for one in status["judgements"]]
    return [kind for kind in kinds if kind != "taps-without-port"]


def explained_and_diagnosed(town: Any, name: str) -> tuple[str, str]:
    """What `explain` says of a guest's port, and `doctor` of the host; both fail."""
    tool = ("vagent.ctl", "--config", str(town.agent.conf))
    port_id = town.guests[name].port_id
    explained = town.agent.tool(*tool, "explain", "--port", port_id, check=False)
    diagnosed = town.agent.tool(*tool, "doctor", check=False)
    assert "✗ " in explained
    assert "✗ " in diagnosed
    return explained, diagnosed


def test_another_secret_is_nova_s_403(town: Any, clients: Any) -> None:
    """Nova's refusal reaches the guest, who learns that it is no fault of its own."""
    with town.restarted(SECRET, "not-the-secret-of-nova"):
        town.provision("nova")
        status, body = clients.curl("alice", META_DATA)
        assert 403 == status
        assert "Invalid proxy request signature." in body
        assert ["signature-refused"] == judged(town)
        for words in explained_and_diagnosed(town, "alice"):
            assert "nova-api refused our signature" in words
            assert "metadata_proxy_shared_secret" in words


def test_an_instance_unknown_to_nova_is_nova_s_404(town: Any, clients: Any) -> None:
    """A port may be registered for an instance that Nova has not, or not any more."""
    alice = town.guests["alice"]
    town.register(alice, instance_id=UNKNOWN)
    try:
        assert 404 == clients.curl("alice", META_DATA)[0]
        (asked,) = town.nova.requests()
        assert UNKNOWN == asked["headers"]["HTTP_X_INSTANCE_ID"]
        assert ["instance-unknown"] == judged(town)
    finally:
        town.register(alice)
    assert [] == judged(town)
    assert 200 == clients.curl("alice", META_DATA)[0]


def test_a_wrong_tenant_is_told_of_that_port(town: Any, clients: Any) -> None:
    """Nova says 404 to all that its guest asks; other guests are served. A document
    that an instance need not have is no reason to complain.
    """
    alice = town.guests["alice"]
    assert 404 == clients.curl("bob", "/latest/nothing")[0]
    assert [] == judged(town)
    town.register(alice, tenant_id=town.guests["carol"].tenant_id)
    try:
        assert 404 == clients.curl("alice", META_DATA)[0]
        assert 200 == clients.curl("bob", META_DATA)[0]
        assert ["instance-unknown"] == judged(town)
        for words in explained_and_diagnosed(town, "alice"):
            assert "nova-api does not know this instance with this tenant" in words
    finally:
        town.register(alice)
    assert 200 == clients.curl("alice", META_DATA)[0]
    assert [] == judged(town)


def test_a_restart_of_nova_is_only_a_delay(town: Any, clients: Any) -> None:
    """A request that comes while Nova is away is held, and answered when it is back."""
    with town.restarted(*HOLD):
        town.provision("nova")
        assert 200 == clients.curl("alice", META_DATA)[0]
        town.nova.kill()
        waiting = town.guests["alice"].machine.start(
            ["curl", "-s", "-m", "40", f"http://169.254.169.254{META_DATA}"],
            stdout=subprocess.PIPE,
        )
        holds(lambda: waiting.poll() is None, seconds=1)  # the request is held
        town.nova.start(town.lab)
        said, _ = waiting.communicate(timeout=40)
    assert town.guests["alice"].instance_id == json.loads(said)["uuid"]


def test_a_dead_endpoint_beside_a_live_one_is_not_noticed(
    town: Any, clients: Any
) -> None:
    """Of two endpoints one refuses connections: every request is served at once."""
    town.provision("nova", "127.0.0.2", "127.0.0.1")
    began = time.monotonic()
    for _ in range(8):
        assert 200 == clients.curl("alice", META_DATA)[0]
    assert time.monotonic() - began < 8, "requests waited for the dead endpoint"


def test_a_password_is_kept_by_nova(town: Any, clients: Any) -> None:
    """POST reaches Nova once; a password that is too long is Nova's 400."""
    path = "/openstack/latest/password"
    assert (200, "") == clients.curl("carol", path, "--data-binary", "p4ss")
    posts = [one for one in town.nova.requests() if one["method"] == "POST"]
    assert 1 == len(posts)
    status, _ = clients.curl("bob", path, "--data-binary", "x" * 1021)
    assert 400 == status


def test_user_data_arrive_byte_for_byte(
    town: Any, clients: Any, facts: Any, tmp_path: Any
) -> None:
    """gzip is not unpacked, re-coded or cut on the way."""
    got = tmp_path / "user-data"
    clients.curl("alice", "/latest/user-data", "-o", str(got))
    assert facts.user_data("alice") == got.read_bytes()


@pytest.mark.parametrize("upstream", ["nova", "embedded"])
def test_a_probe_is_answered_and_asks_for_nobody(
    town: Any, clients: Any, upstream: str
) -> None:
    """Every second Nova is asked for its versions, and not for an instance; when it
    goes away that is known though no guest asks.
    """
    town.provision(upstream)
    old = "<use-ssl>true</use-ssl>"
    with town.restarted(old, f"{old}<probe-interval>1</probe-interval>"):
        probes = 'vagent_metadata_upstream_probes_total{reason="answered"}'
        wait_for(lambda: number(town, probes) >= 2)
        up = "vagent_metadata_upstream_up_endpoints"
        assert 1 == number(town, up)
        asked = [one for one in town.nova.requests() if one["path"] == "/"]
        assert (upstream == "nova") == bool(asked)
        assert all({} == one["headers"] for one in asked)
        with town.unreachable(upstream):
            wait_for(lambda: number(town, up) == 0)
        wait_for(lambda: number(town, up) == 1, seconds=20)
        assert 200 == clients.curl("alice", META_DATA)[0]


def number(town: Any, series: str) -> float:
    """The value of a series of /metrics; 0 if it is not there."""
    for line in town.agent.get("http://127.0.0.1:8085/metrics").splitlines():
        if line.startswith(series + " "):
            return float(line.rpartition(" ")[2])
    return 0.0
