"""Checks of addresses, routes, sysctls, connection tracking, the clock, libvirt's
domains and Contrail's folder of port files. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from vagent.config.metadata_address import METADATA_ADDRESS
from vagent.doctor.facts import HostFacts, HostInterface, RouteTrial
from vagent.doctor.finding import Finding, note, warning, wrong
from vagent.ports.contrail_folder import ContrailFolder, FolderState

_CROSS_DEVICE, _INVALID = "Invalid cross-device link", "Invalid argument"
CONNTRACK_WARNING = 0.8
CONNTRACK_FULL = 0.95
"""Shares of nf_conntrack_max. When the table is full, the kernel drops every new flow
of the host."""
MAX_NAMED = 5
"""Names in a finding about several domains."""


def check_interfaces(facts: HostFacts) -> Iterator[Finding]:
    """Are the agent's veth pairs there and up, and has their namespace its name?"""
    ours, inside = facts.ours, facts.host.inside
    if not facts.agent.is_up:
        return
    for name in (ours.guest_side, ours.uplink):
        yield from _judge_link(facts.host.link(name), name, "", facts)
    if inside is None:
        yield warning(
            f"no network namespace has the name {ours.namespace} any more",
            "guests are served as before, but nobody can look inside, and a restart"
            " makes another one, which ends their flows",
            facts.agent.restart,
        )
        return
    there = {link.name: link for link in inside.links}
    for name in (ours.inner_side, ours.inner_uplink):
        enter = f"ip netns exec {ours.namespace} "
        yield from _judge_link(there.get(name), name, enter, facts)


def _judge_link(
    link: HostInterface | None, name: str, enter: str, facts: HostFacts
) -> Iterator[Finding]:
    is_uplink = name in (facts.ours.uplink, facts.ours.inner_uplink)
    effect = (
        "no service but metadata answers" if is_uplink else "no guest gets an answer"
    )
    if link is None:
        yield wrong(
            f"interface {name} is gone although the agent runs",
            effect,
            facts.agent.restart,
        )
    elif not link.up:
        yield wrong(
            f"interface {name} is down", effect, f"{enter}ip link set {name} up"
        )


def check_foreign_addresses(facts: HostFacts) -> Iterator[Finding]:
    """Has an interface of somebody else 169.254.169.254, an address of the uplink, or
    one of the identity range, where that is on the host?
    """
    ours = facts.ours
    for link in facts.host.links:
        for interface in link.addresses:
            address = interface.ip
            if address == METADATA_ADDRESS:
                yield wrong(
                    f"interface {link.name} has the address {METADATA_ADDRESS}",
                    "another metadata service lives on this host; guests that are not"
                    " registered, and the host itself, ask that one",
                    f"ip address del {interface} dev {link.name}",
                )
            elif address in ours.uplink_range and link.name != ours.uplink:
                yield wrong(
                    f"interface {link.name} has {address}, of the uplink's addresses"
                    f" {ours.uplink_range}",
                    "answers of services may not get back; give the agent another"
                    " <uplink>",
                    f"ip address del {interface} dev {link.name}",
                )
            elif ours.host_to_guest and address in ours.identities:
                yield wrong(
                    f"interface {link.name} has {address}, of the identity range"
                    f" {ours.identities}",
                    "answers to the guest with that identity stay on the host",
                    f"ip address del {interface} dev {link.name}",
                )


def check_foreign_listeners(facts: HostFacts) -> Iterator[Finding]:
    """Does a process listen on 169.254.169.254 itself?"""
    for listener in facts.host.listeners:
        if listener.address == METADATA_ADDRESS:
            who = listener.process or "a process that cannot be seen"
            pid = listener.process.pid if listener.process else "PID"
            yield wrong(
                f"{who} listens on {METADATA_ADDRESS}:{listener.port}/"
                f"{listener.protocol}",
                "another metadata service runs on this host; only one can be the one",
                f"kill {pid}",
            )


def check_routes(facts: HostFacts) -> Iterator[Finding]:
    """Does a route lead packets to identity addresses, or to 169.254.169.254,
    elsewhere?
    """
    ours = facts.ours
    for route in facts.host.routes:
        if route.device == ours.uplink or route.kind == "broadcast":
            continue
        where = f"dev {route.device} " if route.device else ""
        remove = f"ip route del {route.destination} {where}table {route.table}"
        inside = route.destination.subnet_of(ours.identities)
        if route.destination.subnet_of(ours.uplink_range) and route.kind != "local":
            yield wrong(
                f"route {route.destination} {where}is to the uplink's addresses"
                f" {ours.uplink_range}",
                "answers of services go there; remove it, or give the agent another"
                " <uplink>",
                remove,
            )
        elif ours.host_to_guest and inside and route.kind != "local":
            yield wrong(
                f"route {route.destination} {where}lies in the identity range"
                f" {ours.identities}",
                "answers to guests with these identities go there; remove it, or give"
                " the agent another <identity-range>",
                remove,
            )
        elif (
            str(route.destination) == f"{METADATA_ADDRESS}/32"
            and route.kind == "unicast"
        ):
            yield note(
                f"the host itself has a route to {METADATA_ADDRESS} {where}".rstrip(),
                "usual on a machine of a cloud; guests are served before it",
                f"ip route show {METADATA_ADDRESS}",
            )


