"""Promises of vagent.web.places: nobody takes all connections of a site."""

from __future__ import annotations

from vagent.web.places import FOR_ROOT, MAX_CONNECTIONS, SHARE, Places


def taken(places: Places, uid: int | None) -> int:
    """How many places this user gets."""
    count = 0
    while places.take(uid):
        count += 1
    return count


def test_the_share_of_one_operator_and_of_all_others() -> None:
    """Half each, but the last places are root's."""
    places = Places()
    assert SHARE == taken(places, None)
    assert SHARE - FOR_ROOT == taken(places, 5)
    assert 0 == taken(places, 6)
    assert FOR_ROOT == taken(places, 0)
    assert (MAX_CONNECTIONS, 0) == (len(places), taken(places, 0))
    assert SHARE == taken(Places(), 5)


def test_root_may_have_all() -> None:
    """As long as nobody else has some."""
    assert MAX_CONNECTIONS == taken(Places(), 0)


def test_a_place_that_is_left() -> None:
    """Is the next one's."""
    places = Places()
    taken(places, None)
    places.leave(None)
    assert (SHARE - 1, 1) == (len(places), taken(places, None))
    for _ in range(SHARE):
        places.leave(None)
    assert 0 == len(places)
