"""The doctor on a real host: health is health, each planted fault is named, and the
command that it prints mends it.
"""

from __future__ import annotations

import json
import shlex
import signal
import sys
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from lab.agent import configuration
from lab.fabric import echo
from lab.pki import Authority, KeyPair
from lab.waiting import wait_for
from tests.system.offers import SERVICE4, SERVICE6, answered, offer
from tests.system.test_system_explain import own_secret

pytestmark = pytest.mark.system


def run_doctor(site: Any, *options: str) -> tuple[int, list[dict[str, str]]]:
    """Exit code, and the findings with the name of their check."""
    argv = [sys.executable, "-m", "vagent.ctl", "-o", "json"]
    script = (
        f"{shlex.join([*argv, '--config', str(site.agent.conf), 'doctor', *options])}"
    )
    said = site.lab.host.run("sh", "-c", f"{script}; echo $?", check=False)
    text, _, code = said.strip().rpartition("\n")
    return int(code), [
        {"check": check["name"], **finding}
        for check in json.loads(text)["checks"]
        for finding in check["findings"]
    ]


def wrong(site: Any) -> list[dict[str, str]]:
    """What is wrong; the exit code must agree."""
    code, findings = run_doctor(site)
    found = [finding for finding in findings if finding["severity"] == "wrong"]
    assert (1 if found else 0) == code
    return found


def mend(site: Any, finding: dict[str, str]) -> None:
    """Do what the doctor prescribes."""
    site.lab.host.run("sh", "-c", finding["mend"])


@pytest.fixture
def served(site: Any) -> Any:
    """A host with a guest that is served."""
    site.introduce(site.alice())
    site.provision()
    return site


def test_a_healthy_host(served: Any) -> None:
    """Nothing is wrong, exit code 0; asking changed nothing."""
    before = served.lab.host.run("nft", "-s", "list", "ruleset")
    assert [] == wrong(served)
    assert before == served.lab.host.run("nft", "-s", "list", "ruleset")
    links = served.lab.host.run("ip", "-brief", "link")
    assert "vgd" not in links


def test_strict_counts_warnings(site: Any) -> None:
    """Nothing is provisioned yet: a warning, which fails only if asked to."""
    assert 0 == run_doctor(site)[0]
    code, findings = run_doctor(site, "--strict")
    assert 1 == code
    assert any("no metadata service" in finding["what"] for finding in findings)


