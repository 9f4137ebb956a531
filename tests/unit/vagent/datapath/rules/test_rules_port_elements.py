"""Attachments become steps: which, in which order, about whom."""

from __future__ import annotations

from dataclasses import replace

from vagent.datapath.names import Names
from vagent.datapath.rules.port_elements import change_of_ports
from vagent.datapath.state import Attachment
from vagent.kernel.nf_tables import MAX_ELEMENTS

ADD, DELETE = 0xA0C, 0xA0E


def test_a_port_with_one_address_is_no_transaction(
    names: Names, alice: Attachment, bob: Attachment
) -> None:
    """What the taps need is in maps of their own."""
    assert [] == change_of_ports(names, [alice], [bob], ipv6=True)


def test_what_a_port_may_open_is_told_to_the_table_that_counts(
    names: Names, alice: Attachment
) -> None:
    """Of a port with several addresses; where IPv6 is not carried, in IPv4's."""
    further = replace(alice, index=258, port=2)
    for ipv6, family in ((True, 1), (False, 2)):
        (step,) = change_of_ports(names, [], [further], ipv6=ipv6)
        assert (ADD, family) == (step.kind, step.family)
        assert ("map port_of, tap tap-alice",) == step.about
        assert step.payload.endswith(
            bytes.fromhex("0c000180 06000100 01020000 0c000280 08000100 02000000")
        )


def test_what_goes_goes_first(names: Names, alice: Attachment, bob: Attachment) -> None:
    """An index may move from one port to another in one transaction."""
    gone, come = replace(alice, port=2), replace(bob, index=2, port=9)
    steps = change_of_ports(names, [gone], [come], ipv6=True)
    assert [DELETE, ADD] == [each.kind for each in steps]


def test_many_are_few_messages(names: Names, alice: Attachment) -> None:
    """Not one for each."""
    many = [replace(alice, index=i, port=2) for i in range(2, MAX_ELEMENTS + 3)]
    steps = change_of_ports(names, [], many, ipv6=True)
    assert [MAX_ELEMENTS, 1] == [len(step.about) for step in steps]
