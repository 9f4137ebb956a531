"""The queue rule for kernels whose nftables have no `queue` statement of their own.

Such kernels still have the xt target NFQUEUE, which nftables can carry but the nft
tool cannot write, and which iptables-nft would put into tables that are not ours. So
this one rule is written as netlink bytes (linux/netfilter/nf_tables.h,
nf_tables_compat.h, xt_NFQUEUE.h) and inserted at the head of our own chain.
"""

from __future__ import annotations

import socket
import struct

from vagent.kernel.netlink import (
    NLA_NESTED,
    NLM_ACK,
    NLM_CREATE,
    NLM_REQUEST,
    attribute,
    netfilter_message,
)

_BATCH_BEGIN = 16
_BATCH_END = 17
_NFTABLES = 10
_NEWRULE = _NFTABLES << 8 | 6
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS = 1, 2, 4
_LIST_ELEMENT = 1
_EXPR_NAME, _EXPR_DATA = 1, 2
_TARGET_NAME, _TARGET_REVISION, _TARGET_INFO = 1, 2, 3
_REVISION = 3


def encode(
    table: str, chain: str, queue_number: int, *, family: int = socket.AF_INET
) -> bytes:
    """The batch of messages that inserts the rule into a chain of a table of the
    family: AF_INET (nft calls it ip) or AF_INET6 (ip6).
    """
    info = struct.pack("=HHH", queue_number, 1, 0)  # xt_NFQ_info_v3: no bypass flag
    target = (
        attribute(_TARGET_NAME, b"NFQUEUE\0")
        + attribute(_TARGET_REVISION, struct.pack("!I", _REVISION))
        + attribute(_TARGET_INFO, info)
    )
    expression = attribute(_EXPR_NAME, b"target\0") + attribute(
        _EXPR_DATA | NLA_NESTED, target
    )
    rule = (
        attribute(_RULE_TABLE, table.encode() + b"\0")
        + attribute(_RULE_CHAIN, chain.encode() + b"\0")
        + attribute(
            _RULE_EXPRESSIONS | NLA_NESTED,
            attribute(_LIST_ELEMENT | NLA_NESTED, expression),
        )
    )
    return b"".join(
        netfilter_message(
            kind,
            flags,
            sequence=sequence,
            family=of,
            resource=resource,
            payload=payload,
        )
        for sequence, (kind, flags, of, resource, payload) in enumerate(
            (
                (_BATCH_BEGIN, NLM_REQUEST, socket.AF_UNSPEC, _NFTABLES, b""),
                (_NEWRULE, NLM_REQUEST | NLM_ACK | NLM_CREATE, family, 0, rule),
                (_BATCH_END, NLM_REQUEST, socket.AF_UNSPEC, _NFTABLES, b""),
            )
        )
    )
