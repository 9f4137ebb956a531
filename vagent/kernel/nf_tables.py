"""The messages of an nf_tables transaction as bytes, and the kernel's answers in words.

There are only those that the data path needs (linux/netfilter/nf_tables.h). For ports:
elements of maps, and a base chain at a device with one rule that jumps. nft could write
these as well, but it is a child process and reads the kernel's chains and maps before
each transaction, which takes a hundred milliseconds beside 5,000 ports. Then a few
rules that nft cannot write. What maps and rules are for is not known here.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vagent.kernel.netlink import (
    NLA_NESTED,
    NLM_ACK,
    NLM_CREATE,
    NLM_REQUEST,
    Acknowledgement,
    attribute,
    netfilter_message,
)

INET, IPV4, NETDEV, IPV6 = 1, 2, 5, 10
"""Families of tables (linux/netfilter.h). INET is for both IP families."""
MAX_ELEMENTS = 256
"""Elements in one message. With the longest key (an IPv6 source, 80 bytes in all) they
take a third of what the 16 bits of a netlink attribute's length allow."""

_NFTABLES = 10
_BATCH_BEGIN, _BATCH_END = 16, 17
_NEWRULE = _NFTABLES << 8 | 6
_NEWELEMENT, _DELELEMENT = _NFTABLES << 8 | 12, _NFTABLES << 8 | 14

_ELEMENTS_TABLE, _ELEMENTS_SET, _ELEMENTS_LIST = 1, 2, 3
_ELEMENT_KEY, _ELEMENT_DATA = 1, 2
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS = 1, 2, 4
_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2
_DATA_VALUE = 1
_LIST_ELEMENT = 1
_TARGET_NAME, _TARGET_REVISION, _TARGET_INFO, _NFQUEUE_REVISION = 1, 2, 3, 3
_UNSIGNED = struct.Struct("!I")
_FIRST_ELEMENT = 20
"""Offset of the attributes in a message, behind netlink's header and nfgenmsg."""


class Element(NamedTuple):
    """One element of a map, as the kernel's bytes; each part of a key of several parts
    is padded to four bytes. `whose` names its owner for error messages.
    """

    key: bytes
    value: bytes
    whose: str


class Expression(NamedTuple):
    """One expression of a rule: its name, and its attributes as the kernel's bytes."""

    name: str
    attributes: bytes


@dataclass(frozen=True, slots=True)
class NftMessage:
    """One message of a transaction. For error messages `what` says what it is about,
    and `whose` names the owner of each of its elements, if it has any.
    """

    kind: int
    flags: int
    payload: bytes
    what: str
    whose: tuple[str, ...] = ()
    first: int = 0
    """Offset in the message of its first element; all elements are equally long."""
    family: int = NETDEV

    @property
    def about(self) -> tuple[str, ...]:
        """What it is about, in words: a text for each element, or just one."""
        return tuple(f"{self.what}, {whose}" for whose in self.whose) or (self.what,)

    def at(self, offset: int) -> str:
        """What the byte at this offset of the message belongs to, in words."""
        about = self.about
        length = (_FIRST_ELEMENT + len(self.payload) - self.first) // len(about)
        place = max(0, offset - self.first) // length
        return about[min(place, len(about) - 1)]


def add_elements(
    table: str, name: str, elements: Sequence[Element], family: int = NETDEV
) -> list[NftMessage]:
    """Put elements into a map. It is no error if one is there with the same value."""
    return _elements(_NEWELEMENT, NLM_CREATE, table, name, elements, family)


def delete_elements(
    table: str, name: str, elements: Sequence[Element], family: int = NETDEV
) -> list[NftMessage]:
    """Take elements out of a map. Each of them must be there."""
    return _elements(_DELELEMENT, 0, table, name, elements, family)


def insert_rule(
    family: int, table: str, chain: str, *expressions: Expression
) -> list[NftMessage]:
    """Insert a rule at the head of a chain."""
    rule = _rule(table, chain, *expressions)
    return [NftMessage(_NEWRULE, NLM_CREATE, rule, f"rule of {chain}", family=family)]


