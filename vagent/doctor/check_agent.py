"""Checks of the agent itself: is it running, its queue, ports, services and limits.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from vagent.config.metadata_address import METADATA_ADDRESS
from vagent.doctor.facts import HostFacts, PortFact
from vagent.doctor.finding import Finding, note, warning, wrong
from vagent.ports.port import PROBE_AUTHOR

QUEUE_WARNING = 0.5
"""Share of queue-length from which on the queue is reported: it normally empties within
milliseconds, so half full is a backlog."""
FILES_WARNING = 0.8
FILES_PER_PORT = 4
"""File descriptors that the agent needs for each port: the guest's connections, and its
share of those to the upstream."""
FILES_AT_REST = 64
NAMED = 3
"""The most ports that a finding lists by name."""
NO_DEVICE = "no-dev"
_QUOTED_PATH = re.compile(r"""['"](/[^'"]+)['"] is world-readable""")


def check_configuration(facts: HostFacts) -> Iterator[Finding]:
    """Is agent.conf there, without errors and warnings?"""
    found = facts.configuration
    for problem in found.problems:
        yield wrong(
            problem,
            "the agent does not start with this file",
            f"vagent --check-config --config {found.path}",
        )
    for text in found.warnings:
        if not (found.secret_empty and "no secret" in text):
            yield _config_warning(text, found.path)
    if not found.found:
        yield warning(
            f"there is no {found.path}",
            "everything is at its default: no shared secret, no TLS",
            f"install -m 0600 conf/agent.conf.example {found.path}",
        )


def _config_warning(text: str, path: str) -> Finding:
    """The finding for a warning about agent.conf. For a secret that others can read
    there is a command that mends it; other warnings are for the operator to judge.
    """
    if "make it 0600" not in text:
        show = f"vagent --check-config --config {path}"
        return warning(text, "the agent starts, but look at it", show)
    named = _QUOTED_PATH.search(text)
    means = "every user of this host can act as the agent towards nova-api"
    return warning(text, means, f"chmod 0600 {named[1] if named else path}")


def check_secret(facts: HostFacts) -> Iterator[Finding]:
    """Is there a shared secret? With the empty one, signatures prove nothing."""
    found = facts.configuration
    if found.secret_empty and not found.problems:
        yield wrong(
            f"the shared secret in {found.path} is empty",
            "nova-api refuses every request (403), or believes anybody",
            "openstack-config --get /etc/nova/nova.conf neutron"
            " metadata_proxy_shared_secret  # put it into <shared-secret>",
        )


def check_fast_path(facts: HostFacts) -> Iterator[Finding]:
    """Is the fast path in use, if agent.conf wants it?"""
    if facts.ours.fast_path and facts.agent.fast_path is False:
        yield note(
            "fast-path is on in agent.conf, but not in use",
            "flows with many packets go the usual way, which is slower",
            "journalctl -u vagent | grep 'fast path'",
        )


def check_life(facts: HostFacts) -> Iterator[Finding]:
    """Does the agent run, and is it ready?"""
    agent = facts.agent
    yield from _other_holder(facts)
    if agent.readiness == "ready":
        return
    if agent.readiness:
        yield wrong(
            f"the agent is not ready: {agent.readiness}",
            "guests wait",
            "journalctl -u vagent -n 50",
        )
    elif agent.process is not None and agent.stopped:
        yield wrong(
            f"{agent.process} is stopped by a signal",
            "guests wait until it goes on",
            f"kill -CONT {agent.process.pid}",
        )
    elif agent.process is not None:
        yield wrong(
            f"{agent.process} does not answer: {agent.silence}",
            "it hangs, or a packet filter on this host cuts loopback off",
            agent.restart,
        )
    elif agent.holder is not None:
        yield wrong(
            f"{agent.holder} has the state directory, and does not answer here:"
            f" {agent.silence}",
            "it starts or stops, or has another agent.conf; the agent of this one does"
            " not start beside it",
            f"kill {agent.holder.pid}",
        )
    else:
        yield wrong(
            f"the agent does not run: {agent.silence}",
            _without_agent(facts),
            agent.start,
        )


def _other_holder(facts: HostFacts) -> Iterator[Finding]:
    """Does another process than the agent that answers hold the state directory of this
    agent.conf?
    """
    agent = facts.agent
    if agent.process is None or agent.holder == agent.process:
        return
    yield warning(
        f"{agent.process} answers, and the state directory is "
        + ("nobody's" if agent.holder is None else f"that of {agent.holder}"),
        "the agent runs with another agent.conf than this one: it was changed since,"
        " or two agents share what they should not",
        agent.restart,
    )


def _without_agent(facts: HostFacts) -> str:
    """What happens to guests' packets while no agent runs. The rules of a stopped agent
    may still be there.
    """
    inside, table = facts.host.inside, facts.ours.table
    if facts.host.ruleset is None:
        return "guests get nothing"
    if inside is not None and ("ip", table) in inside.tables:
        return (
            "the rules that it left guard: what registered guests ask waits for the"
            " next start, flows that the kernel carries go on; taps that come now are"
            " not guarded"
        )
    return (
        "nothing guards service addresses: what guests send there goes to their bridge"
        " or gateway, and whoever is there may answer"
    )


def check_queue(facts: HostFacts) -> Iterator[Finding]:
    """Which process has the queue number, and does it keep up with the packets?"""
    queue, agent, ours = facts.host.queue, facts.agent, facts.ours
    if queue is None:
        if agent.is_up:
            yield wrong(
                f"nobody reads NFQUEUE {ours.queue_number}",
                "every new flow of guests is dropped",
                agent.restart,
            )
        return
    owner = queue.owner
    if owner is not None and owner != agent.process:
        yield wrong(
            f"NFQUEUE {queue.number} is taken by {owner}",
            "the agent cannot start while it is; end it, or change <queue-number>",
            f"kill {owner.pid}",
        )
    if queue.waiting >= QUEUE_WARNING * ours.queue_length:
        yield wrong(
            f"{queue.waiting} packets wait in NFQUEUE {queue.number}"
            f" (it holds {ours.queue_length})",
            "the agent does not keep up with new flows; at the top they are dropped",
            "vagentctl trace LinkLocalFlow | tail",
        )
    if queue.dropped:
        yield warning(
            f"NFQUEUE {queue.number} was full {queue.dropped} times since the agent"
            " started",
            "guests' first packets were lost then, and repeated after a second",
            "vagentctl trace LinkLocalFlow | tail",
        )


def check_ports(facts: HostFacts) -> Iterator[Finding]:
    """Which registered ports are not served, and why?"""
    ports = facts.agent.ports or ()
    left = [p for p in ports if p.author.startswith(PROBE_AUTHOR)]
    pending = [p for p in ports if p.state != "Active" and p not in left]
    without = [port for port in pending if NO_DEVICE in port.state]
    if without:
        yield warning(
            f"{_count(without)} without a tap on this host: {_named(without)}",
            "they are served as soon as their taps appear; of guests that are gone the"
            " ports should go, too",
            f"vagentctl port del {without[0].id}",
        )
    others = [port for port in pending if port not in without]
    if others:
        yield wrong(
            f"{_count(others)} not served: {_named(others)}",
            f"{others[0].name}: {others[0].state}",
            f"vagentctl port show {others[0].id}",
        )
    if left:
        yield note_of_leftovers(left)


def note_of_leftovers(left: Sequence[PortFact]) -> Finding:
    """Ports that a killed `vagentctl explain` left behind."""
    return warning(
        f"{_count(left)} left behind by vagentctl explain",
        "harmless: the tap went with the process",
        "vagentctl port del " + " ".join(port.id for port in left[:NAMED]),
    )


def check_services(facts: HostFacts) -> Iterator[Finding]:
    """Is the metadata service provisioned, and does every service lead somewhere?"""
    agent = facts.agent
    if agent.services is None:
        return
    for text in agent.left_out:
        yield warning(
            f"a provisioned service is not in force: {text}",
            "guests do not get it",
            "vagentctl service list",
        )
    for service in agent.services:
        if not service.fabric_addresses and not service.fabric_dns_name:
            yield wrong(
                f"service {service.name} at {service.address}:{service.port} has no"
                " endpoint",
                "guests that ask it are refused",
                f"provision_linklocal.py --linklocal_service_name {service.name}"
                f" --linklocal_service_ip {service.address}"
                f" --linklocal_service_port {service.port}"
                " --ipfabric_service_ip ADDRESS"
                f" --ipfabric_service_port {service.fabric_port}",
            )
    if not any(service.is_metadata for service in agent.services):
        yield warning(
            "no metadata service is provisioned",
            "guests that ask for metadata are refused at once",
            "provision_linklocal.py --linklocal_service_name metadata"
            f" --linklocal_service_ip {METADATA_ADDRESS} --linklocal_service_port 80"
            " --ipfabric_service_ip NOVA_API --ipfabric_service_port 8775",
        )


def check_files(facts: HostFacts) -> Iterator[Finding]:
    """Has the agent enough file descriptors for its ports?"""
    used, ceiling = facts.agent.open_files, facts.agent.max_files
    if used is None or ceiling is None:
        return
    wanted = FILES_AT_REST + FILES_PER_PORT * len(facts.agent.ports or ())
    if used >= FILES_WARNING * ceiling or wanted > ceiling:
        yield warning(
            f"the agent has {used} files open and may open {ceiling}",
            "beyond that guests' connections wait",
            f"prlimit --pid {facts.agent.process.pid if facts.agent.process else 'PID'}"
            f" --nofile={max(65536, 2 * wanted)}",
        )


def _count(ports: Sequence[PortFact]) -> str:
    return "1 port is" if len(ports) == 1 else f"{len(ports)} ports are"


def _named(ports: Sequence[PortFact]) -> str:
    names = ", ".join(f"{port.name} ({port.tap})" for port in ports[:NAMED])
    return names + (" …" if len(ports) > NAMED else "")
