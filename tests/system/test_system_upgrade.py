"""An agent that comes after another one: of its own version, or of those that had
everything in the host's own network, first with chains at the taps, then with programs.
And where the kernel refuses it eBPF.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from functools import partial
from typing import Any

import pytest

from lab import vlan
from lab.agent import SOURCE
from lab.guests import Guest
from lab.namespaces import Machine, inside, run
from lab.waiting import wait_for
from tests.system.offers import datagrams
from tests.system.tap_counts import detach_programs, programs_at
from tests.system.test_system_flows import ECHO
from tests.system.test_system_life import more, offer_echo
from vagent.kernel import tc

pytestmark = [pytest.mark.system, pytest.mark.kernel]

USER_DATA = "/latest/user-data"
WITHOUT_BPF = """
import ctypes, os, platform, struct, sys
number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
steps = struct.pack("=HBBIHBBIHBBIHBBI",
    0x20, 0, 0, 0, 0x15, 0, 1, number, 0x06, 0, 0, 0x00050001, 0x06, 0, 0, 0x7FFF0000)
buffer = ctypes.create_string_buffer(steps)
program = ctypes.create_string_buffer(
    struct.pack("=H6xQ", 4, ctypes.addressof(buffer)))
assert not ctypes.CDLL(None).prctl(22, 2, ctypes.byref(program), 0, 0)
os.execv(sys.executable, [sys.executable, "-m", *sys.argv[1:]])
"""
"""Refuses bpf(2) with EPERM by a seccomp filter, as a unit's SystemCallFilter does, and
becomes one of our commands.
"""
AT_TAP = """
table netdev vagent {{
  counter spoofed {{ }}
  map identity {{
    typeof iifname . ether saddr . ip saddr : ip saddr
    elements = {{ "{tap}" . {mac} . {address} : {identity} }}
  }}
  chain from_vm {{
    type filter hook ingress device "{tap}" priority -300
    ip daddr != 169.254.0.0/16 accept
    ip saddr set iifname . ether saddr . ip saddr map @identity \
ether daddr set {service_mac} fwd to "vagent0"
    counter name spoofed drop
  }}
  chain to_vm {{
    type filter hook ingress device "vagent0" priority -300
    ip daddr {identity} ip daddr set {address} \
ether saddr set {service_mac} ether daddr set {mac} fwd to "{tap}"
    drop
  }}
}}
"""
"""What that version had at a tap, as far as a flow over IPv4 needs it."""
ABOVE = """
table ip vagent {
  chain guard { type filter hook prerouting priority -300; \
iifname != "vagent1" ip saddr 169.254.64.0/18 drop; }
  chain trap { type filter hook prerouting priority -150; \
iifname "vagent1" ct state new drop; }
}
table ip6 vagent {
  chain guard { type filter hook prerouting priority -300; }
}
table inet vagent {
  counter too_fast { }
  set opening {
    typeof tcp sequence; size 65536; flags dynamic; timeout 1m
    elements = { 2 limit rate over 1000/second burst 1000 packets }
  }
  chain open {
    type filter hook prerouting priority -151
    iifname != "vagent1" accept
    ct state != new accept
    meta nfproto ipv4 add @opening { @nh,96,32 & 0x3fff limit rate over 1000/second \
burst 1000 packets } drop
  }
}
"""
"""And above, in the host's own network, as far as it would stop or let through
packets.
"""


def make_former(site: Any, guest: Guest, *, chains: bool) -> None:
    """Put what such a version left in the place of what ours did: with `chains` that
    which had chains at the taps, and no programs and pins.
    """
    host, identity = site.lab.host, site.identity(guest)
    site.agent.stop(signal.SIGKILL)
    host.run("nft", "flush", "ruleset")
    host.run("ip", "link", "del", "vagent0")
    run("ip", "netns", "del", site.agent.data_path.name)
    wait_for(lambda: "vagentu" not in host.run("ip", "link"))
    pair = ("vagent0", "type", "veth", "peer", "name", "vagent1")
    host.run("ip", "link", "add", *pair)
    for side in ("vagent0", "vagent1"):
        host.run("ip", "link", "set", side, "up")
    host.run("ip", "address", "add", "169.254.64.1/18", "dev", "vagent1")
    host.run("ip", "address", "add", "fd40:140:1::1/32", "dev", "vagent1", "nodad")
    host.run("nft", "-f", "-", text=ABOVE)
    if not chains:
        return
    detach_programs(host, guest.tap)
    for kind in ("clsact", "ingress"):
        host.run("tc", "qdisc", "del", "dev", guest.tap, kind, check=False)
    shutil.rmtree(host.bpf_files / "vagent")
    at_tap = AT_TAP.format(
        tap=guest.tap,
        mac=guest.mac,
        address=guest.address,
        identity=identity,
        service_mac="02:00:a9:fe:a9:fe",
    )
    host.run("nft", "-f", "-", text=at_tap)
    if not vlan.missing():
        tagged = ("name", "vagent2", "type", "vlan", "id", "4093")
        host.run("ip", "link", "add", "link", "vagent0", *tagged)


@pytest.mark.parametrize("chains", [True, False])
def test_what_a_version_before_left_is_replaced(
    site: Any, ask: Any, chains: bool
) -> None:
    """Its tables and interfaces are gone from the host, and ours are there. Guests are
    served, by metadata and by a service of the host. (Flows under way end, once.)
    """
    guest = site.alice()
    site.introduce(guest)
    site.provision()
    offer_echo(site)
    make_former(site, guest, chains=chains)
    site.agent.start()
    wait_for(lambda: ask(guest, USER_DATA, timeout=1), "I am alice\n".__eq__)
    with datagrams(guest, *ECHO) as flow:
        assert b"X" == more(flow, b"x")
    assert ["table inet vagent"] == site.lab.host.run("nft", "list", "tables").split(
        "\n"
    )[:-1]
    links = site.lab.host.run("ip", "link")
    assert not [name for name in ("vagent1", "vagent2") if name in links]
    assert 1 == programs_at(site.lab.host, guest.tap)
    assert 1 == programs_at(site.lab.host, "vagent0")
    routes = site.agent.data_path.run("ip", "-6", "route", "show", "dev", "vagent1")
    assert 1 == routes.count("fd40:140::/32"), routes


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_start_adopts_what_is_pinned(
    site: Any, ask: Any, how: signal.Signals
) -> None:
    """The same programs go on at the same filters, with the same maps."""
    guest = site.alice()
    site.introduce(guest)
    site.provision()

    def there() -> tuple[list[object], list[str]]:
        host = site.lab.host
        found = [
            each
            for interface in (guest.tap, "vagent0")
            for each in inside(host.name, partial(filters, interface))
        ]
        return found, sorted(map(str, (host.bpf_files / "vagent").iterdir()))

    before = there()
    numbers, pins = before
    assert 2 == len(numbers)
    assert pins
    site.agent.stop(how)
    assert before == there()
    site.agent.start()
    assert before == there()
    assert "I am alice\n" == ask(guest, USER_DATA)


def filters(interface: str) -> list[object]:
    """Ours and others' at an interface, with the numbers of their programs."""
    return [*tc.filters(socket.if_nametoindex(interface))]


def limited(machine: Machine, *argv: str) -> subprocess.CompletedProcess[str]:
    """One of our commands, to which the kernel refuses eBPF."""
    command = [sys.executable, "-c", WITHOUT_BPF, *argv]
    return subprocess.run(
        machine.argv(*machine.with_bpf_files(command)),
        cwd=SOURCE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_where_ebpf_is_refused_the_agent_does_not_start(site: Any) -> None:
    """It ends with 69 and says what is missing; so does the doctor."""
    site.agent.stop()
    ended = limited(site.lab.host, "vagent.cli", "--config", str(site.agent.conf))
    assert 69 == ended.returncode
    assert "it takes CAP_BPF and CAP_NET_ADMIN" in ended.stderr
    doctor = ("vagent.ctl", "--config", str(site.agent.conf), "doctor")
    told = limited(site.lab.host, *doctor)
    assert told.returncode, told.stdout
    assert "eBPF for traffic control" in told.stdout
    assert "CAP_BPF" in told.stdout
