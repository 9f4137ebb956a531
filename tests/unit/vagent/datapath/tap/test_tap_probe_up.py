"""The program of a probe. What it does is tried in the kernel."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from vagent.datapath.tap.probe_up import ProbePath, probe_up

PATH = ProbePath(7, 0x1234, IPv4Address("169.254.169.254"))


@pytest.mark.parametrize(
    "other",
    [
        replace(PATH, tap=8),
        replace(PATH, mark=0x1235),
        replace(PATH, service=IPv4Address("169.254.169.253")),
        replace(PATH, service=IPv4Address("168.254.169.254")),
        replace(PATH, vlan=7),
        replace(PATH, is_service_tag=True),
        replace(PATH, vlan=7, is_service_tag=True),
    ],
)
def test_everything_about_its_path_is_in_it(other: ProbePath) -> None:
    assert probe_up(other) != probe_up(PATH)
    assert probe_up(other) == probe_up(replace(other))