def check_ways(facts: HostFacts) -> Iterator[Finding]:
    """Would the kernel route packets that come from a guest by the uplink, to each
    fabric endpoint?
    """
    for trial in facts.host.route_trials:
        yield from _judge_way(trial, facts)


def check_forwarding6(facts: HostFacts) -> Iterator[Finding]:
    """Is IPv6 forwarding on, if services have IPv6 endpoints on other machines? It can
    only be set for all interfaces together, so the agent does not set it.
    """
    if facts.host.far6 and facts.host.number("net/ipv6/conf/all/forwarding") == 0:
        shown = ", ".join(str(address) for address in facts.host.far6[:3])
        yield wrong(
            f"IPv6 forwarding is off on this host, and services lead to {shown}",
            "services with IPv6 endpoints on other machines do not answer; a host that"
            " forwards learns its own routes from routers only with accept_ra=2",
            "sysctl -w net.ipv6.conf.all.forwarding=1",
        )


def _judge_way(trial: RouteTrial, facts: HostFacts) -> Iterator[Finding]:
    side = facts.ours.uplink
    to = f"from a guest to {trial.target}"
    if trial.said and _is_forwarding_off(trial, facts):
        yield wrong(
            f"forwarding is off on {side}, so packets {to} end here",
            "services with endpoints on other machines do not answer",
            f"sysctl -w net.ipv4.conf.{side}.forwarding=1",
        )
    elif trial.said and _is_forged(trial, facts):
        yield wrong(
            f"rp_filter drops packets {to}",
            f"the way back is not by {side} (a route or rule of another"
            " program), so the strict reverse path filter takes them for forged",
            f"sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.{side}.rp_filter=2",
        )
    elif trial.said:
        yield wrong(
            f"the kernel has no way for packets {to} ({trial.said})",
            "the service behind it does not answer",
            f"ip route get {trial.target} from {facts.ours.sample} iif {side}",
        )
    elif trial.kind != "local" and not trial.forwarding:
        yield wrong(
            f"forwarding is off on {trial.device}, by which {trial.target} answers",
            "the service behind it does not answer",
            f"sysctl -w net.ipv4.conf.{trial.device}.forwarding=1",
        )


def _is_forwarding_off(trial: RouteTrial, facts: HostFacts) -> bool:
    key = f"net/ipv4/conf/{facts.ours.uplink}/forwarding"
    return not trial.target.is_loopback and facts.host.number(key) == 0


def _is_forged(trial: RouteTrial, facts: HostFacts) -> bool:
    """Did the reverse path filter refuse the packet? EXDEV always means that; EINVAL
    does if the host itself has a route (see `look_host`).
    """
    names = ("all", facts.ours.uplink)
    values = [facts.host.number(f"net/ipv4/conf/{name}/rp_filter") for name in names]
    is_strict = max(value or 0 for value in values) == 1
    return is_strict and trial.said.endswith((_CROSS_DEVICE, _INVALID))


def check_bridge_rules(facts: HostFacts) -> Iterator[Finding]:
    """Do bridged packets pass iptables? That does not affect the agent, but operators
    often suspect it.
    """
    if facts.host.number("net/bridge/bridge-nf-call-iptables") == 1:
        yield note(
            "bridge-nf-call-iptables is on",
            "guests' other bridged packets pass this host's IPv4 rules; what they send"
            " to link-local services leaves at the tap, before the bridge",
            "sysctl -w net.bridge.bridge-nf-call-iptables=0",
        )


def check_conntrack(facts: HostFacts) -> Iterator[Finding]:
    """Is the connection tracking table nearly full?"""
    count = facts.host.number("net/netfilter/nf_conntrack_count")
    ceiling = facts.host.number("net/netfilter/nf_conntrack_max")
    if not count or not ceiling or count < CONNTRACK_WARNING * ceiling:
        return
    severity = wrong if count >= CONNTRACK_FULL * ceiling else warning
    yield severity(
        f"connection tracking holds {count} of {ceiling} flows",
        "when it is full the kernel drops every new flow, guests' too",
        f"sysctl -w net.netfilter.nf_conntrack_max={2 * ceiling}",
    )


