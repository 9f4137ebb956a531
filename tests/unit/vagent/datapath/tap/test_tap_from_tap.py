"""The text of the program at the taps; what it does is tried by the kernel in
`tests/system/test_tap_from_tap.py` and beside it.
"""

from __future__ import annotations

from dataclasses import replace

from vagent.datapath.tap.from_tap import from_tap
from vagent.datapath.tap.layout import Constants, MapNumbers

CONSTANTS = Constants(
    guest_side=7,
    host_mac=bytes.fromhex("020000000077"),
    service_mac=bytes.fromhex("0200a9fea9fe"),
    identity_base=0xA9FE4000,
    identity_prefix6=bytes.fromhex("fd400140"),
    fast_path=False,
)
MAPS = MapNumbers(*range(11, 20))


def test_the_same_constants_make_the_same_program() -> None:
    """A start knows a program that it can adopt by its text."""
    assert from_tap(CONSTANTS, MAPS) == from_tap(CONSTANTS, MAPS)


def test_each_constant_that_matters_here_changes_it() -> None:
    """The base of the IPv4 range does not: the map has each identity."""
    text = from_tap(CONSTANTS, MAPS)
    for other in (
        replace(CONSTANTS, guest_side=8),
        replace(CONSTANTS, host_mac=bytes(6)),
        replace(CONSTANTS, service_mac=bytes(6)),
        replace(CONSTANTS, identity_prefix6=bytes.fromhex("fd400141")),
    ):
        assert from_tap(other, MAPS) != text
    assert from_tap(replace(CONSTANTS, identity_base=0xA9FE0000), MAPS) == text


def test_each_map_but_those_of_replies_is_used() -> None:
    text = from_tap(CONSTANTS, MAPS)
    for name in ("service", "identity", "guest", "tap", "refused", "news", "probe"):
        assert from_tap(CONSTANTS, MAPS._replace(**{name: 99})) != text
    assert from_tap(CONSTANTS, MAPS._replace(reply=99, lost=99)) == text
