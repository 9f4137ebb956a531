"""Keeps the ports of this host's domains registered, as long as domains run.

Every look is a whole one: all domains, all ports, and the difference is sent. So it
does not matter which events were missed, who was away meanwhile, or in what order
domains came and went. An event only says that it is time to look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from vagent.config.model import LibvirtConfig, LibvirtMode, NovaDomains
from vagent.errors import WireError
from vagent.guests.difference import Correction, difference
from vagent.guests.domain import Domain
from vagent.guests.domain_xml import read_domain
from vagent.guests.hypervisor import Hypervisor, HypervisorError
from vagent.guests.wanted import WantedPort, found_port, wanted_ports
from vagent.ports.port import Port, PortOwner
from vagent.web.json_client import NEVER_ANSWERED, ApiError

LOOK_AGAIN = 30.0
"""Seconds between two looks if nothing happens: somebody may have removed a port."""
TRY_AGAIN = 1.0
"""Seconds until libvirt or the agent is tried again after one did not answer."""


class PortApiClient(Protocol):
    """The port API, as `JsonClient` calls it. Raises ApiError."""

    def call(self, method: str, path: str, value: object = None) -> bytes:
        """The body of the reply."""

    def json(self, method: str, path: str, value: object = None) -> Any:
        """The body as JSON."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the watcher uses: how to open libvirt and how to wait without it, who else
    serves the metadata address ("" for nobody), and where it tells what happens.
    """

    connect: Callable[[], Hypervisor]
    pause: Callable[[float], object]
    served_elsewhere: Callable[[], str]
    say: Callable[[str], object]


class Watcher:
    """Looks, and waits, for ever. `turn` is one of both."""

    def __init__(
        self, config: LibvirtConfig, ports: PortApiClient, around: Surroundings
    ) -> None:
        self._config = config
        self._ports = ports
        self._around = around
        self._hypervisor: Hypervisor | None = None
        self._told: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"<Watcher {self._config.uri} {self._hypervisor!r}>"

    def turn(self) -> None:
        """Look once, and wait for the next time to do so. Raises nothing of libvirt's
        or the agent's: either may be away for any time.
        """
        try:
            if self._hypervisor is None:
                self._hypervisor = self._around.connect()
                self._around.say(f"connected to {self._config.uri}")
            is_done = self._look(self._hypervisor)
            self._hypervisor.wait(LOOK_AGAIN if is_done else TRY_AGAIN)
        except HypervisorError as error:
            self._tell([f"libvirt: {error}"])
            if self._hypervisor is not None:
                self._hypervisor.close()
                self._hypervisor = None
            self._around.pause(TRY_AGAIN)

    def _look(self, hypervisor: Hypervisor) -> bool:
        """Bring the ports to what the domains are now. Did the agent answer?"""
        domains, problems, unread = _read(hypervisor.domains())
        try:
            found = _found(self._ports.json("GET", "/ports"))
            why_not = self._why_not(found)
            if why_not:
                self._tell([why_not])
                return True
            serve_nova = self._config.nova_domains is NovaDomains.SERVE
            wanted = wanted_ports(domains, serve_nova=serve_nova)
            problems += wanted.problems
            change = difference(
                wanted.ports, [port for port in found if port.instance_id not in unread]
            )
            problems += change.others
            problems += self._apply(change, {port.id for port in found})
        except (ApiError, WireError) as error:
            self._tell([*problems, f"the agent's port API: {error}"])
            return False
        if wanted.left_alone:
            names = ", ".join(map(repr, wanted.left_alone))
            problems.append(f"left alone, as nova-domains is not serve: {names}")
        self._tell(problems)
        return True

    def _why_not(self, found: Iterable[Port]) -> str:
        """Why nothing is to be registered; "" where it is. Who serves guests already
        goes on, whatever appears beside.
        """
        serves = any(port.owner is PortOwner.WATCHER for port in found)
        if self._config.enabled is not LibvirtMode.AUTO or serves:
            return ""
        other = self._around.served_elsewhere()
        return other and (
            f"nothing is registered: {other}; to serve the domains of this host all "
            "the same, set libvirt/enabled to true in agent.conf"
        )

    def _apply(self, change: Correction, there: set[str]) -> list[str]:
        """Send the difference; what the agent refused. Raises ApiError where it does
        not answer.
        """
        for port_id in change.remove:
            self._remove(port_id)
            self._around.say(f"removed port {port_id}")
        if not change.register:
            return []
        try:
            # In one call, so that two ports may exchange their taps.
            self._register(change.register)
        except ApiError as error:
            if error.status == NEVER_ANSWERED:
                raise
            return self._one_by_one(change.register, there)
        return []

    def _one_by_one(self, ports: Iterable[WantedPort], there: set[str]) -> list[str]:
        """After the agent refused all together: each that it takes."""
        refused: list[str] = []
        for each in ports:
            if each.port.id in there:  # else it keeps the tap that it had
                self._remove(each.port.id)
        for each in ports:
            try:
                self._register([each])
            except ApiError as error:
                if error.status == NEVER_ANSWERED:
                    raise
                refused.append(f"port {each.port.id}, tap {each.port.tap}: {error}")
        return refused

    def _register(self, ports: Iterable[WantedPort]) -> None:
        self._ports.call("POST", "/port", [each.members for each in ports])
        for each in ports:
            port = each.port
            name = f"{port.display_name!r} ({port.instance_id})"
            self._around.say(f"registered port {port.id}: {name} at {port.tap}")

    def _remove(self, port_id: str) -> None:
        value = {"owner": PortOwner.WATCHER.value}
        self._ports.call("DELETE", f"/port/{port_id}", value)

    def _tell(self, problems: Iterable[str]) -> None:
        """Say what is wrong, each once as long as it lasts."""
        now = dict.fromkeys(problems)
        for problem in now:
            if problem not in self._told:
                self._around.say(problem)
        self._told = frozenset(now)


def _found(listed: object) -> list[Port]:
    """The ports that the port API lists. Raises WireError."""
    if not isinstance(listed, list) or not all(isinstance(x, dict) for x in listed):
        raise WireError("the reply to GET /ports is no list of objects")
    return [found_port(each) for each in listed]


def _read(
    found: Iterable[tuple[str, str]],
) -> tuple[list[Domain], list[str], frozenset[str]]:
    """The domains, what is wrong with the others, and the UUIDs of those: their ports
    stay as they are.
    """
    domains: list[Domain] = []
    problems: list[str] = []
    unread: set[str] = set()
    for uuid, text in found:
        try:
            domains.append(read_domain(text))
        except WireError as error:
            unread.add(uuid)
            problems.append(f"domain {uuid}: {error}")
    return domains, problems, frozenset(unread)
