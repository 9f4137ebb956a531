"""Checks whether packet filter rules of others stop guests' packets.

The packets are those that come out of the namespace of guests' flows by the uplink, to
a fabric endpoint or a process of this host, and what comes back. Those to the metadata
service meet no rule of the host. The agent's own table is not looked at. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from vagent.config.metadata_address import METADATA_ADDRESS
from vagent.doctor.facts import HostFacts, Ours
from vagent.doctor.finding import Finding, warning, wrong
from vagent.doctor.rules import Chain, Ruleset
from vagent.doctor.walk import Block, Packet, blocks
from vagent.linklocal.service import LinkLocalService

NAT_PRIORITY = -100
"""Priority of the agent's own address translation: chains before it see the service
address, chains after it the endpoint's."""
GUARD_PRIORITY = -300
"""Priority of the agent's chain at a tap; chains after it never see the packet."""
_MAYBE_WORTH_A_WORD = ("drops", "rejects")


@dataclass(frozen=True, slots=True)
class Passage:
    """A packet at a hook of the kernel. `guard` is a match for exactly this packet, for
    the rule that would let it through.
    """

    what: str
    hook: str
    packet: Packet
    guard: tuple[str, str]
    earlier: Packet | None = None
    """The same packet as chains before the address translation see it."""


def check_foreign_rules(facts: HostFacts) -> Iterator[Finding]:
    """Which chains of others stop a packet, or may stop it?"""
    for ruleset in (facts.host.ruleset, facts.host.legacy):
        if ruleset is None:
            continue
        for chain in ruleset.chains:
            if chain.hook and not _is_ours(chain, facts.ours):
                yield from _of_chain(chain, ruleset, facts)


def check_own_rules(facts: HostFacts) -> Iterator[Finding]:
    """Are the agent's rules there, while it runs?"""
    ruleset, table = facts.host.ruleset, facts.ours.table
    inside = facts.host.inside
    if not facts.agent.is_up:
        return
    if inside is not None and ("ip", table) not in inside.tables:
        yield wrong(
            f"nftables table ip {table} in network namespace {facts.ours.namespace} is"
            " gone although the agent runs",
            "no guest gets an answer; something flushed all rules there",
            facts.agent.restart,
        )
    if ruleset is None:
        return
    if not {("inet", table), ("ip", table)} & ruleset.tables:
        yield wrong(
            f"nftables table inet {table} is gone although the agent runs",
            "services other than metadata do not answer; something flushed all rules"
            " (a firewall's reload, nft flush ruleset)",
            facts.agent.restart,
        )


def passages(facts: HostFacts) -> tuple[Passage, ...]:
    """All packets that have to get through."""
    ours = facts.ours
    fabric = [service for service in facts.agent.services or () if _is_far(service)]
    found = [passage for service in fabric for passage in _of_service(ours, service)]
    if ours.host_to_guest:
        found += _to_a_guest(ours)
    return tuple(found)


def _of_service(ours: Ours, service: LinkLocalService) -> Iterator[Passage]:
    for address in service.fabric_addresses:
        if not isinstance(address, IPv4Address):
            continue
        if address.is_loopback:
            yield from _near(ours, service, address)
        else:
            yield from _forwarded(ours, service, address)


def _near(
    ours: Ours, service: LinkLocalService, address: IPv4Address
) -> Iterator[Passage]:
    """The packets to a process of this host, behind the uplink's address translation,
    and the answers.
    """
    side, inner = ours.uplink, IPv4Network(ours.uplink_address + 1)
    yield _arrives(ours, service, address, IPv4Network(ours.uplink_address))
    both: dict[str, str | int | IPv4Network] = {
        "meta protocol": "ip",
        "meta nfproto": "ipv4",
    }
    yield Passage(
        f"a guest's packet to service {service.name} at {address}",
        "input",
        {
            **both,
            "meta iifname": side,
            "ip saddr": inner,
            "ip daddr": IPv4Network(address),
            "ct state": "new",
            "ct direction": "original",
        },
        ("iifname", side),
    )
    yield Passage(
        f"the answer of service {service.name} at {address}",
        "output",
        {
            **both,
            "meta oifname": side,
            "ip saddr": IPv4Network(address),
            "ip daddr": inner,
            "ct state": "established",
            "ct direction": "reply",
        },
        ("oifname", side),
    )


def _arrives(
    ours: Ours, service: LinkLocalService, address: IPv4Address, before: IPv4Network
) -> Passage:
    """A packet as it comes by the uplink, with its destination `before` it is
    translated.
    """
    packet: dict[str, str | int | IPv4Network] = {
        "meta iifname": ours.uplink,
        "meta protocol": "ip",
        "meta nfproto": "ipv4",
        "ip saddr": IPv4Network(ours.uplink_address + 1),
        "ip daddr": IPv4Network(address),
        "ct state": "new",
        "ct direction": "original",
    }
    return Passage(
        f"a guest's packet to service {service.name} at {address}",
        "prerouting",
        packet,
        ("iifname", ours.uplink),
        {**packet, "ip daddr": before},
    )


