"""Promises about /proc's tables: what the kernel prints is what is understood."""

from __future__ import annotations

from ipaddress import IPv4Address

from vagent.doctor.sockets import (
    Bound,
    QueueLine,
    parse_bound,
    parse_netlink,
    parse_queues,
)

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: FEA9FEA9:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 419957 1 0
   1: 0100007F:2247 0100007F:CE26 01 00000000:00000000 00:00000000 00000000     0        0 421410 1 0
"""  # noqa: E501 - as the kernel prints it
NETLINK = """\
sk               Eth Pid   Groups   Rmem  Wmem  Dump  Locks  Drops  Inode
0000000077ecb861 0   14680 00000001 0     0     0     2      0      420149
0000000037c94f34 12  14680 00000000 0     0     0     2      0      420148
"""


def test_only_who_listens_counts() -> None:
    """A connection of the same address is none; the address is little-endian."""
    assert [Bound(IPv4Address("169.254.169.254"), 80, 419957)] == parse_bound(TCP)


def test_queues() -> None:
    """Number, owner, waiting, and both kinds of drops together."""
    line = " 8097  14680     5 2   128     3     4        1  1\n\n"
    assert [QueueLine(8097, 14680, 5, 7)] == parse_queues(line)


def test_netfilter_sockets_only() -> None:
    """A port id is unique within one netlink family."""
    assert {14680: 420148} == parse_netlink(NETLINK)
