"""The rule that nft cannot write everywhere: the queue rule."""

from __future__ import annotations

import struct

import pytest

from vagent.datapath.names import Names
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.netlink_rules import netlink_rules
from vagent.kernel.nf_tables import IPV4, IPV6


@pytest.mark.parametrize("ipv6", [False, True])
def test_without_nft_queue_each_family_gets_the_xt_rule(
    names: Names, *, ipv6: bool
) -> None:
    """Into the closed chain of each family's own table, all with one queue."""
    steps = netlink_rules(names, Features(nft_queue=False, ipv6=ipv6))
    assert [("rule of to_agent",)] * len(steps) == [step.about for step in steps]
    assert [IPV4, IPV6][: 1 + ipv6] == [step.family for step in steps]
    for step in steps:
        assert struct.pack("=HHH", names.queue_number, 1, 0) in step.payload


def test_what_nft_can_write_is_not_written_twice(names: Names) -> None:
    """The text has it then."""
    assert [] == netlink_rules(names, Features(nft_queue=True, ipv6=True))