def _to_a_guest(ours: Ours) -> tuple[Passage, Passage]:
    """The packets of a flow that a process of the host opens to a guest, and the
    replies.
    """
    both: dict[str, str | int | IPv4Network] = {
        "meta protocol": "ip",
        "meta nfproto": "ipv4",
    }
    here, there = IPv4Network(ours.uplink_address), ours.identities
    side = ours.uplink
    return (
        Passage(
            "a packet of this host to a guest",
            "output",
            {
                **both,
                "meta oifname": side,
                "ip saddr": here,
                "ip daddr": there,
                "ct state": "new",
                "ct direction": "original",
            },
            ("oifname", side),
        ),
        Passage(
            "the answer of a guest to this host",
            "input",
            {
                **both,
                "meta iifname": side,
                "ip saddr": there,
                "ip daddr": here,
                "ct state": "established",
                "ct direction": "reply",
            },
            ("iifname", side),
        ),
    )


def _forwarded(
    ours: Ours, service: LinkLocalService, address: IPv4Address
) -> Iterator[Passage]:
    there, inner = IPv4Network(address), IPv4Network(ours.uplink_address + 1)
    yield _arrives(ours, service, address, there)
    both: dict[str, str | int | IPv4Network] = {
        "meta protocol": "ip",
        "meta nfproto": "ipv4",
    }
    yield Passage(
        f"a guest's packet to service {service.name} at {address}",
        "forward",
        {
            **both,
            "meta iifname": ours.uplink,
            "ip saddr": inner,
            "ip daddr": there,
            "ct state": "new",
        },
        ("iifname", ours.uplink),
    )
    yield Passage(
        f"the answer of service {service.name} at {address}",
        "forward",
        {
            **both,
            "meta oifname": ours.uplink,
            "ip saddr": there,
            "ip daddr": inner,
            "ct state": "established",
        },
        ("oifname", ours.uplink),
    )


def _is_far(service: LinkLocalService) -> bool:
    return not service.is_metadata


def _is_ours(chain: Chain, ours: Ours) -> bool:
    return chain.table == ours.table and chain.family in ("ip", "ip6", "inet")


def _of_chain(chain: Chain, ruleset: Ruleset, facts: HostFacts) -> Iterator[Finding]:
    if chain.family == "netdev":
        yield from _at_a_device(chain, ruleset, facts)
        return
    if chain.family not in ("ip", "inet"):
        return
    for passage in passages(facts):
        if passage.hook != chain.hook:
            continue
        early = chain.hook == "prerouting" and chain.priority <= NAT_PRIORITY
        packet = passage.earlier if early and passage.earlier else passage.packet
        found = blocks(chain, packet, ruleset)
        yield from _one_finding(found, passage, chain)


def _one_finding(
    found: list[Block], passage: Passage, chain: Chain
) -> Iterator[Finding]:
    certain = [block for block in found if block.certain]
    possible = [block for block in found if block.verb in _MAYBE_WORTH_A_WORD]
    if certain:
        yield wrong(
            f"{certain[0]} {passage.what}",
            "another program's packet filter stops what guests ask or are answered",
            mend(chain, passage.guard),
        )
    elif possible:
        yield warning(
            f"{possible[0]} perhaps {passage.what}",
            "whether it does depends on matches that cannot be judged from here",
            mend(chain, passage.guard),
        )


def _at_a_device(chain: Chain, ruleset: Ruleset, facts: HostFacts) -> Iterator[Finding]:
    """Chains of others at a tap, or at the agent's veth pair, that see packets before
    the agent's own.
    """
    ours = facts.ours
    ends = {ours.guest_side, ours.uplink}
    taps = {port.tap for port in facts.agent.ports or ()}
    late = chain.hook == "ingress" and chain.priority > GUARD_PRIORITY
    here = (ends | (set() if late else taps)) & set(chain.devices)
    if not here:
        return
    passage = Passage(
        "a guest's packet to the service address",
        chain.hook,
        {
            "meta protocol": "ip",
            "meta l4proto": "tcp",
            "ip protocol": "tcp",
            "ip daddr": IPv4Network(METADATA_ADDRESS),
            "tcp dport": 80,
        },
        ("ip daddr", str(METADATA_ADDRESS)),
    )
    found = [
        replace(block, certain=block.certain and len(here) == len(set(chain.devices)))
        for block in blocks(chain, passage.packet, ruleset)
    ]
    yield from _one_finding(found, passage, chain)


def mend(chain: Chain, guard: tuple[str, str]) -> str:
    """A command that adds a rule at the head of the chain, which lets the agent's
    packets through.
    """
    key, value = guard
    if chain.tool != "nft" and key in ("iifname", "oifname"):
        side = "-i" if key == "iifname" else "-o"
        table = "" if chain.table == "filter" else f" -t {chain.table}"
        return f"{chain.tool}{table} -I {chain.name} {side} {value} -j ACCEPT"
    quoted = f'"{value}"' if key in ("iifname", "oifname") else value
    where = f"{chain.family} {chain.table} {chain.name}"
    return f"nft 'insert rule {where} {key} {quoted} accept'"
