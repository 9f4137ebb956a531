"""Promises of the doctor: a healthy host is healthy, and each fault has its name, its
meaning and its cure.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address
from typing import Any

import pytest

from vagent.config.model import TapPriority
from vagent.doctor.check_upstream import role_of
from vagent.doctor.checks import diagnose, worst
from vagent.doctor.facts import (
    HostFacts,
    HostInterface,
    HostRoute,
    Inside,
    KernelTrial,
    Listener,
    PortFact,
    Process,
    Queue,
    RouteTrial,
    UpstreamTrial,
)
from vagent.doctor.finding import Finding
from vagent.doctor.rules import Ruleset
from vagent.judgements.judgement import (
    Judgement,
    JudgementKind,
    Severity,
    Subject,
    SubjectKind,
)
from vagent.linklocal.service import LinkLocalService
from vagent.metadata.upstream.refusal import read_refusal

NOVA = Process(77, "other")
SERVICE = IPv4Address("169.254.169.254")


def found(facts: HostFacts) -> list[Finding]:
    return [finding for result in diagnose(facts) for finding in result.findings]


def host(facts: HostFacts, **changes: Any) -> HostFacts:
    return replace(facts, host=replace(facts.host, **changes))


def inside(facts: HostFacts, **changes: Any) -> HostFacts:
    assert facts.host.inside is not None
    return host(facts, inside=replace(facts.host.inside, **changes))


def to_guests(facts: HostFacts) -> HostFacts:
    """The same host where processes of it may open flows to guests."""
    return replace(facts, ours=replace(facts.ours, host_to_guest=True))


def agent(facts: HostFacts, **changes: Any) -> HostFacts:
    return replace(facts, agent=replace(facts.agent, **changes))


def conf(facts: HostFacts, **changes: Any) -> HostFacts:
    return replace(facts, configuration=replace(facts.configuration, **changes))


def sysctl(facts: HostFacts, **values: str) -> HostFacts:
    named = {key.replace("__", "/"): value for key, value in values.items()}
    return host(facts, sysctl={**facts.host.sysctl, **named})


def way(facts: HostFacts, target: str, **answer: Any) -> HostFacts:
    return host(facts, route_trials=(RouteTrial(IPv4Address(target), **answer),))


def link(facts: HostFacts, name: str, address: str) -> HostFacts:
    more = HostInterface(name, up=True, addresses=(IPv4Interface(address),))
    return host(facts, links=(*facts.host.links, more))


def route(facts: HostFacts, destination: str, device: str) -> HostFacts:
    more = HostRoute(IPv4Network(destination), device, "main", "unicast")
    return host(facts, routes=(*facts.host.routes, more))


def port(facts: HostFacts, state: str, author: str = "nova") -> HostFacts:
    return agent(facts, ports=(PortFact("p9", "bob", "tap9", state, author),))


def upstream(facts: HostFacts, stage: str, said: str = "it said why") -> HostFacts:
    trial = UpstreamTrial("192.0.2.7:8775", "nova.example", stage, said)
    return replace(facts, upstream=(trial,))


BOB = PortFact("p9", "bob", "tap9", "Active", "nova", "i9", "t9", "10.0.0.9")
JUDGED = Judgement(
    JudgementKind.INSTANCE_UNKNOWN,
    Severity.WRONG,
    Subject(SubjectKind.PORT, "p9", "bob"),
    "unknown",
    "register it again",
)
AT_ENDPOINT = Subject(SubjectKind.ENDPOINT, "192.0.2.7:8775")


def refused(facts: HostFacts, status: int, body: bytes) -> HostFacts:
    refusal = read_refusal(status, body, b"/openstack")
    trial = replace(facts.upstream[0], refused=refusal, asked_for=BOB)
    return replace(facts, upstream=(trial,))


def test_a_healthy_host_has_no_finding(facts: HostFacts) -> None:
    """Nothing wrong: every check is good, and there is no verdict."""
    results = diagnose(facts)
    assert [] == found(facts)
    assert worst(results) is None
    assert len(results) == len({result.name for result in results}) > 15


@pytest.mark.parametrize(
    ("priority", "severity", "said"),
    [
        (TapPriority.FIRST, Severity.WARNING, "though tap-priority is first"),
        (TapPriority.LAST, Severity.NOTE, "as tap-priority is last"),
    ],
)
def test_programs_before_ours(
    facts: HostFacts, priority: TapPriority, severity: Severity, said: str
) -> None:
    """Told once, with what it costs: chosen, or not."""
    ours = replace(facts.ours, tap_priority=priority)
    one = replace(facts, ours=ours, in_front=(("tap1", "tcx program 12"),))
    (finding,) = found(one)
    assert severity is finding.severity
    assert f"tcx program 12 runs before the agent's program at tap1, {said}" == (
        finding.what
    )
    assert "what it redirects or accepts is neither served nor guarded" in finding.means
    assert "tc filter show dev tap1 ingress" in finding.mend
    three = (*one.in_front, ("tap1", "filter x"), ("tap2", "x"), ("tap3", "x"))
    (finding,) = found(replace(one, in_front=three))
    assert "at tap1, and so at 2 more taps" in finding.what


WRONG = {
    "nft missing": (
        lambda f: host(f, tools={"nft": False, "ip": True}),
        "nft is not installed",
        "apt-get install nftables",
    ),
    "kernel part missing": (
        lambda f: host(f, trials=(KernelTrial("fwd", "CONFIG_X", "nft_x", "no"),)),
        "the kernel has no fwd (no)",
        "modprobe nft_x",
    ),
    "empty secret": (
        lambda f: conf(f, secret_empty=True),
        "the shared secret in /etc/vagent/agent.conf is empty",
        "metadata_proxy_shared_secret",
    ),
    "agent gone": (
        lambda f: agent(f, readiness="", silence="refused", process=None, holder=None),
        "the agent does not run: refused",
        "systemctl start vagent",
    ),
    "agent elsewhere": (
        lambda f: agent(f, readiness="", silence="refused", process=None),
        "vagent (pid 10) has the state directory, and does not answer here: refused",
        "kill 10",
    ),
    "agent frozen": (
        lambda f: agent(f, readiness="", silence="no answer", stopped=True),
        "vagent (pid 10) is stopped by a signal",
        "kill -CONT 10",
    ),
    "agent silent": (
        lambda f: agent(f, readiness="", silence="no answer"),
        "vagent (pid 10) does not answer: no answer",
        "systemctl restart vagent",
    ),
    "agent not ready": (
        lambda f: agent(f, readiness="starting"),
        "the agent is not ready: starting",
        "journalctl",
    ),
    "queue unread": (
        lambda f: host(f, queue=None),
        "nobody reads NFQUEUE 8097",
        "systemctl restart vagent",
    ),
    "queue taken": (
        lambda f: host(f, queue=Queue(8097, 0, 0, NOVA)),
        "NFQUEUE 8097 is taken by other (pid 77)",
        "kill 77",
    ),
    "queue backlog": (
        lambda f: host(f, queue=Queue(8097, 2048, 0, f.agent.process)),
        "2048 packets wait in NFQUEUE 8097",
        "vagentctl trace",
    ),
    "interface gone": (
        lambda f: host(f, links=f.host.links[1:]),
        "interface vagent0 is gone",
        "systemctl restart vagent",
    ),
    "interface down": (
        lambda f: host(f, links=(HostInterface("vagent0", up=False), f.host.links[1])),
        "interface vagent0 is down",
        "ip link set vagent0 up",
    ),
    "interface inside gone": (
        lambda f: inside(f, links=f.host.inside.links[1:]),
        "interface vagent1 is gone",
        "systemctl restart vagent",
    ),
    "interface inside down": (
        lambda f: inside(
            f, links=(HostInterface("vagent1", up=False), f.host.inside.links[1])
        ),
        "interface vagent1 is down",
        "ip netns exec vagent ip link set vagent1 up",
    ),
    "uplink down": (
        lambda f: host(f, links=(f.host.links[0], HostInterface("vagentu", up=False))),
        "interface vagentu is down",
        "ip link set vagentu up",
    ),
    "uplink inside gone": (
        lambda f: inside(f, links=f.host.inside.links[:1]),
        "interface vagent2 is gone",
        "systemctl restart vagent",
    ),
    "rules flushed": (
        lambda f: host(f, ruleset=Ruleset()),
        "nftables table inet vagent is gone",
        "systemctl restart vagent",
    ),
    "rules inside flushed": (
        lambda f: inside(f, tables=frozenset({("ip6", "vagent")})),
        "nftables table ip vagent in network namespace vagent is gone",
        "systemctl restart vagent",
    ),
    "uplink's address": (
        lambda f: link(f, "br0", "169.254.0.1/16"),
        "interface br0 has 169.254.0.1, of the uplink's addresses 169.254.0.0/31",
        "ip address del 169.254.0.1/16 dev br0",
    ),
    "uplink's route": (
        lambda f: route(f, "169.254.0.0/31", "eth1"),
        "route 169.254.0.0/31 dev eth1 is to the uplink's addresses",
        "ip route del 169.254.0.0/31 dev eth1 table main",
    ),
    "service address": (
        lambda f: link(f, "br0", "169.254.169.254/32"),
        "interface br0 has the address 169.254.169.254",
        "ip address del 169.254.169.254/32 dev br0",
    ),
    "identity address": (
        lambda f: link(to_guests(f), "br0", "169.254.64.9/16"),
        "interface br0 has 169.254.64.9, of the identity range",
        "ip address del 169.254.64.9/16 dev br0",
    ),
    "listener": (
        lambda f: host(f, listeners=(Listener(SERVICE, 80, "tcp", NOVA),)),
        "other (pid 77) listens on 169.254.169.254:80/tcp",
        "kill 77",
    ),
    "route": (
        lambda f: route(to_guests(f), "169.254.100.0/24", "eth1"),
        "route 169.254.100.0/24 dev eth1 lies in the identity range",
        "ip route del 169.254.100.0/24 dev eth1 table main",
    ),
    "rp_filter": (
        lambda f: sysctl(
            way(f, "192.0.2.9", said="Invalid cross-device link"),
            net__ipv4__conf__all__rp_filter="1",
        ),
        "rp_filter drops packets from a guest to 192.0.2.9",
        "sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.vagentu.rp_filter=2",
    ),
    "rp_filter of the uplink": (
        lambda f: sysctl(
            way(f, "192.0.2.9", said="Invalid argument"),
            net__ipv4__conf__vagentu__rp_filter="1",
        ),
        "rp_filter drops packets from a guest to 192.0.2.9",
        "net.ipv4.conf.vagentu.rp_filter=2",
    ),
    "forwarding off": (
        lambda f: sysctl(
            way(f, "192.0.2.9", said="No route to host"),
            net__ipv4__conf__vagentu__forwarding="0",
        ),
        "forwarding is off on vagentu",
        "sysctl -w net.ipv4.conf.vagentu.forwarding=1",
    ),
    "forwarding off on the way back": (
        lambda f: way(f, "192.0.2.9", kind="unicast", device="eth1", forwarding=False),
        "forwarding is off on eth1",
        "sysctl -w net.ipv4.conf.eth1.forwarding=1",
    ),
    "IPv6 forwarding off": (
        lambda f: sysctl(
            host(f, far6=(IPv6Address("2001:db8::7"),)),
            net__ipv6__conf__all__forwarding="0",
        ),
        "IPv6 forwarding is off on this host, and services lead to 2001:db8::7",
        "sysctl -w net.ipv6.conf.all.forwarding=1",
    ),
    "no way": (
        lambda f: way(f, "192.0.2.9", said="Network is unreachable"),
        "the kernel has no way for packets from a guest to 192.0.2.9",
        "ip route get 192.0.2.9 from 169.254.0.1 iif vagentu",
    ),
    "port not served": (
        lambda f: port(f, "Inactive < kernel-pending >"),
        "1 port is not served: bob (tap9)",
        "vagentctl port show p9",
    ),
    "service without endpoint": (
        lambda f: agent(
            f, services=(LinkLocalService("metadata", SERVICE, 80, (), 1),)
        ),
        "service metadata at 169.254.169.254:80 has no endpoint",
        "--linklocal_service_name metadata",
    ),
    "key of another certificate": (
        lambda f: replace(f, tls=(replace(f.tls[0], problem="k is not of c"),)),
        "TLS files of the metadata proxy: k is not of c",
        "openssl",
    ),
    "not yet valid": (
        lambda f: replace(f, now=f.tls[0].valid_from - timedelta(seconds=1)),
        "/etc/client.pem is valid from",
        "timedatectl",
    ),
    "unresolved": (lambda f: upstream(f, "resolve"), "it said why", "getent ahosts"),
    "unreachable": (lambda f: upstream(f, "connect"), "it said why", "ss -ltnp"),
    "unverified": (lambda f: upstream(f, "tls"), "it said why", "-CAfile /etc/ca.pem"),
    "mute": (lambda f: upstream(f, "reply"), "it said why", "curl"),
    "certificate refused": (
        lambda f: upstream(f, "tls", "it refused our client certificate or TLS (x)"),
        "it refused our client certificate",
        "openssl x509 -noout -subject -issuer -dates -in /etc/client.pem",
    ),
    "another secret": (
        lambda f: refused(f, 403, b"Invalid proxy request signature."),
        "nova-api refused our signature: the shared secrets differ (403)",
        "metadata_proxy_shared_secret",
    ),
    "another tenant": (
        lambda f: refused(f, 404, b"The resource could not be found."),
        "this instance with this tenant (404), port bob: instance i9, tenant t9",
        "vagentctl port show p9; openstack server show i9",
    ),
    "certificate refused over HTTP": (
        lambda f: refused(f, 400, b"The SSL certificate error"),
        "refused our client certificate (400)",
        "openssl x509 -noout -subject -issuer -dates -in /etc/client.pem",
    ),
    "nova-api away behind a web server": (
        lambda f: refused(f, 503, b""),
        "the endpoint answers 503",
        "ss -ltnp 'sport = :8775'  # on 192.0.2.7",
    ),
    "a guest that is not served": (
        lambda f: agent(f, judgements=(JUDGED,)),
        "port bob (p9): unknown",
        "vagentctl explain --port p9",
    ),
    "what is to be seen of the taps": (
        lambda f: agent(
            f, judgements=(replace(JUDGED, subject=Subject(SubjectKind.HOST, "taps")),)
        ),
        "host taps: unknown",
        "vagentctl port list; ip -brief link",
    ),
    "an endpoint that guests found down": (
        lambda f: agent(f, judgements=(replace(JUDGED, subject=AT_ENDPOINT),)),
        "endpoint 192.0.2.7:8775: unknown",
        "vagentctl status",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_fault_is_wrong_and_has_a_cure(facts: HostFacts, name: str) -> None:
    """One planted fault, one finding of the worst kind, with the command for it."""
    plant, what, mend = WRONG[name]
    findings = [f for f in found(plant(facts)) if f.severity is Severity.WRONG]
    (first, *_) = [finding for finding in findings if what in finding.what]
    assert mend in first.mend
    assert first.means


MILD = {
    "namespace without a name": (lambda f: host(f, inside=None), Severity.WARNING),
    "no agent.conf": (lambda f: conf(f, found=False), Severity.WARNING),
    "readable by all": (
        lambda f: conf(f, warnings=("agent.conf is world-readable",)),
        Severity.WARNING,
    ),
    "queue was full": (
        lambda f: host(f, queue=Queue(8097, 0, 3, f.agent.process)),
        Severity.WARNING,
    ),
    "port without tap": (lambda f: port(f, "Inactive < no-dev >"), Severity.WARNING),
    "left over probe": (
        lambda f: port(f, "Inactive < no-dev >", "vagentctl explain 12"),
        Severity.WARNING,
    ),
    "service left out": (
        lambda f: agent(f, left_out=("dns: duplicate",)),
        Severity.WARNING,
    ),
    "nothing provisioned": (lambda f: agent(f, services=()), Severity.WARNING),
    "route of a cloud": (
        lambda f: route(f, "169.254.169.254/32", "eth0"),
        Severity.NOTE,
    ),
    "bridge": (
        lambda f: sysctl(f, **{"net__bridge__bridge-nf-call-iptables": "1"}),
        Severity.NOTE,
    ),
    "clock": (lambda f: host(f, synchronised=False), Severity.NOTE),
}


@pytest.mark.parametrize("name", MILD)
def test_what_stops_nobody_is_no_fault(facts: HostFacts, name: str) -> None:
    """One finding, of the milder kind that was meant."""
    plant, severity = MILD[name]
    assert [severity] == [finding.severity for finding in found(plant(facts))]


@pytest.mark.parametrize(
    ("count", "expected"),
    [(799, None), (800, "warning"), (949, "warning"), (950, "wrong")],
)
def test_conntrack_is_nearly_full(facts: HostFacts, count: int, expected: Any) -> None:
    """From 80 % on it is said, from 95 % on it is wrong."""
    sick = sysctl(facts, net__netfilter__nf_conntrack_count=str(count))
    assert expected == worst(diagnose(sick))


@pytest.mark.parametrize(
    ("days", "expected"),
    [(30.1, None), (30, "warning"), (0.1, "warning"), (0, "wrong")],
)
def test_a_certificate_near_its_end(
    facts: HostFacts, days: float, expected: Any
) -> None:
    """30 days before its end it is said; at its end it is wrong. The CA's as well."""
    until = facts.now + timedelta(days=days)
    tls = facts.tls[0]
    for pair in (replace(tls, valid_until=until), replace(tls, ca_until=until)):
        sick = replace(facts, tls=(pair,))
        assert expected == worst(diagnose(sick))


