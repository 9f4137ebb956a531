"""Promises of vagent.guests.watcher: ports as the domains are, whoever was away."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.unit.vagent.guests import nova_domains as made
from tests.unit.vagent.guests.fake_hypervisor import FakeHypervisor
from vagent.config.model import LibvirtConfig, LibvirtMode, NovaDomains
from vagent.guests.hypervisor import HypervisorError
from vagent.guests.watcher import LOOK_AGAIN, TRY_AGAIN, Surroundings, Watcher
from vagent.ports.codec import decode_port, describe
from vagent.ports.port import Port, PortOwner, Registration
from vagent.ports.tap import check_owner, check_tap
from vagent.web.json_client import NEVER_ANSWERED, ApiError

ONE, TWO = made.INSTANCE, "ffffffff-0000-4000-8000-000000000002"
CONFIG = LibvirtConfig()


def plain(uuid: str, tap: str, name: str = "web") -> str:
    """A domain of virt-install's at a tap."""
    text = made.PLAIN.replace(made.INSTANCE, uuid).replace("vnet0", tap)
    return text.replace("instance-0000000e", name).replace("0:01'", f"0:{uuid[:2]}'")


class Agent:
    """The port API with its rules of owners and taps, in memory."""

    def __init__(self) -> None:
        self.ports: dict[str, Port] = {}
        self.is_away = False
        self.refused: set[str] = set()
        """Taps that it takes no port for."""
        self.calls: list[str] = []

    def call(self, method: str, path: str, value: Any = None) -> bytes:
        if self.is_away:
            raise ApiError("nothing listens there", status=NEVER_ANSWERED)
        self.calls.append(method)
        if method == "DELETE":
            old = self.ports.get(path.removeprefix("/port/"))
            if old is not None and old.owner == value["owner"]:
                del self.ports[old.id]
            return b"{}"
        new = {port.id: port for port in map(decode_port, value)}
        after = self.ports | new
        try:
            for port in new.values():
                check_owner(self.ports.get(port.id, port), port)
                check_tap(port.tap, [p for p in after.values() if p.tap == port.tap])
                if port.tap in self.refused:
                    raise ValueError(port.tap)
        except Exception as error:
            raise ApiError(str(error), status=500) from error
        self.ports = after
        return b"{}"

    def json(self, method: str, path: str, value: Any = None) -> Any:
        if self.is_away:
            raise ApiError("nothing listens there", status=NEVER_ANSWERED)
        assert ("GET", "/ports") == (method, path)
        identity = IPv4Address("169.254.64.2")
        listed = [
            describe(
                Registration(port, 2, identity, (3,) * len(port.further)), state=""
            )
            for port in self.ports.values()
        ]
        return json.loads(json.dumps(listed))


class Host:
    """A watcher with everything around it in memory."""

    def __init__(self, config: LibvirtConfig = CONFIG) -> None:
        self.libvirt = FakeHypervisor()
        self.agent = Agent()
        self.said: list[str] = []
        self.pauses: list[float] = []
        self.other = ""
        self.connections = 0
        self.watcher = Watcher(
            config,
            self.agent,
            Surroundings(
                self._connect, self.pauses.append, lambda: self.other, self.said.append
            ),
        )

    def taps(self) -> dict[str, str]:
        """The tap of each instance."""
        return {port.instance_id: port.tap for port in self.agent.ports.values()}

    def turn(self) -> dict[str, str]:
        """The taps after one turn of the watcher."""
        self.watcher.turn()
        return self.taps()

    def _connect(self) -> FakeHypervisor:
        if self.libvirt.is_away:
            raise HypervisorError("qemu:///system: no such socket")
        self.connections += 1
        return self.libvirt


@pytest.fixture
def host() -> Host:
    """With two domains."""
    made_host = Host()
    made_host.libvirt.start(ONE, plain(ONE, "vnet0"))
    made_host.libvirt.start(TWO, plain(TWO, "vnet1"))
    return made_host


def test_ports_come_and_go_with_their_domains(host: Host) -> None:
    """Each look is a whole one; what is right is not sent again."""
    assert {ONE: "vnet0", TWO: "vnet1"} == host.turn()
    host.agent.calls.clear()
    assert {ONE: "vnet0", TWO: "vnet1"} == host.turn()
    assert [] == host.agent.calls
    host.libvirt.stop(ONE)
    assert {TWO: "vnet1"} == host.turn()
    assert [LOOK_AGAIN] * 3 == host.libvirt.waited


def test_a_power_cycle_is_the_same_port_at_another_tap(host: Host) -> None:
    """Also if the watcher did not see it stop."""
    host.turn()
    before = {p.instance_id: p.id for p in host.agent.ports.values()}
    host.libvirt.start(ONE, plain(ONE, "vnet2"))
    assert {ONE: "vnet2", TWO: "vnet1"} == host.turn()
    assert before == {p.instance_id: p.id for p in host.agent.ports.values()}


def test_two_domains_exchange_their_taps(host: Host) -> None:
    """In one call: neither is in the other's way."""
    host.turn()
    host.libvirt.start(ONE, plain(ONE, "vnet1"))
    host.libvirt.start(TWO, plain(TWO, "vnet0"))
    host.agent.calls.clear()
    assert {ONE: "vnet1", TWO: "vnet0"} == host.turn()
    assert ["POST"] == host.agent.calls