def check_clock(facts: HostFacts) -> Iterator[Finding]:
    """Is the clock synchronised, and do the certificates show that it is wrong?"""
    for pair in facts.tls:
        if pair.valid_from is not None and facts.now < pair.valid_from:
            yield wrong(
                f"it is {facts.now:%Y-%m-%d %H:%M} here, but {pair.cert} is valid from"
                f" {pair.valid_from:%Y-%m-%d %H:%M}",
                "the clock is behind, or the certificate is for later: TLS refuses it",
                "timedatectl set-ntp true",
            )
    if facts.host.synchronised is False:
        yield note(
            "the clock is not synchronised (the kernel says so)",
            "a clock that drifts makes valid certificates fail one day",
            "timedatectl set-ntp true",
        )


UNSEEN = (
    "what vrouter-port-control, and so Nova, does while the agent is away is not seen: "
    "ports are missing, or stay although their guests are gone"
)


def check_contrail(facts: HostFacts) -> Iterator[Finding]:
    """Is Contrail's folder our link, or a directory that the agent reads?"""
    folder = facts.contrail
    if folder is None or folder.state is FolderState.LINKED:
        return
    if folder.state is FolderState.BESIDE:
        yield note(
            f"{folder.path} is a directory, not a link to the agent's ports",
            "its files are read beside the agent's own, and count where they are newer "
            "than what the agent knew of them; a port is removed with its file. One "
            "folder is easier to understand",
            f"mv {folder.path} {folder.path}.old && {facts.agent.restart}",
        )
        return
    what, mend = _ILL[folder.state](folder, facts.agent.restart)
    yield warning(what, UNSEEN, mend)


def _missing(folder: ContrailFolder, restart: str) -> tuple[str, str]:
    return f"{folder.path} is missing", restart


def _elsewhere(folder: ContrailFolder, restart: str) -> tuple[str, str]:
    what = f"{folder.path} is a link to {folder.detail}, which the agent does not read"
    return what, f"rm {folder.path} && {restart}"


def _unsafe(folder: ContrailFolder, restart: str) -> tuple[str, str]:
    what = f"{folder.path} is not read, as {folder.detail}"
    return what, (
        f"chown root:root {folder.path} && chmod 0755 {folder.path} && {restart}"
    )


def _unusable(folder: ContrailFolder, restart: str) -> tuple[str, str]:
    what = (
        f"{folder.path} cannot be used: {folder.detail} (the agent's unit must let it "
        "write there, and <contrail-ports-directory> may be off)"
    )
    return what, f"ls -ld {folder.path.parent} {folder.path}; {restart}"


_ILL = {
    FolderState.MISSING: _missing,
    FolderState.ELSEWHERE: _elsewhere,
    FolderState.UNSAFE: _unsafe,
    FolderState.UNUSABLE: _unusable,
}


def check_domains(facts: HostFacts) -> Iterator[Finding]:
    """Does each of libvirt's domains have its ports, and will its cloud-init ask? One
    finding for all domains with the same fault.
    """
    domains = facts.domains
    if domains is None:
        return
    silent = [each.name for each in domains.running if not each.asks]
    if silent:
        yield note(
            f"cloud-init will not ask in {_named(silent)}: their SMBIOS names no cloud",
            "unless an image names its data source, such a guest gets no metadata",
            "vagentctl libvirt prepare --all",
        )
    if facts.agent.ports is None:
        return
    taps = {port.tap for port in facts.agent.ports}
    bare = [each for each in domains.running if not taps.issuperset(each.taps)]
    left = [each.name for each in bare if each.is_novas and not domains.serves_nova]
    if left:
        yield note(
            f"Nova's domains {_named(left)} have no port, as libvirt/nova-domains is"
            " leave",
            "they are left to what serves them now; with serve this agent would",
            "set libvirt/nova-domains to serve; systemctl restart vagent-libvirt",
        )
    others = [each.name for each in bare if each.name not in left]
    if others and domains.elsewhere:
        yield note(
            f"the libvirt watcher registers nothing: {domains.elsewhere}",
            f"this agent does not serve {_named(others)}",
            "set libvirt/enabled to true; systemctl restart vagent-libvirt",
        )
    elif others:
        yield warning(
            f"domains without a port: {_named(others)}",
            "they get no metadata",
            "systemctl status vagent-libvirt; vagentctl guest list",
        )


def _named(names: list[str]) -> str:
    """So many names that a line holds them."""
    shown = ", ".join(map(repr, names[:MAX_NAMED]))
    more = len(names) - MAX_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