@pytest.mark.parametrize(("waiting", "expected"), [(2047, None), (2048, "wrong")])
def test_a_backlog_begins_at_half_the_queue(
    facts: HostFacts, waiting: int, expected: Any
) -> None:
    """queue-length is 4,096."""
    sick = host(facts, queue=Queue(8097, waiting, 0, facts.agent.process))
    assert expected == worst(diagnose(sick))


@pytest.mark.parametrize(("used", "expected"), [(819, None), (820, "warning")])
def test_files_run_out(facts: HostFacts, used: int, expected: Any) -> None:
    """At 80 % of the limit."""
    assert expected == worst(diagnose(agent(facts, open_files=used)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:1: /x: '/k.pem' is world-readable (mode 0644); make it 0600", "/k.pem"),
        ("a:1: /x: the file holds a secret and has mode 0644; make it 0600, or", "a"),
    ],
)
def test_a_readable_secret_is_closed(
    facts: HostFacts, text: str, expected: str
) -> None:
    """The file that is named, else agent.conf itself."""
    (finding,) = found(conf(facts, path="a", warnings=(text,)))
    assert f"chmod 0600 {expected}" == finding.mend


def test_an_empty_secret_is_said_once(facts: HostFacts) -> None:
    """The configuration's own remark adds nothing."""
    sick = conf(facts, secret_empty=True, warnings=("a:1: /x: no secret: signed",))
    assert 1 == len(found(sick))