def xt_queue(number: int) -> Expression:
    """The iptables target NFQUEUE with this queue (struct xt_NFQ_info_v3 of
    linux/netfilter/xt_NFQUEUE.h, carried as linux/netfilter/nf_tables_compat.h says).
    Without its bypass flag: packets are dropped while nobody reads the queue.
    """
    return Expression(
        "target",
        attribute(_TARGET_NAME, b"NFQUEUE\0")
        + attribute(_TARGET_REVISION, _UNSIGNED.pack(_NFQUEUE_REVISION))
        + attribute(_TARGET_INFO, struct.pack("=HHH", number, 1, 0)),
    )


def encode(messages: Sequence[NftMessage]) -> bytearray:
    """The batch of one transaction: all messages or none. The kernel acknowledges the
    last, and answers each that fails with an error.
    """
    last = len(messages)
    batch = bytearray(_edge(_BATCH_BEGIN, 0))
    for sequence, message in enumerate(messages, start=1):
        batch += netfilter_message(
            message.kind,
            NLM_REQUEST | message.flags | (NLM_ACK if sequence == last else 0),
            sequence=sequence,
            family=message.family,
            resource=0,
            payload=message.payload,
        )
    batch += _edge(_BATCH_END, last + 1)
    return batch


def _edge(kind: int, sequence: int) -> bytes:
    return netfilter_message(
        kind,
        NLM_REQUEST,
        sequence=sequence,
        family=socket.AF_UNSPEC,
        resource=_NFTABLES,
        payload=b"",
    )


def refusal(messages: Sequence[NftMessage], answers: Iterable[Acknowledgement]) -> str:
    """Why the kernel refused the transaction, in words; "" if it took it."""
    said = list(answers)
    if not said:
        return "the kernel did not answer"
    failed = [answer for answer in said if answer.code]
    if not failed:
        return ""
    first = failed[0]
    name = errno.errorcode.get(first.code, str(first.code))
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return f"{_about(messages, first)}: {os.strerror(first.code)} ({name}){more}"


def _about(messages: Sequence[NftMessage], answer: Acknowledgement) -> str:
    # Other sequence numbers are those of the batch itself: its commit failed.
    if 1 <= answer.sequence <= len(messages):
        return messages[answer.sequence - 1].at(answer.offset)
    return f"transaction of {len(messages)} steps"


def _elements(
    kind: int,
    flags: int,
    table: str,
    name: str,
    elements: Sequence[Element],
    family: int,
) -> list[NftMessage]:
    where = attribute(_ELEMENTS_TABLE, _text(table)) + attribute(
        _ELEMENTS_SET, _text(name)
    )
    messages: list[NftMessage] = []
    for start in range(0, len(elements), MAX_ELEMENTS):
        part = elements[start : start + MAX_ELEMENTS]
        listed = b"".join(map(_element, part))
        messages.append(
            NftMessage(
                kind,
                flags,
                where + attribute(_ELEMENTS_LIST | NLA_NESTED, listed),
                f"map {name}",
                tuple(element.whose for element in part),
                _FIRST_ELEMENT + len(where) + 4,
                family,
            )
        )
    return messages


def _element(element: Element) -> bytes:
    key = attribute(_DATA_VALUE, element.key)
    value = attribute(_DATA_VALUE, element.value)
    return attribute(
        _LIST_ELEMENT | NLA_NESTED,
        attribute(_ELEMENT_KEY | NLA_NESTED, key)
        + attribute(_ELEMENT_DATA | NLA_NESTED, value),
    )


def _rule(table: str, chain: str, *expressions: Expression) -> bytes:
    listed = b"".join(
        attribute(
            _LIST_ELEMENT | NLA_NESTED,
            attribute(_EXPRESSION_NAME, _text(each.name))
            + attribute(_EXPRESSION_DATA | NLA_NESTED, each.attributes),
        )
        for each in expressions
    )
    return (
        attribute(_RULE_TABLE, _text(table))
        + attribute(_RULE_CHAIN, _text(chain))
        + attribute(_RULE_EXPRESSIONS | NLA_NESTED, listed)
    )


def _text(text: str) -> bytes:
    return text.encode() + b"\0"
