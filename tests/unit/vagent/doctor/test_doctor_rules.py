"""Promises about other people's rules: what certainly stops our packets is found, what
perhaps does is said so, and what does not is left in peace.
"""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from vagent.doctor.check_rules import check_foreign_rules
from vagent.doctor.facts import HostFacts
from vagent.doctor.finding import Finding
from vagent.doctor.legacy import parse_save
from vagent.doctor.rules import parse_devices, parse_ruleset
from vagent.errors import WireError
from vagent.judgements.judgement import Severity
from vagent.linklocal.service import LinkLocalService

NEAR = LinkLocalService(
    "dns", IPv4Address("169.254.1.53"), 53, (IPv4Address("127.0.0.1"),), 53
)
DROP: dict[str, Any] = {"drop": None}
ACCEPT: dict[str, Any] = {"accept": None}


@pytest.fixture
def facts(facts: HostFacts) -> HostFacts:
    """A healthy host with a service on another machine, and one of its own."""
    services = (*(facts.agent.services or ()), NEAR)
    return replace(facts, agent=replace(facts.agent, services=services))


def meta(key: str, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": right}}


def payload(protocol: str, field: str, right: Any, op: str = "==") -> dict[str, Any]:
    left = {"payload": {"protocol": protocol, "field": field}}
    return {"match": {"op": op, "left": left, "right": right}}


def state(*states: str) -> dict[str, Any]:
    left = {"ct": {"key": "state"}}
    return {"match": {"op": "in", "left": left, "right": list(states)}}


def nft(
    *rules: Any,
    hook: str = "input",
    policy: str = "accept",
    more: tuple[Any, ...] = (),
    family: str = "inet",
    prio: int = 0,
) -> str:
    chain = {"family": family, "table": "fw", "name": "in", "handle": 1}
    base = {"type": "filter", "hook": hook, "prio": prio, "policy": policy}
    items: list[Any] = [
        {"metainfo": {}},
        {"table": {"family": family, "name": "fw", "handle": 1}},
        {"chain": {**chain, **base}},
    ]
    for number, expressions in enumerate(rules, start=2):
        rule = {"family": family, "table": "fw", "chain": "in", "handle": number}
        items.append({"rule": {**rule, "expr": list(expressions)}})
    return json.dumps({"nftables": [*items, *more]})


def sub(name: str, *rules: Any) -> tuple[Any, ...]:
    """A chain without a hook, and its rules."""
    chain = {"family": "inet", "table": "fw", "name": name, "handle": 9}
    rule = {"family": "inet", "table": "fw", "chain": name, "handle": 20}
    return (
        {"chain": chain},
        *({"rule": {**rule, "expr": list(expressions)}} for expressions in rules),
    )


def at_the_pair(*rules: Any) -> str:
    """Where guests' packets leave the host, known with their port."""
    return nft(*rules, hook="ingress", family="netdev")


def judge(facts: HostFacts, text: str) -> list[Finding]:
    ruleset = parse_ruleset(text, {("netdev", "fw", "in"): ("vagent0",)})
    return list(
        check_foreign_rules(replace(facts, host=replace(facts.host, ruleset=ruleset)))
    )


def severity(facts: HostFacts, text: str) -> str | None:
    findings = judge(facts, text)
    return findings[0].severity.value if findings else None


CASES = {
    "nothing": (nft(), None),
    "drop policy": (nft(policy="drop"), "wrong"),
    "drop of all": (nft([DROP]), "wrong"),
    "reject of the port": (
        at_the_pair([payload("tcp", "dport", 80), {"reject": {"type": "tcp reset"}}]),
        "wrong",
    ),
    "drop of another port": (at_the_pair([payload("tcp", "dport", 22), DROP]), None),
    "a range of ports": (
        at_the_pair([payload("tcp", "dport", {"range": [1, 1024]}), DROP]),
        "wrong",
    ),
    "a set of ports": (
        at_the_pair([payload("tcp", "dport", {"set": [22, 80]}), DROP]),
        "wrong",
    ),
    "every port but": (at_the_pair([payload("tcp", "dport", 22, "!="), DROP]), "wrong"),
    "a port of a service": (nft([payload("udp", "dport", 53), DROP]), "warning"),
    "another interface": (nft([meta("iifname", "eth0"), DROP]), None),
    "our interface": (nft([meta("iifname", "vagentu"), DROP]), "wrong"),
    "interfaces by pattern": (nft([meta("iifname", "vag*"), DROP]), "wrong"),
    "link-local sources": (
        nft(
            [
                payload("ip", "saddr", {"prefix": {"addr": "169.254.0.0", "len": 16}}),
                DROP,
            ]
        ),
        "wrong",
    ),
    "the uplink's address": (
        nft([payload("ip", "saddr", "169.254.0.1"), DROP]),
        "wrong",
    ),
    "an identity": (nft([payload("ip", "saddr", "169.254.64.9"), DROP]), None),
    "private sources": (
        nft([payload("ip", "saddr", {"prefix": {"addr": "10.0.0.0", "len": 8}}), DROP]),
        None,
    ),
    "accepted before": (nft([meta("iifname", "vagentu"), ACCEPT], policy="drop"), None),
    "only established": (nft([state("established"), ACCEPT], policy="drop"), "wrong"),
    "new accepted": (nft([state("new", "related"), ACCEPT], policy="drop"), None),
    "invalid dropped": (nft([state("invalid"), DROP]), None),
    "perhaps accepted": (nft([meta("skuid", 0), ACCEPT], policy="drop"), "warning"),
    "perhaps dropped, then certainly": (
        nft([meta("skuid", 0), DROP], policy="drop"),
        "wrong",
    ),
    "limited drop": (nft([{"limit": {"rate": 3}}, DROP]), "warning"),
    "unknown set": (nft([payload("ip", "saddr", "@bad"), DROP]), "warning"),
    "known set": (
        nft(
            [payload("ip", "saddr", "@bad"), DROP],
            more=(
                {
                    "set": {
                        "family": "inet",
                        "table": "fw",
                        "name": "bad",
                        "elem": ["10.1.1.1", {"elem": {"val": "10.2.2.2"}}],
                    }
                },
            ),
        ),
        None,
    ),
    "jump to a drop": (
        nft([{"jump": {"target": "x"}}], more=sub("x", [DROP])),
        "wrong",
    ),
    "jump and back": (
        nft([{"jump": {"target": "x"}}], more=sub("x", [{"return": None}, DROP])),
        None,
    ),
    "perhaps a jump to a drop": (
        nft([meta("skuid", 0), {"jump": {"target": "x"}}], more=sub("x", [DROP])),
        "warning",
    ),
    "perhaps a jump to nothing": (
        nft(
            [meta("skuid", 0), {"jump": {"target": "x"}}],
            policy="drop",
            more=sub("x"),
        ),
        "wrong",
    ),
    "goto never comes back": (
        nft([{"goto": {"target": "x"}}], [ACCEPT], policy="drop", more=sub("x")),
        "wrong",
    ),
    "accept in a jump": (
        nft([{"jump": {"target": "x"}}], policy="drop", more=sub("x", [ACCEPT])),
        None,
    ),
    "verdict map": (
        nft(
            [
                {
                    "vmap": {
                        "key": {"meta": {"key": "iifname"}},
                        "data": {"set": [["eth0", ACCEPT], ["vagentu", DROP]]},
                    }
                }
            ]
        ),
        "wrong",
    ),
    "verdict map of others": (
        nft(
            [
                {
                    "vmap": {
                        "key": {"meta": {"key": "iifname"}},
                        "data": {"set": [["eth0", DROP]]},
                    }
                }
            ]
        ),
        None,
    ),
    "iptables' reject": (
        nft([{"xt": {"type": "target", "name": "REJECT"}}]),
        "wrong",
    ),
    "iptables' match": (
        nft([{"xt": {"type": "match", "name": "conntrack"}}, DROP]),
        "warning",
    ),
    "answers": (
        nft([payload("ip", "saddr", "127.0.0.1"), DROP], hook="output"),
        "wrong",
    ),
    "answers to elsewhere": (nft([meta("oifname", "eth0"), DROP], hook="output"), None),
    "another metadata agent's translation": (
        nft(
            [payload("ip", "daddr", "169.254.169.254"), {"dnat": {"addr": "10.0.0.1"}}],
            hook="prerouting",
            prio=-150,
        ),
        None,
    ),
    "no tracking": (
        nft(
            [meta("iifname", "vagentu"), {"notrack": None}],
            hook="prerouting",
            prio=-300,
        ),
        "wrong",
    ),
    "the host's own flows to metadata": (
        nft([payload("ip", "daddr", "169.254.169.254"), DROP], hook="output"),
        None,
    ),
    "forward": (nft(policy="drop", hook="forward"), "wrong"),
    "forward of others": (
        nft([meta("iifname", "eth1"), meta("oifname", "eth2"), DROP], hook="forward"),
        None,
    ),
    "perhaps forward of answers": (
        nft([meta("iifname", "eth1"), DROP], hook="forward"),
        "warning",
    ),
    "IPv6": (nft(policy="drop", family="ip6"), None),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_rule_does_to_our_packets(facts: HostFacts, name: str) -> None:
    """Certain, possible, or none of our business."""
    text, expected = CASES[name]
    assert expected == severity(facts, text)


def test_where_it_is_and_what_lets_us_through(facts: HostFacts) -> None:
    """Family, table, chain and handle are named; the cure stands before the fault."""
    (finding,) = judge(facts, nft([meta("iifname", "vagentu"), DROP]))
    assert finding.what.startswith("inet fw in: the rule handle 2 drops a guest's")
    assert finding.mend == "nft 'insert rule inet fw in iifname \"vagentu\" accept'"


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        (
            "forward",
            [
                "a guest's packet to service ntp at 192.0.2.9",
                "the answer of service ntp at 192.0.2.9",
            ],
        ),
        ("input", ["a guest's packet to service dns at 127.0.0.1"]),
        ("output", ["the answer of service dns at 127.0.0.1"]),
        (
            "prerouting",
            [
                "a guest's packet to service ntp at 192.0.2.9",
                "a guest's packet to service dns at 127.0.0.1",
            ],
        ),
        ("postrouting", []),
    ],
)
def test_both_ways_of_services_count(
    facts: HostFacts, hook: str, said: list[str]
) -> None:
    """One elsewhere is forwarded, one of this host is not. Metadata is neither: its
    packets meet no rule of the host.
    """
    text = nft(policy="drop", hook=hook)
    findings = judge(facts, text)
    assert [f"inet fw in: its policy drops {each}" for each in said] == [
        finding.what for finding in findings
    ]
    assert {Severity.WRONG} >= {finding.severity for finding in findings}
    services = tuple(one for one in facts.agent.services or () if one.is_metadata)
    only = replace(facts, agent=replace(facts.agent, services=services))
    assert [] == judge(only, text)