@pytest.mark.parametrize(
    ("ruleset", "tables", "expected"),
    [
        (Ruleset(), {("ip", "vagent")}, "the rules that it left"),
        (Ruleset(), {("ip", "other")}, "nothing guards service addresses"),
        (Ruleset(), None, "nothing guards service addresses"),
        (Ruleset(tables=frozenset({("inet", "vagent")})), None, "nothing guards"),
        (None, None, "guests get nothing"),
    ],
)
def test_without_an_agent_it_matters_what_it_left(
    facts: HostFacts,
    ruleset: Ruleset | None,
    tables: set[tuple[str, str]] | None,
    expected: str,
) -> None:
    """A guard closes, no rules in the namespace leave the way open; where nobody can
    tell, it is not said.
    """
    left = None if tables is None else Inside(tables=frozenset(tables))
    gone = host(facts, ruleset=ruleset, inside=left)
    gone = agent(gone, readiness="", process=None, holder=None)
    means = [finding.means for finding in found(gone) if "does not run" in finding.what]
    assert [True] == [each.startswith(expected) for each in means]


def test_what_others_have_of_the_identity_range_stops_nobody(facts: HostFacts) -> None:
    """It is the namespace's alone, unless the host itself opens flows to guests."""
    assert [] == found(link(facts, "br0", "169.254.64.9/16"))
    assert [] == found(route(facts, "169.254.64.0/18", "eth1"))


