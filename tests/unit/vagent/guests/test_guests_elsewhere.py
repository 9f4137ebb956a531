"""Promises of vagent.guests.elsewhere: who else serves guests is found."""

from __future__ import annotations

import pytest

from vagent.guests.elsewhere import served_elsewhere

TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     +-- 169.254.0.0/16 2 0 2
        |-- {}
           /32 host LOCAL
Local:
"""


def test_an_interface_with_the_address() -> None:
    """Another address of the range says nothing, nor does a route to it."""
    assert "address 169.254.169.254" in served_elsewhere(
        TRIE.format("169.254.169.254"), []
    )
    assert "" == served_elsewhere(TRIE.format("169.254.64.1"), [])
    route = TRIE.format("169.254.169.254").replace("host LOCAL", "link UNICAST")
    assert "" == served_elsewhere(route, [])


@pytest.mark.parametrize("kind", ["ovnmeta", "qdhcp", "qrouter"])
def test_a_namespace_of_neutrons(kind: str) -> None:
    """By the names that its agents give; others are nobody's."""
    name = f"{kind}-476212e4-4c1b-46c2-a4af-c1ddefba9215"
    assert name in served_elsewhere("", ["blue", name])
    assert "" == served_elsewhere("", ["blue", f"x{name}", kind])
