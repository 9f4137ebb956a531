"""Promises of guest.hops: a distance from a TTL, and none from nonsense."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagent.metadata.guest.hops import hops_of, keep_opening_packets, opening_packet


def ipv4(ttl: int) -> bytes:
    return b"\x45" + bytes(7) + bytes((ttl,)) + bytes(51)


def ipv6(hops: int) -> bytes:
    return b"\x60" + bytes(6) + bytes((hops,)) + bytes(72)


@pytest.mark.parametrize("packet", [ipv4, ipv6])
@pytest.mark.parametrize(
    ("ttl", "hops"),
    [
        *((64, 0), (63, 1), (60, 4), (1, 63), (0, 64)),
        *((128, 0), (127, 1), (65, 63), (255, 0), (254, 1), (129, 126)),
    ],
)
def test_hops_are_what_is_missing_of_a_usual_ttl(
    packet: Any, ttl: int, hops: int
) -> None:
    """Linux begins with 64, Windows with 128, routers with 255."""
    assert hops == hops_of(packet(ttl))


@given(st.binary(max_size=60))
def test_any_bytes_give_a_distance(packet: bytes) -> None:
    """What is cut short or no IP at all is no distance."""
    hops = hops_of(packet)
    assert 0 <= hops <= 126
    if len(packet) < 8 or packet[0] >> 4 not in (4, 6):
        assert 0 == hops


def test_the_kernel_s_option_is_asked_once_and_may_fail() -> None:
    """Numbers of linux/tcp.h; a connection that is gone has no packet."""
    asked: list[tuple[int, ...]] = []

    class Handle:
        def setsockopt(self, *option: int) -> None:
            asked.append(option)

        def getsockopt(self, *option: int) -> bytes:
            asked.append(option)
            if len(asked) > 2:
                raise OSError
            return ipv4(63)

        def getHandle(self) -> Handle:
            return self

    handle: Any = Handle()
    keep_opening_packets(handle)
    assert ipv4(63) == opening_packet(handle)
    assert b"" == opening_packet(handle)
    assert (socket.IPPROTO_TCP, 27, 1) == asked[0]
    assert (socket.IPPROTO_TCP, 28) == asked[1][:2]