@pytest.mark.parametrize("tables", [{("inet", "vagent")}, {("ip", "vagent")}])
def test_the_table_of_the_uplink_has_one_of_two_families(
    facts: HostFacts, tables: set[tuple[str, str]]
) -> None:
    """Either is ours."""
    assert [] == found(host(facts, ruleset=Ruleset(tables=frozenset(tables))))


def test_the_way_to_the_taps_and_to_the_fabric_differ(facts: HostFacts) -> None:
    """Without the uplink guests still have metadata."""
    for name, means in (("vagent0", "no guest gets"), ("vagentu", "no service but")):
        links = tuple(one for one in facts.host.links if one.name != name)
        (finding,) = found(host(facts, links=links))
        assert finding.means.startswith(means)


@pytest.mark.parametrize(
    ("readiness", "expected"),
    [
        ("ready", True),
        ("vagent0 is down", True),
        ("starting", False),
        ("stopping", False),
        ("", False),
    ],
)
def test_what_is_missing_is_named_also_while_the_agent_is_not_ready(
    facts: HostFacts, readiness: str, expected: bool
) -> None:
    """It may be the reason. While the agent starts or stops it need not be there yet,
    or any more.
    """
    bare = host(facts, links=(), queue=None, inside=None, ruleset=Ruleset())
    bare = agent(bare, readiness=readiness)
    told = " · ".join(finding.what for finding in found(bare))
    assert expected is ("interface vagent0 is gone although" in told)
    assert expected is ("nobody reads NFQUEUE" in told)
    assert expected is ("no network namespace has the name vagent any" in told)
    assert expected is ("table inet vagent is gone" in told)


