"""explain sends a real request, and tells where it ended; it leaves nothing behind."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet

from lab.agent import port_add
from lab.guests import Guest
from lab.namespaces import inside
from lab.waiting import wait_for
from tests.system.test_tap_who import send
from vagent.config.model import DataPathConfig
from vagent.datapath.fast_path.compose import ingress_hook_of
from vagent.datapath.tap.layout import MAPS, VERSION, DropReason
from vagent.datapath.tap.probe import TapPrograms
from vagent.kernel.bpf import BpfMap

pytestmark = pytest.mark.system

PATH = "/openstack/latest/meta_data.json"


def run_explain(site: Any, *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code, and the last step of each name."""
    argv = [sys.executable, "-m", "vagent.ctl", "-o", "json"]
    command = [*argv, "--config", str(site.agent.conf), "explain", *words]
    shell = ["sh", "-c", f"{shlex.join(command)}; echo $?"]
    host = site.lab.host
    said = host.run(*host.with_bpf_files(shell), check=False)
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
    site.agent.data_path.run(
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


def asking(guest: Guest, **fields: Any) -> Packet:
    """What opens a connection of the guest to the service."""
    mac = fields.pop("mac", guest.mac)
    tags = [Dot1Q(vlan=tag) for tag in fields.pop("tags", ())]
    frame: Packet = Ether(src=mac, dst="02:de:ad:be:ef:99")
    for tag in tags:
        frame = frame / tag
    packet = IP(**{"src": guest.address, "dst": "169.254.169.254"} | fields)
    return frame / packet / TCP(sport=40001, dport=80)


def counted(site: Any, guest: Guest) -> tuple[object, ...]:
    """All that the kernel and the agent count for a guest and its tap."""
    port = json.loads(
        site.agent.tool("vagent.ctl", "-o", "json", "port", "show", guest.port_id)
    )

    def at_taps() -> list[tuple[object, ...]]:
        with TapPrograms(
            "vagent",
            partial(ingress_hook_of, DataPathConfig()),
            site.lab.host.bpf_files,
        ) as programs:
            found = programs.seen()
        sent = [
            (way, seen.packets, seen.last, seen.drops) for way, seen in found.guests
        ]
        return [*sent, *sorted(found.refused)]

    drops = [site.counter(reason.word) for reason in DropReason]
    asked = inside(site.lab.host.name, at_taps)
    return port.get("refused"), drops, asked, traced(site, guest)


@pytest.mark.parametrize(
    ("used", "said"),
    [
        ({"mac": "02:00:00:00:00:99"}, "another MAC address"),
        ({"src": "10.0.0.66"}, "another address"),
        ({"tags": (7,)}, "another VLAN"),
    ],
)
def test_a_guest_that_is_not_as_registered(
    site: Any, used: dict[str, Any], said: str
) -> None:
    """The probe uses what the guest was last seen to use, and its own tap refuses that,
    with the remedy. Nothing is counted for the guest, neither then nor when it is as
    registered, and it is served as before.
    """
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    send(alice, asking(alice, **used))
    wait_for(lambda: counted(site, alice)[0])
    before = counted(site, alice)[1:]
    code, steps = run_explain(site, "--port", alice.port_id)
    assert 1 == code
    assert "its guest was last seen" in steps["probe"]["detail"]
    assert steps["tap"]["ok"] is False
    assert f"spoofed ({said})" in steps["tap"]["detail"]
    assert f"registered is {alice.mac} {alice.address}" in steps["tap"]["detail"]
    assert "register what the guest uses" in steps["tap"]["remedy"]
    assert "connect" not in steps
    assert before == counted(site, alice)[1:]
    send(alice, asking(alice))
    before = counted(site, alice)[1:]
    code, steps = run_explain(site, "--port", alice.port_id)
    assert (0, True) == (code, steps["tap"]["ok"])
    assert before == counted(site, alice)[1:]


@pytest.mark.kernel
def test_a_guest_in_a_vlan(site: Any) -> None:
    """The probe wears its tag, and answers come without."""
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    site.agent.tool("vagent.ctl", "port", "del", alice.port_id)
    site.agent.tool(*port_add(alice), "--vlan", "7")
    send(alice, asking(alice, tags=(7,)))
    code, steps = run_explain(site, "--port", alice.port_id, "GET", "/openstack")
    assert f"from {alice.mac} {alice.address} VLAN 7" in steps["probe"]["detail"]
    assert (0, True) == (code, steps["response"]["ok"])


def test_a_guest_at_anothers_tap(site: Any) -> None:
    """It is sought where it was seen, and that is said."""
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    site.provision()
    send(bob, asking(alice))
    code, steps = run_explain(site, "--port", alice.port_id)
    assert 1 == code
    assert f"the program at {bob.tap} refuses" in steps["tap"]["detail"]
    assert "another tap" in steps["tap"]["detail"]


def test_a_tap_without_the_program(site: Any) -> None:
    """No probe is sent into it: it would go where the host sends it."""
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    hook = partial(ingress_hook_of, DataPathConfig())
    files = site.lab.host.bpf_files

    def is_there() -> bool:
        with TapPrograms("vagent", hook, files) as programs:
            return programs.is_at(socket.if_nametoindex(alice.tap))

    assert inside(site.lab.host.name, is_there)
    site.agent.process.send_signal(signal.SIGSTOP)
    try:
        site.lab.host.run("tc", "qdisc", "del", "dev", alice.tap, "ingress")
        assert not inside(site.lab.host.name, is_there)
    finally:
        site.agent.process.send_signal(signal.SIGCONT)
    site.lab.host.run("ip", "link", "del", alice.tap)
    code, steps = run_explain(site, "--port", alice.port_id)
    assert 1 == code
    assert steps["tap"]["detail"] == f"this host has no interface {alice.tap}"
    assert "probe" not in steps


def marks(site: Any) -> int:
    """How many probes the programs at the taps know."""
    form = MAPS["probe"]
    known = BpfMap(
        form.kind,
        key=form.key,
        value=form.value,
        entries=form.entries,
        pinned=site.lab.host.bpf_files / "vagent" / f"probe_{VERSION}",
    )
    try:
        return len(list(known.elements()))
    finally:
        known.close()


def test_a_killed_probe_leaves_a_port_at_most(site: Any) -> None:
    """Tap and namespace go with the process; the port goes with the next probe, and so
    does its mark.
    """
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    site.agent.data_path.run(
        *("nft", 'table ip fw { chain in { type filter hook input priority 0; iifname'
          ' "vagent1" drop; }; }'),
    )  # fmt: skip
    argv = [sys.executable, "-m", "vagent.ctl", "--config", str(site.agent.conf)]
    asked = [*argv, "explain", "--port", alice.port_id]
    probe = site.lab.host.start(site.lab.host.with_bpf_files(asked))
    wait_for(lambda: len(leftovers(site)) >= 2 and marks(site))
    probe.kill()
    probe.wait()
    site.agent.data_path.run("nft", "delete", "table", "ip", "fw")
    wait_for(lambda: len(leftovers(site)) == 1)
    assert 1 == marks(site)
    assert 0 == run_explain(site, "--port", alice.port_id)[0]
    assert ([], 0) == (leftovers(site), marks(site))


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
    host = idle_site.lab.host
    said = host.run(*host.with_bpf_files([*command, *words]), check=False)
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