def test_a_port_that_is_refused_does_not_stop_the_others(host: Host) -> None:
    """They come one by one, exchanged taps too; it is told once and tried again."""
    host.turn()
    three = "eeeeeeee-0000-4000-8000-000000000003"
    host.libvirt.start(ONE, plain(ONE, "vnet1"))
    host.libvirt.start(TWO, plain(TWO, "vnet0"))
    host.libvirt.start(three, plain(three, "vnet3"))
    host.agent.refused.add("vnet3")
    assert {ONE: "vnet1", TWO: "vnet0"} == host.turn()
    assert 1 == sum("tap vnet3: vnet3" in line for line in host.said)
    host.turn()
    assert 1 == sum("tap vnet3: vnet3" in line for line in host.said)
    host.agent.refused.clear()
    assert "vnet3" == host.turn()[three]


def test_libvirt_may_be_away_for_any_time(host: Host) -> None:
    """Ports stay meanwhile; after it came back they are as its domains are."""
    host.turn()
    host.libvirt.is_away = True
    for _ in range(3):
        assert {ONE: "vnet0", TWO: "vnet1"} == host.turn()
    assert ([TRY_AGAIN] * 3, 1) == (host.pauses, host.libvirt.closed)
    assert 1 == sum("no such socket" in line for line in host.said)
    host.libvirt.is_away = False
    host.libvirt.stop(TWO)
    assert {ONE: "vnet0"} == host.turn()
    assert 2 == host.connections


def test_the_agent_may_be_away_for_any_time(host: Host) -> None:
    """It is asked again soon, and said once."""
    host.agent.is_away = True
    host.turn()
    host.turn()
    assert [TRY_AGAIN] * 2 == host.libvirt.waited
    assert 1 == sum("nothing listens there" in line for line in host.said)
    host.agent.is_away = False
    assert {ONE: "vnet0", TWO: "vnet1"} == host.turn()


@pytest.mark.parametrize("when", ["DELETE", "POST"])
def test_an_agent_that_goes_half_way(host: Host, when: str) -> None:
    """The next look does the rest."""
    host.turn()
    host.libvirt.stop(ONE)
    host.libvirt.start(TWO, plain(TWO, "vnet7"))
    whole = host.agent.call

    def goes(method: str, path: str, value: Any = None) -> bytes:
        if method == when:
            raise ApiError("no answer within 10 s", status=NEVER_ANSWERED)
        return whole(method, path, value)

    host.agent.call = goes  # type: ignore[method-assign]
    host.turn()
    assert TRY_AGAIN == host.libvirt.waited[-1]
    host.agent.call = whole  # type: ignore[method-assign]
    assert {TWO: "vnet7"} == host.turn()


def test_a_domain_that_cannot_be_read_keeps_its_port(host: Host) -> None:
    """It is not taken for gone, and the others are served."""
    host.turn()
    host.libvirt.start(ONE, "<broken")
    host.libvirt.start(TWO, plain(TWO, "vnet2"))
    assert {ONE: "vnet0", TWO: "vnet2"} == host.turn()
    assert any(f"domain {ONE}" in line for line in host.said)
    host.libvirt.stop(ONE)
    assert {TWO: "vnet2"} == host.turn()


def test_ports_of_others_are_not_touched(host: Host) -> None:
    """Neither when their guests are domains, nor when nobody knows them."""
    host.turn()
    theirs = replace(
        next(iter(host.agent.ports.values())), owner=PortOwner.CLI, tap="vnet0"
    )
    host.agent.ports[theirs.id] = theirs
    unknown = replace(theirs, id=made.PORT, instance_id=made.PORT2, tap="tap9")
    host.agent.ports[unknown.id] = unknown
    host.libvirt.stop(TWO)
    host.turn()
    host.libvirt.start(ONE, plain(ONE, "vnet5"))
    host.turn()
    host.libvirt.stop(ONE)
    host.turn()
    assert {theirs.id: theirs, unknown.id: unknown} == host.agent.ports
    assert any("belongs to cli" in line for line in host.said)


def test_novas_domains_need_the_operators_word() -> None:
    """Until then they are named, and another's port for them stays."""
    host = Host()
    host.libvirt.start(made.INSTANCE, made.OVN)
    assert {} == host.turn()
    assert any("nova-domains is not serve: 'instance-" in line for line in host.said)
    host = Host(LibvirtConfig(nova_domains=NovaDomains.SERVE))
    host.libvirt.start(made.INSTANCE, made.OVN)
    assert {made.INSTANCE: made.TAP} == host.turn()
    assert [made.PORT] == list(host.agent.ports)


def test_a_host_that_is_served_already_is_left_alone(host: Host) -> None:
    """Until the operator says so; what is served by us goes on being so."""
    host.other = "Neutron serves metadata"
    assert {} == host.turn() == host.turn()
    assert 1 == sum("libvirt/enabled to true" in line for line in host.said)
    host.other = ""
    assert 2 == len(host.turn())
    host.other = "Neutron serves metadata"
    host.libvirt.stop(ONE)
    assert {TWO: "vnet1"} == host.turn()
    told = Host(LibvirtConfig(enabled=LibvirtMode.ON))
    told.libvirt, told.other = host.libvirt, "Neutron serves metadata"
    assert {TWO: "vnet1"} == told.turn()


@pytest.mark.parametrize("listed", [[{}], [1], {"a": 1}, None])
def test_an_answer_that_is_no_list_of_ports(host: Host, listed: Any) -> None:
    """Nothing is registered or removed for it."""
    host.agent.json = lambda *_: listed  # type: ignore[method-assign]
    host.turn()
    assert ([], [TRY_AGAIN]) == (host.agent.calls, host.libvirt.waited)
