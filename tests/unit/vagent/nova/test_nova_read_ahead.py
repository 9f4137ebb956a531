"""Instances of this host's guests are read before the guests ask."""

from __future__ import annotations

from ipaddress import IPv4Network
from uuid import UUID

from twisted.internet.task import Clock

from tests.unit.vagent.transport.one_turn import one_turn
from vagent.errors import StoreError
from vagent.nova.codec import decode_instance
from vagent.nova.instance import Instance
from vagent.nova.openstack import VERSIONS
from vagent.nova.read_ahead import ReadAhead
from vagent.ports.codec import decode_port
from vagent.ports.registry import PortRegistry

ONE, TWO, THREE = (str(UUID(int=number)) for number in (1, 2, 3))
TENANT = str(UUID(int=9))


class Instances:
    """Counts what is read; `broken` cannot be."""

    def __init__(self, broken: str = "") -> None:
        self.read: list[str] = []
        self.broken = broken
        self.known = {
            uuid: decode_instance({"uuid": uuid, "tenant_id": TENANT})
            for uuid in (ONE, TWO)
        }

    async def get(self, instance_id: str) -> Instance | None:
        self.read.append(instance_id)
        if instance_id == self.broken:
            raise StoreError("its file is no good")
        return self.known.get(instance_id)


class Rig:
    """A registry whose changes are followed."""

    def __init__(self, broken: str = "") -> None:
        self.clock = Clock()
        self.instances = Instances(broken)
        self.registry = PortRegistry(
            IPv4Network("169.254.64.0/18"), emit=lambda _: None
        )
        self.read_ahead = ReadAhead(
            self.instances, ports_of=self.registry.ports_of, clock=self.clock
        )
        self.registry.subscribe(self.read_ahead.ports_changed)

    def add(self, *instances: str) -> None:
        self.registry.add(
            decode_port(
                {
                    "id": str(UUID(int=100 + number)),
                    "instance-id": instance,
                    "vn-id": TENANT,
                    "vm-project-id": TENANT,
                    "display-name": "a",
                    "ip-address": f"10.0.0.{number}",
                    "ip6-address": "None",
                    "mac-address": f"02:00:00:00:00:{number:02x}",
                    "system-name": f"tap{number}",
                    "type": 0,
                    "rx-vlan-id": -1,
                    "tx-vlan-id": -1,
                }
            )
            for number, instance in enumerate(instances, 5)
        )

    def turn(self) -> list[str]:
        """What is read in the next turn of the reactor."""
        self.instances.read.clear()
        one_turn(self.clock)
        return [*self.instances.read]


def test_an_instance_is_ready_when_its_port_is_there() -> None:
    """It is read, and its usual document rendered; one in each turn."""
    rig = Rig()
    rig.add(ONE, TWO)
    assert 2 == rig.read_ahead.waiting
    assert [[ONE], [TWO], []] == [rig.turn() for _ in range(3)]
    assert 0 == rig.read_ahead.waiting
    assert [[VERSIONS[-1]]] * 2 == [
        [*rig.instances.known[each].rendered] for each in (ONE, TWO)
    ]


def test_a_changed_instance_is_read_again_if_its_guest_is_here() -> None:
    """Others are the business of other hosts."""
    rig = Rig()
    rig.add(ONE)
    rig.turn()
    for each in (ONE, TWO, ONE):
        rig.read_ahead.instance_changed(each)
    assert [[ONE], []] == [rig.turn() for _ in range(2)]


def test_what_cannot_be_read_holds_up_nothing() -> None:
    """Nor does one that nobody has described yet."""
    rig = Rig(broken=ONE)
    rig.add(ONE, THREE, TWO)
    assert [[ONE], [THREE], [TWO]] == [rig.turn() for _ in range(3)]
    assert rig.instances.known[TWO].rendered


def test_nothing_is_read_after_the_end() -> None:
    """What waited is forgotten."""
    rig = Rig()
    rig.add(ONE, TWO)
    rig.turn()
    rig.read_ahead.stop()
    assert [] == rig.turn()
