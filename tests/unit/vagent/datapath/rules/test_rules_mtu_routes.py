"""Guests whose tap has another MTU have a route that says so."""

from __future__ import annotations

from dataclasses import replace

from vagent.datapath.names import Names
from vagent.datapath.rules.mtu_routes import flush, routes
from vagent.datapath.state import Attachment


def test_a_usual_tap_needs_no_route(names: Names, alice: Attachment) -> None:
    """That of the whole range is right for it."""
    assert "" == routes(names, [alice], [alice], ipv6=True)


def test_another_mtu_is_said_for_each_identity(names: Names, alice: Attachment) -> None:
    """What goes, goes first; IPv6 has one for all addresses of an index."""
    small, large = replace(alice, mtu=1280), replace(alice, index=3, mtu=9000)
    large = replace(large, identity=alice.identity + 1)
    assert (
        "route del 169.254.64.2/32\n"
        "route del fd40:140:2::/48\n"
        "route replace 169.254.64.3/32 dev vagent1 proto 186 mtu 9000\n"
        "route replace fd40:140:3::/48 dev vagent1 proto 186 mtu lock 9000\n"
    ) == routes(names, [small], [large], ipv6=True)
    assert "route del 169.254.64.2/32\n" == routes(names, [small], [], ipv6=False)


def test_what_an_earlier_agent_left_is_flushed(names: Names) -> None:
    """No other route of the interface."""
    assert "route flush dev vagent1 proto 186\n" == flush(names)
