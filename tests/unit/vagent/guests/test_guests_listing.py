"""Promises of vagent.guests.listing: each guest with what it gets and what is wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.vagent.guests import nova_domains as made
from vagent.guests.domain import Domain
from vagent.guests.domain_xml import read_domain
from vagent.guests.listing import guest_rows

PLAIN = read_domain(made.PLAIN)
ASKING = replace(PLAIN, smbios=read_domain(made.OVN).smbios)
PORT = {
    "id": made.PORT,
    "system-name": "vnet0",
    "mac-address": "52:54:00:00:00:01",
    "instance-id": made.INSTANCE,
    "ip-address": "192.168.122.7",
    "owner": "watcher",
    "state": "Active",
}


def only(domain: Domain, *ports: Any, **how: bool) -> dict[str, Any]:
    """The one row of a domain."""
    how = {"is_running": True, "serve_nova": False} | how
    [row] = guest_rows(domain, ports, **how)
    return row


def test_a_guest_that_is_well() -> None:
    """Nothing is wrong, and all that one wants to know is there."""
    assert {
        "name": "instance-0000000e",
        "uuid": made.INSTANCE,
        "is-running": True,
        "asks": "openstack",
        "made-by": "",
        "tap": "vnet0",
        "mac": "52:54:00:00:00:01",
        "address": "192.168.122.7",
        "port": made.PORT,
        "owner": "watcher",
        "state": "Active",
        "wrong": [],
    } == only(ASKING, PORT)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"instance-id": made.PORT2},
            f"another instance's: vagentctl port del {made.PORT}",
        ),
        (
            {"mac-address": "52:54:00:00:00:02"},
            "another MAC address: 52:54:00:00:00:02",
        ),
        ({"state": "Inactive < no-dev >"}, "port is Inactive < no-dev >"),
        ({"system-name": "vnet9"}, "journalctl -u vagent-libvirt"),
    ],
)
def test_a_port_that_does_not_fit(changes: dict[str, str], said: str) -> None:
    """What is wrong is said, and what to do."""
    [wrong] = only(ASKING, PORT | changes)["wrong"]
    assert said in wrong


def test_a_guest_whose_cloud_init_will_not_ask() -> None:
    """Running or not; the command that mends it is named."""
    wrong = ["cloud-init will not ask: vagentctl libvirt prepare instance-0000000e"]
    assert wrong == only(PLAIN, PORT)["wrong"]
    assert wrong == only(PLAIN, is_running=False)["wrong"]


def test_novas_guests_and_taps_that_cannot_be() -> None:
    """Why they have no port."""
    nova = read_domain(made.OVN)
    assert ["left alone: libvirt/nova-domains is leave in agent.conf"] == only(nova)[
        "wrong"
    ]
    assert "nova" == only(nova)["made-by"]
    assert "journalctl" in only(nova, serve_nova=True)["wrong"][0]
    odd = replace(ASKING, interfaces=(replace(PLAIN.interfaces[0], tap="a;b"),))
    assert "<system-name>" in only(odd)["wrong"][0]


def test_a_guest_without_a_tap() -> None:
    """Its kinds of interfaces are named while it runs."""
    bare = replace(ASKING, interfaces=(), unserved=("user", "direct", "user"))
    assert ["no interface with a tap: direct, user"] == only(bare)["wrong"]
    assert [] == only(bare, is_running=False)["wrong"]