def test_one_endpoint_of_two_is_a_warning(facts: HostFacts) -> None:
    """Guests are served as long as one answers."""
    dead = UpstreamTrial("192.0.2.8:8775", "192.0.2.8", "connect", "refused")
    sick = replace(facts, upstream=(*facts.upstream, dead))
    assert Severity.WARNING == worst(diagnose(sick))


def test_what_was_found_out_is_not_told_again_by_the_agent(facts: HostFacts) -> None:
    """One cause, one finding; of another endpoint the agent's word counts."""
    sick = refused(facts, 404, b"The resource could not be found.")
    other = replace(JUDGED, subject=Subject(SubjectKind.ENDPOINT, "192.0.2.8:8775"))
    told = (JUDGED, replace(JUDGED, subject=AT_ENDPOINT), other)
    whats = [finding.what for finding in found(agent(sick, judgements=told))]
    assert 2 == len(whats)
    assert "endpoint 192.0.2.8:8775: unknown" in whats


def test_a_judgement_keeps_severity_and_remedy(facts: HostFacts) -> None:
    """A warning of the agent is one of the doctor."""
    mild = replace(JUDGED, severity=Severity.WARNING)
    (finding,) = found(agent(facts, judgements=(mild,)))
    assert (Severity.WARNING, "register it again") == (finding.severity, finding.means)


