"""What the kernel's nftables hold: questions as bytes, and the answers as values.

How many rules there are, not which, and whether elements are those that were written:
enough to see that somebody else took some away, and cheap beside thousands of ports.
Also what puts rules out of force while all of them are there: a dormant table, and a
base chain with another policy. The kernel counts its transactions in a number, the
generation; while that stays, nothing has changed at all.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from vagent.errors import KernelError
from vagent.kernel.netlink import (
    NLM_DUMP,
    NLM_REQUEST,
    attribute,
    attributes_in,
    messages,
    netfilter_message,
)

Place = tuple[int, str]
"""The family of a table, and the name of a chain, a set or a map in it."""
Elements = dict[Place, set[bytes]]
"""Elements of sets and maps: the key's bytes, and behind them those of the value."""
Ask = Callable[[bytes], Iterable[tuple[int, bytes]]]
"""Sends a question; kind and body of each message of the answer. Raises KernelError."""

_NFTABLES = 10
_GETTABLE = _NFTABLES << 8 | 1
_GETCHAIN, _GETRULE = _NFTABLES << 8 | 4, _NFTABLES << 8 | 7
_GETSET, _GETELEMENT = _NFTABLES << 8 | 10, _NFTABLES << 8 | 13
NEW_GENERATION, _GETGENERATION = _NFTABLES << 8 | 15, _NFTABLES << 8 | 16
_TABLE = 1
"""The attribute with the table's name, of chains, rules, sets and elements alike."""
_TABLE_FLAGS, _DORMANT = 2, 1
_CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_USE = 3, 4, 5, 6
_RULE_CHAIN, _SET_NAME = 2, 2
_ELEMENTS_SET, _ELEMENTS_LIST = 2, 3
_ELEMENT_KEY, _ELEMENT_VALUE = 1, 2
_KIND = 0x3FFF
"""The bits of an attribute's kind without that for nesting."""
_GENERATION_NUMBER = 1
ACCEPT = 1
"""The policy of a base chain that lets pass what no rule of it decides."""
_FAMILY_HEADER = 4
"""Bytes of nfgenmsg, in front of a message's attributes."""
_NUMBER, _ATTRIBUTE = struct.Struct("!I"), struct.Struct("=HH")


@dataclass(frozen=True, slots=True)
class TableCounts:
    """Tables of one name, in several families: how many rules each chain has, and how
    many elements each set or map. What is not there is missing here, too.

    `policies` has the policy of each base chain, and none of the others. `dormant` has
    the families of tables whose rules the kernel does not apply. `changed` has how many
    elements of a set or map are not there as they were wanted.
    """

    rules: dict[Place, int] = field(default_factory=dict)
    elements: dict[Place, int] = field(default_factory=dict)
    policies: dict[Place, int] = field(default_factory=dict)
    dormant: set[int] = field(default_factory=set)
    changed: dict[Place, int] = field(default_factory=dict)


def encode_generation() -> bytes:
    """The question for the generation."""
    return netfilter_message(
        _GETGENERATION, NLM_REQUEST, sequence=1, family=0, resource=0, payload=b""
    )


def generation_in(reply: bytes) -> int:
    """The generation. Raises KernelError where the kernel says something else."""
    for kind, body in messages(reply):
        number = attributes_in(body[_FAMILY_HEADER:]).get(_GENERATION_NUMBER, b"")
        if kind == NEW_GENERATION and len(number) == _NUMBER.size:
            return int(_NUMBER.unpack(number)[0])
    raise KernelError(f"nf_tables generation: the kernel answers {reply[:32].hex()}")


def rule_place(family: int, payload: bytes) -> Place:
    """The chain that a message about a rule is about, from its attributes."""
    return family, _name(attributes_in(payload).get(_RULE_CHAIN, b""))


