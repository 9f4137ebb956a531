"""The text of the program towards guests; what it does is tried by the kernel in
`tests/system/test_tap_to_tap.py`.
"""

from __future__ import annotations

from dataclasses import replace

from vagent.datapath.tap.layout import Constants, MapNumbers
from vagent.datapath.tap.to_tap import to_tap

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
    assert to_tap(CONSTANTS, MAPS) == to_tap(CONSTANTS, MAPS)


def test_each_constant_that_matters_here_changes_it() -> None:
    """The rest is from_tap's."""
    text = to_tap(CONSTANTS, MAPS)
    for other in (
        replace(CONSTANTS, service_mac=bytes(6)),
        replace(CONSTANTS, identity_base=0xA9FE0000),
        replace(CONSTANTS, identity_prefix6=bytes.fromhex("fd400141")),
    ):
        assert to_tap(other, MAPS) != text
    for same in (
        replace(CONSTANTS, guest_side=8),
        replace(CONSTANTS, host_mac=bytes(6)),
        replace(CONSTANTS, fast_path=True),
    ):
        assert to_tap(same, MAPS) == text
    assert to_tap(CONSTANTS, MAPS._replace(reply=99)) != text
    assert to_tap(CONSTANTS, MAPS._replace(lost=99)) != text