PLANTED = {
    "a drop policy": (
        "nft 'table inet fw { chain in { type filter hook input priority 0;"
        ' policy drop; iifname "lo" accept; }; }\'',
        "inet fw in: its policy drops a guest's packet to service echo at 127.0.0.1",
    ),
    "a rule that rejects": (
        "nft 'table ip fw { chain out { type filter hook output priority 0;"
        ' oifname "vagentu" counter reject; }; }\'',
        "ip fw out: the rule handle",
    ),
    "the service address": (
        "ip address add 169.254.169.254/32 dev lo",
        "interface lo has the address 169.254.169.254",
    ),
    "an address of the uplink": (
        "ip address add 169.254.0.1/32 dev blue",
        "interface blue has 169.254.0.1, of the uplink's addresses",
    ),
    "a process that serves on the service address": (
        "ip address add 169.254.169.254/32 dev lo; "
        f"{sys.executable} -c 'import signal, socket;"
        ' s = socket.create_server(("169.254.169.254", 80)); signal.pause()\''
        " >/dev/null 2>&1 & until ss -ltn | grep -q 169.254.169.254:80; do :; done",
        "listens on 169.254.169.254:80/tcp",
    ),
    "a route to the uplink's other end, with rp_filter": (
        "sysctl -qw net.ipv4.conf.all.rp_filter=1;"
        " ip route add 169.254.0.1/32 dev blue",
        "route 169.254.0.1/32 dev blue is to the uplink's addresses",
    ),
    "an interface that is down": (
        "ip link set vagent0 down",
        "interface vagent0 is down",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_fault_of_the_host_is_named_and_mended(
    served: Any, ask: Any, name: str
) -> None:
    """What is printed as the cure is run, and then the host is healthy, and the guest
    served, also by a service of this host.
    """
    plant, what = PLANTED[name]
    served.started.append(echo(served.lab.host, "host", 7777, address="127.0.0.1"))
    offer(served, "echo", SERVICE4, 7, "127.0.0.1")
    served.lab.host.run("sh", "-c", plant)
    (finding, *_) = [found for found in wrong(served) if what in found["what"]]
    mend(served, finding)
    for left in wrong(served):
        mend(served, left)
    assert [] == wrong(served)
    (alice,) = served.lab.guests
    assert "I am alice\n" == ask(alice, "/latest/user-data")
    assert "host" == answered(alice, "tcp", SERVICE4, 7)


def test_rp_filter_is_named_when_it_bites(served: Any, ask: Any) -> None:
    """The kernel itself is asked: a strict filter alone harms nobody."""
    host, alice = served.lab.host, served.lab.guests[0]
    host.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
    assert [] == wrong(served)
    assert "I am alice\n" == ask(alice, "/latest/user-data")
    offer(served, "echo", SERVICE4, 7, "127.0.0.1")
    host.run("ip", "route", "add", "169.254.0.1/32", "dev", "blue")
    assert any("rp_filter drops" in finding["what"] for finding in wrong(served))


def test_forwarding_is_asked_of_the_kernel(served: Any) -> None:
    """A service on another machine needs it on both sides; each is named in turn."""
    host = served.lab.host
    host.run("ip", "address", "add", "10.0.0.254/24", "dev", "blue")
    served.agent.tool(
        *("provision.provision_linklocal", "--linklocal_service_name", "echo"),
        *("--linklocal_service_ip", "169.254.1.7", "--linklocal_service_port", "7"),
        *("--ipfabric_service_ip", "10.0.0.1", "--ipfabric_service_port", "7"),
    )
    host.run("sysctl", "-qw", "net.ipv4.conf.blue.forwarding=0")
    host.run("sysctl", "-qw", "net.ipv4.conf.vagentu.forwarding=0")
    for side in ("vagentu", "blue"):
        (finding,) = wrong(served)
        assert f"forwarding is off on {side}" in finding["what"]
        mend(served, finding)
    assert [] == wrong(served)


def test_ipv6_forwarding_is_asked_for_once_a_service_needs_it(served: Any) -> None:
    """An endpoint on this host does without."""
    host = served.lab.host
    host.run("ip", "address", "add", "2001:db8::1/64", "dev", "blue", "nodad")
    offer(served, "here", SERVICE6, 7, "2001:db8::1")
    assert [] == wrong(served)
    offer(served, "beyond", SERVICE6, 8, "2001:db8::7")
    (finding,) = wrong(served)
    assert "IPv6 forwarding is off" in finding["what"]
    mend(served, finding)
    assert [] == wrong(served)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_agent_that_is_away(served: Any, how: signal.Signals) -> None:
    """It is named with what its rules do meanwhile, and services, TLS and upstream are
    judged from its files.
    """
    served.agent.stop(how)
    findings = wrong(served)
    assert {"agent", "upstream"} == {finding["check"] for finding in findings}
    assert "the agent does not run" in findings[0]["what"]
    assert str(served.agent.conf) in findings[0]["mend"]
    assert "the rules that it left guard" in findings[0]["means"]
    served.agent.data_path.run("nft", "flush", "ruleset")
    assert "nothing guards" in wrong(served)[0]["means"]


def test_a_frozen_agent(served: Any) -> None:
    """The cure wakes it up."""
    served.agent.process.send_signal(signal.SIGSTOP)
    (finding, *_) = wrong(served)
    assert "is stopped by a signal" in finding["what"]
    mend(served, finding)
    assert [] == wrong(served)


def test_flushed_rules(served: Any) -> None:
    """`nft flush ruleset` of another program takes ours; it is said which are gone,
    whether the agent knows already or not. It does so again and again, since the agent
    puts them back.
    """
    inside = f"ip netns exec {served.agent.data_path.name} nft flush ruleset"
    served.start_on_host(
        ["sh", "-c", f"while nft flush ruleset && {inside}; do sleep 0.2; done"]
    )
    wait_for(
        lambda: [finding["what"] for finding in wrong(served)],
        lambda told: all(
            any(f"nftables table {table}" in each for each in told)
            for table in ("ip vagent in network namespace", "inet vagent is gone")
        ),
        seconds=30,
    )


def test_another_program_has_the_queue(idle_site: Any) -> None:
    """With its name, before the agent is started."""
    idle_site.agent.start()
    idle_site.agent.stop()
    idle_site.lab.host.make_data_path()
    holder = "from netfilterqueue import NetfilterQueue as Q; import signal; q = Q();"
    code = f"{holder} q.bind(8097, print); print(flush=True); signal.pause()"
    inside = idle_site.agent.data_path
    idle_site.started.append(inside.start([sys.executable, "-c", code]))
    found = wait_for(lambda: [f for f in wrong(idle_site) if f["check"] == "queue"])
    assert "NFQUEUE 8097 is taken by python" in found[0]["what"]
    assert found[0]["mend"].startswith("kill ")


def test_the_upstream_is_down(served: Any) -> None:
    """The stage that fails is named: nobody listens."""
    served.unprovision()
    served.agent.tool(
        *("provision.provision_linklocal", "--linklocal_service_name", "metadata"),
        *("--linklocal_service_ip", "169.254.169.254"),
        *("--linklocal_service_port", "80", "--ipfabric_service_ip", "127.0.0.1"),
        *("--ipfabric_service_port", "8776"),
    )
    (finding,) = wrong(served)
    assert "127.0.0.1:8776: connection refused" in finding["what"]


@pytest.mark.parametrize("with_port", [False, True])
def test_another_secret_than_nova_s(idle_site: Any, with_port: bool) -> None:
    """Found out before a guest asks, with a port registered or without any."""
    own_secret(idle_site, "another-secret")
    idle_site.agent.start()
    if with_port:
        idle_site.introduce(idle_site.alice())
    idle_site.provision()
    (finding,) = wrong(idle_site)
    assert (
        "nova-api refused our signature: the shared secrets differ" in finding["what"]
    )
    assert "metadata_proxy_shared_secret" in finding["mend"]


def test_an_instance_of_another_tenant(site: Any) -> None:
    """Named with port, instance and tenant; a made-up instance is no finding."""
    site.provision()
    assert [] == wrong(site)
    alice = site.alice()
    site.introduce(alice)
    assert [] == wrong(site)
    site.agent.tool("vagent.ctl", "port", "del", alice.port_id)
    site.agent.register(replace(alice, tenant_id="7e000000000040008000000000000099"))
    (finding,) = wrong(site)
    assert alice.instance_id in finding["what"]
    assert "tenant 7e000000000040008000000000000099" in finding["what"]
    assert f"vagentctl port show {alice.port_id}" in finding["mend"]


def test_the_wrong_authority(idle_site: Any) -> None:
    """A CA that did not sign nova-api's certificate: named as what it is."""
    other = Authority(idle_site.folder / "other")
    agent = idle_site.agent
    ours = f"<ca-cert>{idle_site.folder}/pki"
    assert ours in agent.config
    agent.config = agent.config.replace(
        agent.config[
            agent.config.index("<ca-cert>") : agent.config.index("</ca-cert>")
        ],
        f"<ca-cert>{other.cert}",
    )
    agent.start()
    idle_site.provision()
    (finding,) = wrong(idle_site)
    assert "its certificate is not verified" in finding["what"]
    assert ", issued by CN=vagent lab CA" in finding["what"]
    assert f"-CAfile {other.cert}" in finding["mend"]


def with_client(site: Any, pair: KeyPair) -> None:
    """Start the agent with another client certificate and key."""
    config = site.agent.config
    for element, path in (("client-cert", pair.cert), ("client-key", pair.key)):
        start, end = config.index(f"<{element}>"), config.index(f"</{element}>")
        config = config[:start] + f"<{element}>{path}" + config[end:]
    site.agent.config = config
    site.agent.start()
    site.provision()


def test_a_client_certificate_that_is_refused(idle_site: Any) -> None:
    """TLS 1.3 tells of it only when the answer is read; it is not taken for health."""
    stranger = Authority(idle_site.folder / "other").client("agent")
    with_client(idle_site, stranger)
    (finding,) = wrong(idle_site)
    assert "refused our client certificate" in finding["what"]


@pytest.mark.parametrize(
    ("lifetime", "severity", "what"),
    [
        (timedelta(minutes=-10), "wrong", "expired on"),
        (timedelta(days=2), "warning", "expires on"),
    ],
)
def test_a_certificate_at_its_end(
    idle_site: Any, lifetime: timedelta, severity: str, what: str
) -> None:
    """It is named: before its end as a warning, then as the fault that it is."""
    pair = Authority(idle_site.folder / "old", lifetime=lifetime).client("old")
    with_client(idle_site, pair)
    told = [f for f in run_doctor(idle_site)[1] if str(pair.cert) in f["what"]]
    assert (severity, True) == (told[0]["severity"], what in told[0]["what"])


def test_a_clock_that_is_behind(idle_site: Any) -> None:
    """A certificate of tomorrow proves it; so does the peer, who refuses it."""
    early = Authority(idle_site.folder / "new", age=timedelta(days=-1)).client("new")
    with_client(idle_site, early)
    (finding,) = (each for each in wrong(idle_site) if each["check"] == "clock")
    assert f"{early.cert} is valid from" in finding["what"]


def test_a_key_of_another_certificate(idle_site: Any) -> None:
    """The files are there, and do not belong together."""
    pki = Authority(idle_site.folder / "pki")
    one, other = pki.client("one"), pki.client("other")
    with_client(idle_site, KeyPair(one.cert, other.key))
    assert "TLS files" in {finding["check"] for finding in wrong(idle_site)}


def test_an_empty_secret(idle_site: Any) -> None:
    """It signs, and proves nothing."""
    idle_site.agent.config = configuration(idle_site.folder, secret="")
    idle_site.agent.start()
    idle_site.provision()
    assert {"shared secret"} == {finding["check"] for finding in wrong(idle_site)}


def test_a_wrong_configuration(idle_site: Any) -> None:
    """Every problem with file and line, and no guess about the rest."""
    idle_site.agent.conf.write_text("<config><agent>\n<bogus/>\n</agent></config>")
    (finding,) = wrong(idle_site)
    assert f"{idle_site.agent.conf}:2: " in finding["what"]


def test_a_configuration_that_others_may_read(site: Any) -> None:
    """It holds the secret: a warning, and the cure closes it."""
    site.agent.conf.chmod(0o644)
    told = [f for f in run_doctor(site)[1] if f["check"] == "agent.conf"]
    assert "has mode 0644" in told[0]["what"]
    mend(site, told[0])
    assert 0o600 == site.agent.conf.stat().st_mode & 0o777
    assert not [f for f in run_doctor(site)[1] if f["check"] == "agent.conf"]


def test_the_way_from_the_host_to_a_guest(idle_site: Any) -> None:
    """Once it is wanted, a rule that stops it is named, and the cure opens it."""
    idle_site.agent.config = configuration(
        idle_site.folder,
        extra="<data-path><host-to-guest>true</host-to-guest></data-path>",
    )
    idle_site.agent.start()
    idle_site.provision()
    assert [] == wrong(idle_site)
    idle_site.lab.host.run(
        "nft",
        "table ip fw { chain out { type filter hook output priority 0;"
        ' oifname "vagentu" ct state new drop; }; }',
    )
    (finding,) = wrong(idle_site)
    assert "drops a packet of this host to a guest" in finding["what"]
    mend(idle_site, finding)
    assert [] == wrong(idle_site)
