"""Ports with several addresses come and go: attachments become the messages of one
nf_tables transaction.

`render` writes the same as text where everything is replaced; a test applies both to a
real kernel and compares. Pure: values in, values out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from vagent.datapath.names import PORT_OF, Names
from vagent.datapath.state import Attachment
from vagent.kernel.nf_tables import (
    INET,
    IPV4,
    MAX_ELEMENTS,
    Element,
    NftMessage,
    add_elements,
    delete_elements,
)

_HOST_ORDER, _BIG_ENDIAN = struct.Struct("=I"), struct.Struct("!H")


def change_of_ports(
    names: Names,
    gone: Iterable[Attachment],
    come: Iterable[Attachment],
    *,
    ipv6: bool,
) -> list[NftMessage]:
    """Take out what has gone, and put in what has come; [] where none of them is of a
    port with several addresses. `ipv6` says whether the host has IPv6.
    """
    family = INET if ipv6 else IPV4
    return [
        message
        for change, attachments in ((delete_elements, gone), (add_elements, come))
        for some in _slices([each for each in map(element_of, attachments) if each])
        for message in change(names.table, PORT_OF, some, family)
    ]


def element_of(attachment: Attachment) -> Element | None:
    """Its element of the map PORT_OF; None where its port has one address."""
    if attachment.port is None:
        return None
    return Element(
        _BIG_ENDIAN.pack(attachment.index),
        _HOST_ORDER.pack(attachment.port),
        f"tap {attachment.tap}",
    )


def _slices(elements: list[Element]) -> list[list[Element]]:
    """Of MAX_ELEMENTS, to save memory where there are many."""
    starts = range(0, len(elements), MAX_ELEMENTS)
    return [elements[start : start + MAX_ELEMENTS] for start in starts]
