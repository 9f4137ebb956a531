"""Whatever a guest or a stranger sends at a tap with a port: no frame for or from a
service address is seen anywhere else. A tap without a port is left alone.
"""

from __future__ import annotations

import itertools
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple

import pytest

from lab.guests import Guest
from lab.namespaces import PATIENCE
from tests.system.nothing_passes_scene import VLAN, Scene, bridged
from tests.system.service_frames import Sender, Tags, bodies, frame, stacks
from tests.system.test_system_identity import ANSWER, wire

pytestmark = [pytest.mark.system, pytest.mark.kernel]

VLANS = (0, VLAN, 8)
SERVED: tuple[Tags, ...] = ((), ((0x8100, 0),), ((0x8100, VLAN),))
"""Tags behind which alice is served."""
FLUSHES = "while :; do echo flush ruleset; sleep 0.001; done | exec nft -i >/dev/null"
STRANGE = bytes.fromhex("020000000099")
SOL_PACKET, PACKET_AUXDATA = 263, 8
AUXDATA = struct.Struct("=IIIHHHH")
"""struct tpacket_auxdata (linux/if_packet.h); its last fields are VLAN and tag type."""
AWAY = {"running": None, "stopped": signal.SIGTERM, "killed": signal.SIGKILL}


class Heard(NamedTuple):
    """A frame, and the tag beside it."""

    data: bytes
    control: int
    kind: int


@pytest.fixture
def scene(site: Any) -> Iterator[Scene]:
    """With an agent that is running."""
    made = Scene(site)
    yield made
    made.close()


def frames(
    sender: Sender, *, all_up_to: int, some: int, deep: int
) -> Iterator[tuple[Tags, bytes]]:
    """Every body behind each stack of so many tags; behind every other stack some, in
    turn. Fewer on a machine that is known to be slow.
    """
    listed = bodies(sender)[:: int(PATIENCE)]
    turn = itertools.cycle(listed)
    few = -(-some // int(PATIENCE))
    for tags in stacks(VLANS, seed=1, deep=deep):
        chosen = listed if len(tags) <= all_up_to else itertools.islice(turn, few)
        for body in chosen:
            yield tags, frame(sender, tags, body)


def everything(scene: Scene, guest: Guest) -> int:
    """What the guest and strangers on its tap may send: sent, and how much it was."""
    own, *strangers = scene.senders(guest)
    count = scene.send(
        guest,
        (data for _, data in frames(own, all_up_to=1, some=40, deep=100)),
    )
    for each in strangers:
        listed = frames(each, all_up_to=0, some=20, deep=50)
        count += scene.send(guest, (data for _, data in listed))
    return count


@pytest.mark.parametrize("agent", AWAY)
def test_nothing_about_a_service_leaves_a_tap(
    site: Any, scene: Scene, agent: str
) -> None:
    """Sent by guests, bridged, with a VLAN and routed, and by strangers on their taps:
    neither a neighbour nor the machine beyond the host sees a frame for or from a
    service address, whether the agent runs, was stopped or was killed.
    """
    how = AWAY[agent]
    if how is not None:
        site.agent.stop(how)
    for guest in (scene.alice, scene.carol):
        assert everything(scene, guest) > 40_000 / PATIENCE
    scene.nothing_late()


def test_nothing_leaves_a_tap_while_rules_are_flushed(site: Any, scene: Scene) -> None:
    """`nft flush ruleset` every millisecond: what the program at the tap itself must
    drop, it drops.
    """
    flushing = site.lab.host.start(
        ["sh", "-c", FLUSHES], stderr=subprocess.DEVNULL, start_new_session=True
    )
    site.started.append(flushing)
    for guest in (scene.alice, scene.carol):
        own, stranger, _ = scene.senders(guest)
        listed = frames(own, all_up_to=0, some=20, deep=50)
        scene.send(guest, (data for tags, data in listed if tags not in SERVED))
        listed = frames(stranger, all_up_to=1, some=20, deep=50)
        scene.send(guest, (data for _, data in listed))
    assert flushing.poll() is None, "the flushing has ended"
    scene.nothing_late()


def test_a_tap_without_a_port_is_left_alone(idle_site: Any) -> None:
    """What comes from it is the same with and without an agent, byte for byte and tag
    for tag, whatever it says about service addresses. (Bridges that hand their frames
    to the host's rules would let conntrack keep fragments; the doctor tells of it.)
    """
    for family in ("ip", "ip6", "arp"):
        name = f"net.bridge.bridge-nf-call-{family}tables"
        idle_site.lab.host.run("sysctl", "-qw", f"{name}=0", check=False)
    dave, gateway = bridged(idle_site, "dave", 6), wire(idle_site.gateway("blue"))
    gateway.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    sender = Sender(STRANGE, IPv4Address("10.0.0.6"), IPv6Address("2001:db8::6"))
    sent = [data for _, data in frames(sender, all_up_to=0, some=3, deep=20)]
    without = passed(dave, gateway, sent)
    idle_site.agent.start()
    alice = bridged(idle_site, "alice", 5)
    idle_site.introduce(alice)
    idle_site.provision()
    assert without == passed(dave, gateway, sent)
    assert len(without) > len(sent) // 2, "the kernel drops what is cut in a tag"
    gateway.close()


def passed(guest: Guest, gateway: socket.socket, sent: list[bytes]) -> list[Heard]:
    """What of that comes to the gateway. The end is the last frame that is no tag."""
    last = b"\xff" * 6 + STRANGE + b"\x88\xb5" + b"the end"
    found: list[Heard] = []
    gateway.settimeout(ANSWER)
    with closing(wire(guest.machine.name)) as raw:
        for batch in (sent[at : at + 100] for at in range(0, len(sent), 100)):
            for each in (*batch, last):
                raw.send(each)
            while (one := heard_with_tag(gateway)).data != last:
                if one.data[6:12] == STRANGE:
                    found.append(one)
    return found


def heard_with_tag(raw: socket.socket) -> Heard:
    """The next frame. The kernel hands its first tag over beside it."""
    data, beside, _, _ = raw.recvmsg(4096, 256)
    tags = [each for *_, each in beside]
    _, _, _, _, _, control, kind = AUXDATA.unpack_from(tags[0])
    return Heard(data, control, kind)