def test_services_of_ipv6_are_not_judged(facts: HostFacts) -> None:
    """Only rules of IPv4 are read."""
    service = replace(NEAR, fabric_addresses=(IPv6Address("2001:db8::1"),))
    six = replace(facts, agent=replace(facts.agent, services=(service,)))
    for hook in ("input", "forward", "output"):
        assert [] == judge(six, nft(policy="drop", hook=hook))


@pytest.mark.parametrize(
    ("hook", "side", "what"),
    [
        ("output", "oifname", "a packet of this host to a guest"),
        ("input", "iifname", "the answer of a guest to this host"),
    ],
)
def test_host_to_guest_has_ways_of_its_own(
    facts: HostFacts, hook: str, side: str, what: str
) -> None:
    """A rule that spares services still stops them, once they are wanted."""
    far, near = ("daddr", "saddr") if hook == "output" else ("saddr", "daddr")
    spares = [payload("ip", near, "127.0.0.1"), {"accept": None}]
    sick = replace(facts, ours=replace(facts.ours, host_to_guest=True))
    text = nft(spares, [meta(side, "vagentu"), DROP], hook=hook)
    assert [] == judge(facts, text)
    (finding,) = judge(sick, text)
    assert what in finding.what
    assert f'{side} "vagentu" accept' in finding.mend
    one = nft([payload("ip", far, "169.254.64.9"), DROP], hook=hook)
    assert ("warning", None) == (severity(sick, one), severity(facts, one))