def test_a_refused_config_ends_the_guessing(facts: HostFacts) -> None:
    """Every problem of the file is shown, and nothing that depends on it is judged."""
    sick = conf(agent(facts, readiness=""), problems=("agent.conf:2: /: bad",))
    assert ["agent.conf:2: /: bad"] == [finding.what for finding in found(sick)]
    assert 3 == len(diagnose(sick))


def test_without_nftables_nothing_else_of_it_is_blamed(facts: HostFacts) -> None:
    """One cause, one finding."""
    trials = [KernelTrial(part, "X", "m", "no") for part in ("nf_tables", "fwd")]
    assert 1 == len(found(host(facts, trials=tuple(trials))))


@pytest.mark.parametrize("name", ["192.0.2.7", "nova.example"])
def test_an_endpoint_with_files_of_its_own(facts: HostFacts, name: str) -> None:
    """What is prescribed uses its authority, whether its folder is named by address or
    by the name of its certificate.
    """
    trial = UpstreamTrial("192.0.2.7:8775", "nova.example", "tls", "it said why")
    own = replace(facts.tls[0], role=role_of(name), ca="/by/ca-cert.pem")
    sick = replace(facts, tls=(*facts.tls, own), upstream=(trial,))
    (finding,) = found(sick)
    assert "-CAfile /by/ca-cert.pem " in finding.mend


@pytest.mark.parametrize(
    ("is_configured", "in_use", "expected"),
    [
        (False, False, None),
        (True, True, None),
        (True, None, None),
        (True, False, Severity.NOTE),
    ],
)
def test_a_fast_path_that_is_wanted_and_not_in_use(
    facts: HostFacts,
    is_configured: bool,
    in_use: bool | None,
    expected: Severity | None,
) -> None:
    """It stops nobody, so it is no more than told."""
    changed = agent(facts, fast_path=in_use)
    changed = replace(changed, ours=replace(facts.ours, fast_path=is_configured))
    assert [each.severity for each in found(changed)] == [expected] * bool(expected)


@pytest.mark.parametrize(
    ("holder", "expected"),
    [
        (Process(10, "vagent"), []),
        (None, ["vagent (pid 10) answers, and the state directory is nobody's"]),
        (NOVA, ["vagent (pid 10) answers, and the state directory is that of other"]),
    ],
)
def test_the_agent_that_answers_has_the_state_directory(
    facts: HostFacts, holder: Process | None, expected: list[str]
) -> None:
    """Else it runs with another agent.conf."""
    said = [
        each.what.partition(" (pid 77)")[0]
        for each in found(agent(facts, holder=holder))
    ]
    assert expected == said
