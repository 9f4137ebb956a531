"""What libvirt's `<bandwidth>`, Open vSwitch's policing and CNI's bandwidth plug-in
do at the ingress of a tap, before and after the agent: both go on working.
"""

from __future__ import annotations

import json
import shlex
import sys
from typing import Any

import pytest

from lab.agent import configuration
from lab.guests import Guest
from lab.namespaces import LabError
from lab.waiting import wait_for
from tests.system.tap_counts import programs_at

pytestmark = [pytest.mark.system, pytest.mark.kernel]

USER_DATA = "/latest/user-data"
REMOVE = "qdisc del dev {tap} ingress\n"
ADD = "qdisc add dev {tap} ingress\n"
FILTER = """filter add dev {tap} parent ffff: protocol all {order} u32 match u32 0 0 \
flowid 1:1 action mirred egress redirect dev theirs
"""
OTHERS = {
    "libvirt": "qdisc del dev {tap} root\n" + REMOVE + ADD + FILTER,
    "open-vswitch": REMOVE + ADD + FILTER.replace("{order}", "prio 49"),
    "cni": ADD + FILTER,
}
"""What each of them tells the kernel (virnetdevbandwidth.c, netdev-linux.c,
ifb_creator.go), as commands of tc. The filters of the first two limit; here all of them
redirect to an interface, which counts.
"""
REMOVES = ("libvirt", "open-vswitch")
"""Who removes first what is there."""


def interfere(site: Any, guest: Guest, who: str) -> None:
    """Do what they do."""
    host = site.lab.host
    host.run("ip", "link", "add", "theirs", "type", "ifb")
    host.run("ip", "link", "set", "theirs", "up")
    text = OTHERS[who].format(tap=guest.tap, order="")
    host.run("tc", "-force", "-batch", "-", text=text, check=False)
    assert "u32" in shown(site, guest)


def shown(site: Any, guest: Guest) -> str:
    """The filters at the guest's tap."""
    said: str = site.lab.host.run("tc", "filter", "show", "dev", guest.tap, "ingress")
    return said


def remove(site: Any, guest: Guest) -> None:
    """What all of them do when there is no limit any more."""
    site.lab.host.run("tc", *REMOVE.format(tap=guest.tap).split())


def their_hits(site: Any) -> int:
    """How many packets the filter of the others has redirected."""
    (link,) = json.loads(site.lab.host.run("ip", "-j", "-s", "link", "show", "theirs"))
    found: int = link["stats64"]["rx"]["packets"]
    return found


def works(site: Any, ask: Any, guest: Guest) -> None:
    """Both do: the guest is served, though their filter takes everything, and what it
    sends elsewhere meets their filter.
    """
    assert f"I am {guest.name}\n" == ask(guest, USER_DATA)
    assert 1 == programs_at(site.lab.host, guest.tap)
    before = their_hits(site)
    guest.machine.run("curl", "-s", "-m", "2", "http://10.0.0.1/", check=False)
    assert their_hits(site) > before


@pytest.mark.parametrize("who", OTHERS)
def test_others_before_the_agent(site: Any, ask: Any, who: str) -> None:
    """Their queueing discipline is used, and their filter stays."""
    guest = site.alice()
    interfere(site, guest, who)
    site.introduce(guest)
    site.provision()
    works(site, ask, guest)


@pytest.mark.parametrize("who", REMOVES)
def test_others_after_the_agent(site: Any, ask: Any, who: str) -> None:
    """They remove the agent's filter with all others, and it comes back at once; as
    well when they take their limit away.
    """
    guest = site.alice()
    site.introduce(guest)
    site.provision()
    assert "I am alice\n" == ask(guest, USER_DATA)
    interfere(site, guest, who)
    wait_for(lambda: programs_at(site.lab.host, guest.tap), (1).__eq__)
    works(site, ask, guest)
    remove(site, guest)
    wait_for(lambda: programs_at(site.lab.host, guest.tap), (1).__eq__)
    assert "I am alice\n" == ask(guest, USER_DATA)


def test_who_removes_nothing_is_refused(site: Any, ask: Any) -> None:
    """The plug-in of CNI adds `ingress` and fails where there is a discipline: it has
    to come before the port. The guest is served all the same.
    """
    guest = site.alice()
    site.introduce(guest)
    site.provision()
    assert "I am alice\n" == ask(guest, USER_DATA)
    with pytest.raises(LabError, match="Exclusivity flag on"):
        site.lab.host.run("tc", *ADD.format(tap=guest.tap).split())
    assert "I am alice\n" == ask(guest, USER_DATA)


def test_last_leaves_it_to_others(idle_site: Any, ask: Any) -> None:
    """What they take is not served, and the doctor names them; when they go, the
    guest is served.
    """
    site = idle_site
    extra = "<data-path><tap-priority>last</tap-priority></data-path>"
    site.agent.config = configuration(site.folder, extra=extra)
    site.agent.start()
    guest = site.alice()
    interfere(site, guest, "libvirt")
    site.introduce(guest)
    site.provision()
    assert "" == ask(guest, USER_DATA, timeout=2)
    assert their_hits(site)
    (told,) = in_front(site)
    assert f"filter u32 (49152) runs before the agent's program at {guest.tap}" in told
    remove(site, guest)
    wait_for(lambda: programs_at(site.lab.host, guest.tap), (1).__eq__)
    assert "I am alice\n" == ask(guest, USER_DATA)
    assert [] == in_front(site)


def in_front(site: Any) -> list[str]:
    """What the doctor says of programs that run before the agent's."""
    host = site.lab.host
    argv = [sys.executable, "-m", "vagent.ctl", "-o", "json"]
    argv += ["--config", str(site.agent.conf), "doctor"]
    command = ["sh", "-c", f"{shlex.join(argv)}; true"]
    checks = json.loads(host.run(*host.with_bpf_files(command)))["checks"]
    found = [each["what"] for check in checks for each in check["findings"]]
    return [each for each in found if "runs before" in each]