def test_our_own_tables_are_not_foreign(facts: HostFacts) -> None:
    """Drops in them are meant."""
    for family in ("ip", "inet"):
        text = nft(policy="drop", family=family).replace('"fw"', '"vagent"')
        assert [] == judge(facts, text)


@pytest.mark.parametrize(
    ("device", "prio", "expected"),
    [("tap1", -301, "wrong"), ("tap1", 0, None), ("tap7", -301, None),
     ("vagent0", 0, "wrong"), ("vagentu", 0, "wrong"), ("vagent1", 0, None)],
)  # fmt: skip
def test_a_chain_at_a_tap(
    facts: HostFacts, device: str, prio: int, expected: str | None
) -> None:
    """Before our own chain it stops the guest; behind it, it never sees the packet."""
    text = nft([DROP], family="netdev", hook="ingress", prio=prio)
    ruleset = parse_ruleset(text, {("netdev", "fw", "in"): (device,)})
    sick = replace(facts, host=replace(facts.host, ruleset=ruleset))
    findings = list(check_foreign_rules(sick))
    assert expected == (findings[0].severity.value if findings else None)


def test_devices_are_read_from_the_plain_list() -> None:
    """nft 1.0.6 leaves them out of its JSON; a list of them is read as well."""
    text = """table netdev fw {
\tchain a {
\t\ttype filter hook ingress device "tap1" priority -500; policy accept;
\t}
\tchain b {
\t\ttype filter hook ingress devices = { "tap1", "tap2" } priority 0; policy drop;
\t}
}
"""
    assert {
        ("netdev", "fw", "a"): ("tap1",),
        ("netdev", "fw", "b"): ("tap1", "tap2"),
    } == parse_devices(text)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nftables": [{"rule": {}}]}'])
