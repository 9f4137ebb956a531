"""A socket of the kernel's news is the reactor's until it is closed."""

from __future__ import annotations

from typing import Any, cast
from unittest.mock import Mock

import pytest

from vagent.transport.netlink_reader import NetlinkReader


class News(NetlinkReader):
    """Nothing but a name."""


@pytest.fixture
def reader() -> tuple[NetlinkReader, Any, Any]:
    """One that reads from a socket, its reactor and that socket."""
    reactor, link = Mock(), Mock()
    link.fileno.return_value = 7
    made = News(reactor)
    made.read_from(link)
    return made, reactor, link


def test_it_is_read_until_it_is_closed(reader: tuple[NetlinkReader, Any, Any]) -> None:
    """And closed once."""
    made, reactor, link = reader
    reactor.addReader.assert_called_once_with(made)
    assert (7, "News") == (made.fileno(), made.logPrefix())
    made.close()
    made.close()
    reactor.removeReader.assert_called_once_with(made)
    link.close.assert_called_once_with()
    assert -1 == made.fileno()


def test_a_descriptor_that_was_given_up_is_closed(
    reader: tuple[NetlinkReader, Any, Any],
) -> None:
    """As the reactor does at its end."""
    made, _, link = reader
    made.connectionLost(cast("Any", None))
    link.close.assert_called_once_with()


def test_what_the_news_are_is_not_known_here(
    reader: tuple[NetlinkReader, Any, Any],
) -> None:
    """A subclass reads."""
    with pytest.raises(NotImplementedError):
        reader[0].doRead()