def read_counts(
    ask: Ask,
    table: str,
    families: Iterable[int],
    counted: Collection[Place],
    wanted: Callable[[], Elements],
) -> TableCounts:
    """Read the tables of this name. Elements are counted in the sets and maps of
    `counted`, and compared with those that `wanted` gives; of other sets and maps only
    that they are there is told. Raises KernelError.
    """
    found, compared = TableCounts(), wanted()
    for family in families:
        chains = list(_chains(ask, family, table))
        # Each of our tables has chains. The kernel refuses to list sets of none.
        if not chains:
            continue
        for name, rules, policy in chains:
            found.rules[family, name] = rules
            if policy is not None:
                found.policies[family, name] = policy
        if _is_dormant(ask, family, table):
            found.dormant.add(family)
        named = attribute(_TABLE, _text(table))
        for listed in _listed(ask, _GETSET, family, named):
            place = family, _name(attributes_in(listed).get(_SET_NAME, b""))
            there = _elements(ask, table, place) if place in counted else []
            found.elements[place] = len(there)
            if changed := len(compared.get(place, set()).difference(there)):
                found.changed[place] = changed
    return found


def _is_dormant(ask: Ask, family: int, table: str) -> bool:
    """The kernel lists all tables of a family."""
    return any(
        attributes.get(_TABLE) == _text(table)
        and bool(_number(attributes[_TABLE_FLAGS]) & _DORMANT)
        for attributes in map(attributes_in, _listed(ask, _GETTABLE, family, b""))
    )


def _chains(ask: Ask, family: int, table: str) -> Iterator[tuple[str, int, int | None]]:
    """Each chain with the number of its rules, and the policy of a base chain. The
    kernel lists the chains of all tables of a family.
    """
    ours = _text(table)
    for listed in _listed(ask, _GETCHAIN, family, b""):
        attributes = attributes_in(listed)
        if attributes.get(_TABLE) != ours:
            continue
        name = _name(attributes.get(_CHAIN_NAME, b""))
        if _CHAIN_HOOK in attributes:
            # Nothing jumps to a chain that is hooked, so its uses are its rules. Of
            # these there may be thousands.
            policy = _number(attributes[_CHAIN_POLICY])
            yield name, _number(attributes[_CHAIN_USE]), policy
        else:
            where = attribute(_TABLE, ours) + attribute(_RULE_CHAIN, _text(name))
            yield name, sum(1 for _ in _listed(ask, _GETRULE, family, where)), None


def _elements(ask: Ask, table: str, place: Place) -> list[bytes]:
    family, name = place
    where = attribute(_TABLE, _text(table)) + attribute(_ELEMENTS_SET, _text(name))
    return [
        element
        for listed in _listed(ask, _GETELEMENT, family, where)
        for element in _contents(attributes_in(listed).get(_ELEMENTS_LIST, b""))
    ]


def _listed(ask: Ask, kind: int, family: int, payload: bytes) -> Iterator[bytes]:
    question = netfilter_message(
        kind,
        NLM_REQUEST | NLM_DUMP,
        sequence=1,
        family=family,
        resource=0,
        payload=payload,
    )
    for answered, body in ask(question):
        # The answer to a question has the number before it.
        if answered == kind - 1:
            yield body[_FAMILY_HEADER:]


def _contents(listed: bytes) -> Iterator[bytes]:
    """Key and value of each element. There are tens of thousands, so no attribute is
    copied but these two.
    """
    offset = 0
    while offset + 4 <= len(listed):
        length, _ = _ATTRIBUTE.unpack_from(listed, offset)
        if length < 4:
            break
        content, inner = b"", offset + 4
        while inner + 8 <= offset + length:
            size, kind = _ATTRIBUTE.unpack_from(listed, inner)
            if size < 4:
                break
            if kind & _KIND in (_ELEMENT_KEY, _ELEMENT_VALUE):
                # In it is one attribute, whose length does not count padding.
                (bare, _) = _ATTRIBUTE.unpack_from(listed, inner + 4)
                content += listed[inner + 8 : inner + 4 + bare]
            inner += size + 3 & ~3
        yield content
        offset += length + 3 & ~3


def _number(data: bytes) -> int:
    return int(_NUMBER.unpack(data)[0])


def _text(text: str) -> bytes:
    return text.encode() + b"\0"


def _name(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")
