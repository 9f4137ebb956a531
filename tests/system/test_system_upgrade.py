"""An agent that comes after another one, of its own version or of the one whose rules
at the taps were nftables chains; and where the kernel refuses it eBPF.
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
from lab.namespaces import Machine, inside
from lab.waiting import wait_for
from tests.system.offers import datagrams
from tests.system.tap_counts import detach_programs, programs_at
from tests.system.test_system_flows import ECHO
from tests.system.test_system_in_force import tables
from tests.system.test_system_life import Talk, more, offer_echo
from vagent.kernel import tc

pytestmark = [pytest.mark.system, pytest.mark.kernel]

USER_DATA = "/latest/user-data"
WITHOUT_BPF = "-all,+net_admin,+net_raw,+net_bind_service,+dac_read_search"
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
delete table inet vagent
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
"""And its limit of new flows, whose sets had keys of another length."""


def make_former(site: Any, guest: Guest) -> None:
    """Put what that version left in the place of what ours did, without a gap: pins,
    programs and their queueing disciplines go.
    """
    host = site.lab.host
    text = AT_TAP.format(
        tap=guest.tap,
        mac=guest.mac,
        address=guest.address,
        identity=site.identity(guest),
        service_mac="02:00:a9:fe:a9:fe",
    )
    site.agent.stop(signal.SIGKILL)
    host.run("nft", "-f", "-", text=text + ABOVE)
    for interface in (guest.tap, "vagent0"):
        detach_programs(host, interface)
        for kind in ("clsact", "ingress"):
            host.run("tc", "qdisc", "del", "dev", interface, kind, check=False)
    shutil.rmtree(host.bpf_files / "vagent")
    for side in ("vagent0", "vagent1"):
        host.run("ip", "link", "set", side, "mtu", "1500")
    host.run("ip", "-6", "address", "flush", "dev", "vagent1")
    host.run("ip", "address", "add", "fd40:140:1::1/32", "dev", "vagent1", "nodad")
    if not vlan.missing():
        tagged = ("name", "vagent2", "type", "vlan", "id", "4093")
        host.run("ip", "link", "add", "link", "vagent0", *tagged)


def test_flows_of_the_version_before_go_on(site: Any, ask: Any) -> None:
    """Not a byte of a TCP stream is missing, and a flow of datagrams goes on. What that
    version left is gone, and ours is there. (That each datagram arrives cannot be had:
    while an interface gets its first queueing discipline the kernel drops what leaves
    by it, for some milliseconds.)
    """
    guest = site.alice()
    site.introduce(guest)
    site.provision()
    offer_echo(site)
    with datagrams(guest, *ECHO) as flow, Talk(guest, socket.SOCK_STREAM) as stream:
        assert b"X" == more(flow, b"x")
        make_former(site, guest)
        assert 0 == programs_at(site.lab.host, guest.tap)
        carried = len(stream.echoed)
        wait_for(lambda: len(stream.echoed) > carried + 100)
        site.agent.start()
        carried = len(stream.echoed)
        wait_for(lambda: len(stream.echoed) > carried + 100)
        flow.settimeout(1)
        wait_for(lambda: more(flow, b"y"), b"Y".__eq__)
    assert stream.sent == stream.echoed.lower()
    assert not [each for each in tables(site) if each.startswith("netdev")]
    assert "vagent2" not in site.lab.host.run("ip", "link")
    assert 1 == programs_at(site.lab.host, guest.tap)
    assert 1 == programs_at(site.lab.host, "vagent0")
    assert "I am alice\n" == ask(guest, USER_DATA)
    routes = site.lab.host.run("ip", "-6", "route", "show", "dev", "vagent1")
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
    """One of our commands, without the capability to use eBPF."""
    command = [sys.executable, "-m", *argv]
    bounds = f"--bounding-set={WITHOUT_BPF}"
    return subprocess.run(
        machine.argv(*machine.with_bpf_files(["setpriv", bounds, *command])),
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
