"""Does something else on this host serve 169.254.169.254 already? A guest's metadata is
taken from nobody, so then nothing is registered until the operator says so. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vagent.config.metadata_address import METADATA_ADDRESS

NEUTRON = re.compile(r"(?:ovnmeta|qdhcp|qrouter)-[0-9a-f-]+")
"""Network namespaces of Neutron's agents (OVN metadata, DHCP, L3), in which they answer
for the metadata address."""
_LOCAL = re.compile(rf"\|-- {re.escape(str(METADATA_ADDRESS))}\n\s+/32 host LOCAL")


def served_elsewhere(fib_trie: str, namespaces: Iterable[str]) -> str:
    """Who else serves the address, in words; "" where nobody was found. `fib_trie` is
    /proc/net/fib_trie, `namespaces` are the names in /run/netns.
    """
    if _LOCAL.search(fib_trie):
        return f"an interface of this host has the address {METADATA_ADDRESS}"
    neutron = sorted(name for name in namespaces if NEUTRON.fullmatch(name))
    if neutron:
        return f"Neutron serves metadata in the network namespace {neutron[0]}"
    return ""