def test_what_is_no_ruleset_is_refused(text: str) -> None:
    """Rather than read as a host without rules."""
    with pytest.raises(WireError):
        parse_ruleset(text, {})


LEGACY = {
    ("DROP",): "wrong",
    ("ACCEPT", "-A INPUT -p tcp -m tcp --dport 22 -j DROP"): "warning",
    ("ACCEPT", "-A INPUT ! -i eth0 -j REJECT --reject-with x"): "wrong",
    ("DROP", "-A INPUT -i vag+ -j ACCEPT"): None,
    ("DROP", "-A INPUT -m limit --limit 3/s -j ACCEPT"): "warning",
    ("ACCEPT", ":x - [0:0]", "-A INPUT -j x", "-A x -j DROP"): "wrong",
    ("ACCEPT", ":x - [0:0]", "-A INPUT -g x", "-A x -j RETURN"): None,
    ("ACCEPT", "-A INPUT -m conntrack --ctstate INVALID -j DROP"): None,
    ("ACCEPT", "-A INPUT -s 169.254.0.0/16 -j DROP"): "wrong",
    ("DROP", "-A INPUT -j LOG", "-A INPUT -i vagentu -j RETURN"): "wrong",
    ("ACCEPT", "-A INPUT -p udp --dport 1: -j DROP"): "warning",
    ("ACCEPT", "-A INPUT -j REDIRECT"): "wrong",
    ("ACCEPT", '-A INPUT -m comment --comment "a \'b" -j DROP'): "wrong",
}


@pytest.mark.parametrize("lines", LEGACY)
def test_old_iptables_are_read_too(facts: HostFacts, lines: tuple[str, ...]) -> None:
    """`iptables-legacy-save`, with its own command as the cure."""
    policy, *rules = lines
    text = "\n".join(["*filter", f":INPUT {policy} [0:0]", *rules, "COMMIT", ""])
    sick = replace(facts, host=replace(facts.host, legacy=parse_save(text)))
    findings = list(check_foreign_rules(sick))
    assert LEGACY[lines] == (findings[0].severity.value if findings else None)
    for finding in findings:
        assert finding.mend == "iptables-legacy -I INPUT -i vagentu -j ACCEPT"
