"""Numbers of requests: counted from a random place, of one length when shown."""

from __future__ import annotations

from itertools import islice

from vagent.metadata.request_id import NONE, request_ids, shown


def test_two_counts_do_not_use_the_same_numbers() -> None:
    """The random upper half tells them apart; neither uses NONE."""
    one = list(islice(request_ids(lambda n: b"\x01" * n), 3))
    other = list(islice(request_ids(lambda n: b"\x02" * n), 3))
    assert [0x01010101_00000001, 0x01010101_00000002, 0x01010101_00000003] == one
    assert set() == {NONE, *one} & set(other)
    assert NONE not in one


def test_there_is_room_for_a_carry() -> None:
    """Whatever is drawn, the first bit is not used."""
    assert 0x7FFFFFFF_00000001 == next(request_ids(lambda n: b"\xff" * n))


def test_a_number_is_shown_with_all_its_digits() -> None:
    """16 hexadecimal digits, so that a search for one finds no other."""
    assert "0000000000000001" == shown(1)
    assert "7fffffff00000001" == shown(0x7FFFFFFF_00000001)
