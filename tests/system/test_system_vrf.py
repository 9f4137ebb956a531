"""A tap in a VRF is served like any other: its frames are taken before routing."""

from __future__ import annotations

from typing import Any

import pytest

from lab.guests import Guest, Wiring
from lab.namespaces import LabError

pytestmark = [pytest.mark.system, pytest.mark.kernel]

USER_DATA = "/latest/user-data"
EXIT_CODE = ("-w", "%{exitcode}")
REFUSED = "7"
"""curl's exit code: somebody is there, and nobody listens."""


@pytest.fixture
def vrfs(site: Any) -> tuple[str, str]:
    """Two routing domains of the host."""
    names = ("red", "gold")
    try:
        for number, name in enumerate(names, start=10):
            add = ("ip", "link", "add", name, "type", "vrf", "table", str(number))
            site.lab.host.run(*add)
            site.lab.host.run("ip", "link", "set", name, "up")
    except LabError as missing:
        pytest.skip(f"this kernel has no VRF ({missing}); see make test-stock-kernel")
    return names


def enslaved(site: Any, name: str, vrf: str) -> Guest:
    """A guest that the host routes for in a VRF; all of them have one address."""
    guest: Guest = site.lab.guest(
        name,
        Wiring.ROUTED,
        address="192.0.2.9/24",
        address6="2001:db8::9/64",
        gateway="192.0.2.1",
    )
    site.lab.host.run("ip", "link", "set", guest.tap, "master", vrf)
    return guest


def test_guests_in_vrfs_get_their_own(site: Any, vrfs: Any, ask: Any) -> None:
    """Two routed guests with one address and one gateway in two VRFs, and a third in
    none: each gets its own, over both families, and its gateway is still there.
    """
    dave, erin = enslaved(site, "dave", vrfs[0]), enslaved(site, "erin", vrfs[1])
    alice = site.alice()
    site.introduce(dave, erin, alice)
    site.provision()
    for guest in (dave, erin, alice):
        assert f"I am {guest.name}\n" == ask(guest, USER_DATA)
    for guest in (dave, erin):
        url = f"http://[fd00:ec2::254]{USER_DATA}"
        assert f"I am {guest.name}\n" == guest.machine.run("curl", "-sS", "-g", url)
        gateway = guest.machine.run(
            "curl", "-s", *EXIT_CODE, "http://192.0.2.1/", check=False
        )
        assert REFUSED == gateway[-1:]


def test_a_tap_may_change_its_vrf(site: Any, vrfs: Any, ask: Any) -> None:
    """In, over and out: the guest is known by its tap, whatever table routes for it."""
    carol = site.carol()
    site.introduce(carol)
    site.provision()
    for move in (("master", vrfs[0]), ("master", vrfs[1]), ("nomaster",)):
        site.lab.host.run("ip", "link", "set", carol.tap, *move)
        assert "I am carol\n" == ask(carol, USER_DATA), move
    listener = "http://169.254.64.1:8097/"
    site.lab.host.run("ip", "link", "set", carol.tap, "master", vrfs[0])
    assert "" == carol.machine.run("curl", "-s", "-m", "2", listener, check=False)
