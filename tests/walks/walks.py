"""Four walks through the product, each recorded from its first line to its last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.walks.footsteps import Footsteps
from tests.walks.house import DNS, METADATA, NTP, House
from tests.walks.machine import Packet, opening_packet
from vagent.datapath.state import INDEX_BITS, LISTENER

Identities = tuple[str, ...]

Walk = Callable[[House, Identities, Footsteps], None]
"""Goes, for the guest of these identities, and stops the recording where it ends."""


def packet_to_verdict(house: House, identities: Identities, steps: Footsteps) -> None:
    """From a packet to a service of other machines, as NFQUEUE hands it over, to its
    verdict.
    """
    packet = Packet(opening_packet(identities[0]), reached=steps.stop)
    steps.start()
    house.queue.trap(packet)
    assert packet.mark >> INDEX_BITS > LISTENER


def request_to_upstream(house: House, identities: Identities, steps: Footsteps) -> None:
    """From a guest's new connection to its first request's bytes to nova-api, over a
    connection that is opened for it.
    """
    before = len(house.machine.sent)
    house.machine.reached = steps.stop
    steps.start()
    house.request(identities[0])
    (sent,) = house.machine.sent[before:]
    assert b"X-Instance-ID-Signature" in sent


def service_to_kernel(house: House, identities: Identities, steps: Footsteps) -> None:
    """From Contrail's PUT of one more service to the script that nft gets."""
    before = len(house.machine.scripts)
    house.machine.reached = steps.stop
    steps.start()
    house.provision(METADATA, NTP, DNS)
    (script,) = house.machine.scripts[before:]
    assert b"192.0.2.53" in script


def who_is_this_guest(house: House, identities: Identities, steps: Footsteps) -> None:
    """From the address of a connection to the guest's signed headers, for each of its
    three addresses.
    """
    steps.start()
    found = [house.identify(identity) for identity in identities]
    steps.stop()
    addresses = [one.caller.guest_address for one in found]
    assert ["10.0.0.5", "10.0.0.6", "2001:db8::5"] == addresses


WALKS: dict[str, Walk] = {
    "trapped packet to verdict": packet_to_verdict,
    "request to upstream": request_to_upstream,
    "service to kernel": service_to_kernel,
    "who is this guest?": who_is_this_guest,
}


def record(walk: Walk) -> Footsteps:
    """Take the walk for one guest unrecorded, so that imports and first times are
    over, then for another one.
    """
    with TemporaryDirectory() as folder:
        house = House(Path(folder))
        try:
            first, second = house.add_guest(1), house.add_guest(2)
            house.warm_up(first)
            steps = Footsteps()
            try:
                walk(house, second, steps)
            finally:
                steps.stop()
        finally:
            house.close()
    return steps


def table(recorded: dict[str, Footsteps]) -> str:
    """The counts of all walks, a line each."""
    lines = [f"{'walk':<28}{'files':>6}{'stays':>7}{'returns':>9}"]
    lines += [
        f"{name:<28}{steps.files:>6}{len(steps.stays):>7}{steps.returns:>9}"
        for name, steps in recorded.items()
    ]
    return "\n".join(lines)
