"""Ends flows that the kernel carries, by the mark that the agent gave them."""

from __future__ import annotations

import socket
import struct

from vagent.datapath.netlink import (
    NLM_ACK,
    NLM_REQUEST,
    attribute,
    netfilter_message,
)

_CONNTRACK = 1
_DELETE = _CONNTRACK << 8 | 2
_CTA_MARK = 8
_CTA_MARK_MASK = 21


def encode_end(mark: int, mask: int) -> bytes:
    """The message that deletes every flow whose mark, under the mask, is `mark`
    (linux/netfilter/nfnetlink_conntrack.h; a filtered flush, since Linux 3.14).
    """
    return netfilter_message(
        _DELETE,
        NLM_REQUEST | NLM_ACK,
        sequence=1,
        family=socket.AF_UNSPEC,
        resource=0,
        payload=attribute(_CTA_MARK, struct.pack("!I", mark))
        + attribute(_CTA_MARK_MASK, struct.pack("!I", mask)),
    )
